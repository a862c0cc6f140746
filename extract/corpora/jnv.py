"""JNV: Japanese nonverbal vocalisations by two women and two men, six emotions; JNV/F1/F1_angry_00_F.wav."""

from __future__ import annotations

import re

from .base import About, Column
from .releases import Part, Release, Values

_NAME = re.compile(
    r"(?P<speaker>[FM]\d)_(?P<label>angry|disgust|fear|happy|sad|surprise)_(?P<utterance>\d+)_(?P<session>[A-Z])"
)


def parse(clip: str) -> Values | None:
    """Return a clip's values from its path, such as F1/F1_angry_00_F.wav."""
    match = _NAME.fullmatch(clip.rpartition("/")[2].rpartition(".")[0])
    return match and {**match.groupdict(), "sex": match["speaker"][0].lower()}


JNV = Release(
    name="jnv",
    summary="Japanese nonverbal vocalisations, 6 emotions, 4 speakers",
    about=About(
        licence="CC-BY-SA-4.0",
        citation="Xin, D., Takamichi, S., Saruwatari, H.: JNV corpus: A corpus of Japanese nonverbal vocalizations with "
        "diverse phrases and emotions. Speech Communication 156, 103004, 2024.",
        homepage="https://sites.google.com/site/shinnosuketakamichi/research-topics/jnv_corpus",
    ),
    columns=(
        Column("label", "class", "emotion"),
        Column("speaker", "group", "who is heard"),
        Column("sex", "meta", "of the speaker: f, m"),
        Column("utterance", "meta", "number in the file name"),
        Column("session", "meta", "last letter of the file name: F or R"),
    ),
    parse=parse,
    layout="folders F1, F2, M1, M2 with files named F1_angry_00_F.wav",
    parts={"all": Part(n_published=420)},
)
