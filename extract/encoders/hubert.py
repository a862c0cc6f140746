"""HuBERT (Hsu et al. 2021) and models of its architecture."""

from __future__ import annotations

from .base import Entry
from .speech_cards import BASE, LARGE_STABLE, LIBRI_LIGHT, LIBRISPEECH, Config, speech_entry
from .wav2vec2 import ARCH, VOC2VEC, VOC125

HUBERT = "Hsu et al., HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction, TASLP 2021"

OWN: Config = {"model_type": "hubert", "feat_proj_layer_norm": True, "conv_pos_batch_norm": False}
BASE_CONFIG: Config = {**BASE, **OWN}
LARGE_CONFIG: Config = {**LARGE_STABLE, **OWN}

ENTRIES: dict[str, Entry] = {
    "hubert-base": speech_entry(
        "hubert-base",
        BASE_CONFIG,
        source="facebook/hubert-base-ls960",
        revision="dba3bb02fda4248b6e082697eee756de8fe8aa8a",
        normalise=True,
        licence="apache-2.0",
        citation=HUBERT,
        pretraining=(LIBRISPEECH,),
        n_parameters=94_370_944,
    ),
    "hubert-large": speech_entry(
        "hubert-large",
        LARGE_CONFIG,
        source="facebook/hubert-large-ll60k",
        revision="ff022d095678a2995f3c49bab18a96a9e553f782",
        normalise=True,
        licence="apache-2.0",
        citation=HUBERT,
        pretraining=(LIBRI_LIGHT,),
        n_parameters=315_437_696,
    ),
    "hubert-as": speech_entry(
        "hubert-as",
        BASE_CONFIG,
        source="ALM/hubert-base-audioset",
        revision="64889dd7d8e161410a91ff5835e02c73e17c88e7",
        normalise=True,
        licence="cc-by-nc-sa-4.0",
        citation=ARCH,
        pretraining=("AudioSet",),
        n_parameters=94_370_944,
    ),
    "voc2vec-hubert-ls": speech_entry(
        "voc2vec-hubert-ls",
        BASE_CONFIG,
        source="alkiskoudounas/voc2vec-hubert-ls-pt",
        normalise=True,
        licence="apache-2.0",
        citation=VOC2VEC,
        pretraining=(LIBRISPEECH, *VOC125),
        n_parameters=94_370_944,
    ),
}
