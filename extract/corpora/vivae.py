"""VIVAE: nonspeech vocalisations by eleven women, six affects at four intensities; S01_achievement_low_01.wav."""

from __future__ import annotations

import re

from .base import About, ClipSource, Column
from .releases import Part, Release, Values

PUBLISHED = {"achievement": 161, "anger": 174, "fear": 176, "pain": 185, "pleasure": 202, "surprise": 187}
"""Clips an affect in the full set of 1085. The core set has 80 of each."""

_NAME = re.compile(
    r"(?P<speaker>S\d+)_(?P<label>achievement|anger|fear|pain|pleasure|surprise)_(?P<intensity>low|moderate|strong|peak)_\d+"
)


def parse(clip: str) -> Values | None:
    """Return a clip's values from its path, such as full_set/S01_achievement_low_01.wav."""
    match = _NAME.fullmatch(clip.rpartition("/")[2].rpartition(".")[0])
    return match and match.groupdict()


def _in_core_set(clip: ClipSource) -> bool:
    return "core_set" in clip.clip.split("/")


VIVAE = Release(
    name="vivae",
    summary="nonspeech vocalisations, 6 affects x 4 intensities, 11 speakers",
    about=About(
        licence="CC-BY-NC-4.0",
        citation="Holz, N., Larrouy-Maestri, P., Poeppel, D.: The Variably Intense Vocalizations of Affect and Emotion "
        "(VIVAE) corpus prompts new perspective on nonspeech perception. Emotion 22(1), 213-225, 2022.",
        homepage="https://doi.org/10.5281/zenodo.4066235",
    ),
    columns=(
        Column("label", "class", "affect expressed"),
        Column("speaker", "group", "who is heard"),
        Column("intensity", "meta", "as expressed: low, moderate, strong, peak"),
    ),
    parse=parse,
    layout="full_set with files named S01_achievement_low_01.wav",
    parts={
        "full": Part(n_published=1085, published=PUBLISHED, keep=lambda clip: not _in_core_set(clip)),
        "core": Part(n_published=480, published=dict.fromkeys(PUBLISHED, 80), keep=_in_core_set),
    },
)
