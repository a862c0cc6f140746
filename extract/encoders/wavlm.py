"""WavLM (Chen et al. 2022)."""

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

WAVLM = "Chen et al., WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing, JSTSP 2022"
LICENCE = "cc-by-sa-3.0"

OWN: Config = {"model_type": "wavlm", "num_buckets": 320, "max_bucket_distance": 800}
BASE_CONFIG: Config = {**BASE, **OWN}
LARGE_CONFIG: Config = {**LARGE_STABLE, **OWN, "conv_bias": False}

ENTRIES: dict[str, Entry] = {
    "wavlm-base": speech_entry(
        "wavlm-base",
        BASE_CONFIG,
        source="microsoft/wavlm-base",
        revision="efa81aae7ff777e464159e0f877d54eac5b84f81",
        normalise=False,
        licence=LICENCE,
        citation=WAVLM,
        pretraining=(LIBRISPEECH,),
        n_parameters=94_381_168,
    ),
    "wavlm-base-plus": speech_entry(
        "wavlm-base-plus",
        BASE_CONFIG,
        source="microsoft/wavlm-base-plus",
        revision="4c66d4806a428f2e922ccfa1a962776e232d487b",
        normalise=False,
        licence=LICENCE,
        citation=WAVLM,
        pretraining=(LIBRI_LIGHT, GIGASPEECH, VOXPOPULI),
        n_parameters=94_381_168,
    ),
    "wavlm-large": speech_entry(
        "wavlm-large",
        LARGE_CONFIG,
        source="microsoft/wavlm-large",
        revision="c1423ed94bb01d80a3f5ce5bc39f6026a0f4828c",
        normalise=True,
        licence=LICENCE,
        citation=WAVLM,
        pretraining=(LIBRI_LIGHT, GIGASPEECH, VOXPOPULI),
        n_parameters=315_452_096,
    ),
}
