"""ASVP-ESD: emotional sounds from films and the web, speech and non-speech; Bonus/ holds the babies.

Name: modality - channel - emotion - intensity - statement - actor - age - source - language [- similar sound] [- 77 | 66],
as in Audio/actor_12/03-01-06-01-02-12-02-01-01-16.wav. Later fields may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from .base import About, ClipSource, Column
from .releases import Part, Release, Values, odd_note

EMOTIONS = (
    *("boredom", "neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    *("excited", "pleasure", "pain", "disappointment", "breath"),
)
"""In the order of their codes, from 01."""

SOUNDS = {
    **dict.fromkeys(("23", "33"), "happy"),
    **dict.fromkeys(("14", "24", "34", "44"), "sad"),
    **dict.fromkeys(("15", "25", "35"), "angry"),
    **dict.fromkeys(("16", "36"), "fearful"),
    **dict.fromkeys(("17", "27"), "disgust"),
    **dict.fromkeys(("18", "28", "38", "48"), "surprised"),
}
"""Codes of kinds of sound (17 = disgust, 24 = sigh) that a few names have in place of the emotion's."""

CHANNELS = {"01": "speech", "02": "non-speech"}
INTENSITIES = {"01": "normal", "02": "high"}
AGES = {"01": "over 64", "02": "20-64", "03": "under 20", "04": "baby"}
SOURCES = {"01": "web", "02": "web", "03": "film"}
LANGUAGES = {"01": "Chinese", "02": "English", "04": "French"}
FLAGS = {"77": "noisy", "66": "mixed voices"}


def parse(clip: str) -> Values | None:
    """Return a clip's values from its path, such as Audio/actor_12/03-01-06-01-02-12-02-01-01-16.wav."""
    code = clip.rpartition("/")[2].rpartition(".")[0].split("-")
    if len(code) < 6 or not all(field.isdigit() for field in code[:6]) or code[1] not in CHANNELS:
        return None
    label = EMOTIONS[int(code[2]) - 1] if 1 <= int(code[2]) <= len(EMOTIONS) else SOUNDS.get(code[2])
    if label is None:
        return None
    rest = [*code[6:], "", "", ""]
    return {
        "label": label,
        "speaker": f"{'baby' if _in_bonus(clip) else 'actor'}-{code[5]}",
        "channel": CHANNELS[code[1]],
        "intensity": INTENSITIES.get(code[3], ""),
        "sex": "mf"[int(code[5]) % 2],
        "age": AGES.get(rest[0], ""),
        "source": SOURCES.get(rest[1], ""),
        "language": LANGUAGES.get(rest[2], "other" if rest[2] else ""),
        "flag": FLAGS.get(code[-1], "") if len(code) > 9 else "",
    }


def remarks(clips: Sequence[ClipSource]) -> list[str]:
    """Return notes on names with a code of a sound, and on what the actor number means."""
    coded = [clip.clip for clip in clips if int(clip.clip.rpartition("/")[2].split("-")[2]) > len(EMOTIONS)]
    n_groups = len({clip.values["speaker"] for clip in clips})
    return [
        f"{n_groups} actor numbers; the release numbers folders of like voices, so one may hold several people",
        *odd_note(coded, "with the code of a sound in place of an emotion's"),
    ]


def _in_bonus(clip: str) -> bool:
    return "Bonus" in clip.split("/")


def _main(clip: ClipSource) -> bool:
    return not _in_bonus(clip.clip)


ASVP_ESD = Release(
    name="asvp-esd",
    summary="emotional sounds from films and the web, 13 classes, speech and non-speech, babies",
    about=About(
        licence="not verified; see the release's page (collected from films and web videos)",
        citation="Landry, D. T. T., He, Q., Yan, H., Li, Y.: ASVP-ESD: A dataset and its benchmark for emotion "
        "recognition using both speech and non-speech utterances. Global Scientific Journals 8, 1793-1798, 2020.",
        homepage="https://zenodo.org/records/7132783",
    ),
    columns=(
        Column("label", "class", "emotion, or breath"),
        Column("speaker", "group", "actor number of the release"),
        Column("channel", "meta", "speech or non-speech"),
        Column("intensity", "meta", "normal or high"),
        Column("sex", "meta", "by the actor number: even m, odd f"),
        Column("age", "meta", "over 64, 20-64, under 20, baby"),
        Column("source", "meta", "web or film"),
        Column("language", "meta", "Chinese, English, French, other"),
        Column("flag", "meta", "noisy or mixed voices, where the name ends so"),
    ),
    parse=parse,
    layout="folders Audio and Bonus with files named 03-01-06-01-02-12-02-01-01-16.wav",
    parts={
        "main": Part(n_published=12_625, keep=_main),
        "babies": Part(n_published=1_339, keep=lambda clip: not _main(clip)),
        "speech": Part(n_published=None, keep=lambda clip: _main(clip) and clip.values["channel"] == "speech"),
        "non-speech": Part(n_published=None, keep=lambda clip: _main(clip) and clip.values["channel"] == "non-speech"),
        "all": Part(n_published=12_625 + 1_339),
    },
    remarks=remarks,
)
