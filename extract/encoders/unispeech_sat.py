"""UniSpeech-SAT (Chen et al. 2022)."""

from __future__ import annotations

from .base import Entry
from .speech_cards import (
    BASE,
    GIGASPEECH,
    LARGE_STABLE,
    LIBRI_LIGHT,
    LIBRISPEECH,
    VOXPOPULI,
    Config,
    speech_entry,
)

UNISPEECH_SAT = (
    "Chen et al., UniSpeech-SAT: Universal Speech Representation Learning with Speaker Aware Pre-Training, ICASSP 2022"
)
LICENCE = "cc-by-sa-3.0"

BASE_CONFIG: Config = {**BASE, "model_type": "unispeech-sat"}
LARGE_CONFIG: Config = {**LARGE_STABLE, "model_type": "unispeech-sat", "conv_bias": False}

ENTRIES: dict[str, Entry] = {
    "unispeech-sat-base": speech_entry(
        "unispeech-sat-base",
        BASE_CONFIG,
        source="microsoft/unispeech-sat-base",
        revision="ca010627e5d232d9179ebdcd615eaa02cea382ed",
        normalise=True,
        licence=LICENCE,
        citation=UNISPEECH_SAT,
        pretraining=(LIBRISPEECH,),
        n_parameters=94_371_712,
    ),
    "unispeech-sat-base-plus": speech_entry(
        "unispeech-sat-base-plus",
        BASE_CONFIG,
        source="microsoft/unispeech-sat-base-plus",
        revision="7dadb0a206aab8a34bf0af9c5bed3403c4fd8a0c",
        normalise=True,
        licence=LICENCE,
        citation=UNISPEECH_SAT,
        pretraining=(LIBRI_LIGHT, GIGASPEECH, VOXPOPULI),
        n_parameters=94_371_712,
    ),
    "unispeech-sat-large": speech_entry(
        "unispeech-sat-large",
        LARGE_CONFIG,
        source="microsoft/unispeech-sat-large",
        normalise=True,
        licence=LICENCE,
        citation=UNISPEECH_SAT,
        pretraining=(LIBRI_LIGHT, GIGASPEECH, VOXPOPULI),
        n_parameters=315_435_136,
    ),
}
