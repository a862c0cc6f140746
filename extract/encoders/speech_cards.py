"""What the cards of wav2vec-type models share. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Literal

from .base import Card, Encoder, Entry, FrameRule, Request

Config = Mapping[str, object]

FRONT_END: Config = {
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
}
BASE: Config = {
    **FRONT_END,
    "feat_extract_norm": "group",
    "conv_bias": False,
    "do_stable_layer_norm": False,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
LARGE_SIZES: Config = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
LARGE_STABLE: Config = {**BASE, **LARGE_SIZES, "feat_extract_norm": "layer", "conv_bias": True,
                        "do_stable_layer_norm": True}  # fmt: skip

LIBRISPEECH = "LibriSpeech"
LIBRI_LIGHT = "Libri-Light"
VOXPOPULI = "VoxPopuli"
GIGASPEECH = "GigaSpeech"


def conv_rule(config: Config) -> FrameRule:
    """Return the frame rule of a convolutional front end."""
    kernels, strides = _integers(config["conv_kernel"]), _integers(config["conv_stride"])
    receptive = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        receptive = (receptive - 1) * stride + kernel
    return FrameRule("conv", prod(strides), receptive, kernels, strides)


def _integers(values: object) -> tuple[int, ...]:
    assert isinstance(values, (list, tuple))
    return tuple(int(value) for value in values)


def speech_entry(
    name: str,
    config: Config,
    *,
    source: str,
    revision: str | None = None,
    normalise: bool,
    licence: str = "unknown",
    citation: str,
    pretraining: tuple[str, ...],
    weights: Literal["hub", "random"] = "hub",
    n_parameters: int | None = None,
    folder: str | None = None,
) -> Entry:
    """Return the entry of a wav2vec-type model: card from its configuration, loader that imports torch when called."""
    card = Card(
        name=name,
        family=str(config["model_type"]),
        source=source,
        revision=revision,
        dim=int(str(config["hidden_size"])),
        n_layers=int(str(config["num_hidden_layers"])) + 1,
        frame=conv_rule(config),
        normalise=normalise,
        licence=licence,
        citation=citation,
        pretraining=pretraining,
        weights=weights,
        n_parameters=n_parameters,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        from .speech_model import load_speech

        return load_speech(request, card, device, config=config, folder=folder)

    def check(request: Request, card: Card) -> object:
        from .checkpoints import check_transformers

        return check_transformers(request, card, config, folder=folder)

    return Entry(card, load, config, check)
