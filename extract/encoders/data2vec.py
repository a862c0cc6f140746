"""data2vec-audio (Baevski et al. 2022)."""

from __future__ import annotations

from .base import Entry
from .speech_cards import FRONT_END, LARGE_SIZES, LIBRI_LIGHT, LIBRISPEECH, Config, speech_entry

DATA2VEC = "Baevski et al., data2vec: A General Framework for Self-supervised Learning, ICML 2022"

BASE_CONFIG: Config = {
    **FRONT_END,
    "model_type": "data2vec-audio",
    "conv_bias": False,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "num_conv_pos_embeddings": 5,
    "conv_pos_kernel_size": 19,
    "num_conv_pos_embedding_groups": 16,
}
LARGE_CONFIG: Config = {**BASE_CONFIG, **LARGE_SIZES}

ENTRIES: dict[str, Entry] = {
    "data2vec-audio-base": speech_entry(
        "data2vec-audio-base",
        BASE_CONFIG,
        source="facebook/data2vec-audio-base",
        normalise=True,
        licence="apache-2.0",
        citation=DATA2VEC,
        pretraining=(LIBRISPEECH,),
        n_parameters=93_163_520,
    ),
    "data2vec-audio-large": speech_entry(
        "data2vec-audio-large",
        LARGE_CONFIG,
        source="facebook/data2vec-audio-large",
        revision="8aebfda61f5749e532f5577d176072ea38a6b349",
        normalise=True,
        licence="apache-2.0",
        citation=DATA2VEC,
        pretraining=(LIBRI_LIGHT,),
        n_parameters=313_275_392,
    ),
}
