"""Nonverbal Vocalization (Deeply Inc., OpenSLR 99): sixteen sounds from phones; the file name holds everything.

Name: speaker _ class _ trial _ sex _ age _ location _ quality _ noise, as in coughing/0C1S_4_8_0_27_0_1_1.wav.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .base import About, ClipSource, Column
from .releases import Part, Release, Values, odd_note

CLASSES = (
    *("teeth-chattering", "teeth-grinding", "tongue-clicking", "nose-blowing", "coughing", "yawning"),
    *("throat-clearing", "sighing", "lip-popping", "lip-smacking", "panting", "crying", "laughing", "sneezing"),
    *("moaning", "screaming"),
)
"""In the order of their numbers in file names."""

PUBLISHED = dict(zip(CLASSES, (46, 43, 47, 48, 50, 48, 54, 51, 54, 45, 44, 24, 25, 52, 45, 51), strict=True))
"""Clips a class in the index of the release, 727 in all by 410 speakers; voc2vec, table II, counts 800."""

_NAME = re.compile(
    r"(?P<speaker>[0-9A-Z]+)_(?P<code>\d+)_(?P<trial>\d+)_(?P<sex>[01])_(?P<age>\d+)"
    r"_(?P<place>[01])_(?P<quality>[01])_(?P<noise>[01])"
)


def parse(clip: str) -> Values | None:
    """Return a clip's values from its path, such as crying/1TCO_11_10_0_20_0_0_0.wav."""
    match = _NAME.fullmatch(clip.rpartition("/")[2].rpartition(".")[0])
    if match is None or int(match["code"]) >= len(CLASSES):
        return None
    return {
        "label": CLASSES[int(match["code"])],
        "speaker": match["speaker"],
        "sex": "fm"[int(match["sex"])],
        "age": match["age"],
        "place": ("indoor", "outdoor")[int(match["place"])],
        "quality": ("high", "low")[int(match["quality"])],
        "noise": ("noiseless", "noisy")[int(match["noise"])],
    }


def remarks(clips: Sequence[ClipSource]) -> list[str]:
    """Return a note on clips in the folder of another class."""
    folders = {clip.clip: clip.clip.split("/")[-2:-1] for clip in clips}
    contrary = [c.clip for c in clips if set(folders[c.clip]) & {*CLASSES} - {str(c.values["label"])}]
    return odd_note(contrary, "in the folder of another class; the number in the name is the label")


NONVERBAL_VOCALIZATION = Release(
    name="nonverbal-vocalization",
    summary="nonverbal sounds from phones, 16 classes (OpenSLR 99)",
    about=About(
        licence="CC-BY-NC-ND-4.0",
        citation="Deeply Inc.: Nonverbal Vocalization Dataset. OpenSLR 99, 2021.",
        homepage="https://www.openslr.org/99/",
    ),
    columns=(
        Column("label", "class", "kind of sound"),
        Column("speaker", "group", "who is heard"),
        Column("sex", "meta", "of the speaker: f, m"),
        Column("age", "meta", "of the speaker, in years"),
        Column("place", "meta", "indoor or outdoor"),
        Column("quality", "meta", "of the utterance: high or low"),
        Column("noise", "meta", "noiseless or noisy"),
    ),
    parse=parse,
    layout="folders such as coughing with files named 0C1S_4_8_0_27_0_1_1.wav",
    parts={"all": Part(n_published=sum(PUBLISHED.values()), published=PUBLISHED)},
    remarks=remarks,
)
