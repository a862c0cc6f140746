"""Small models of the true architectures, with every parameter away from its initial value.

Freshly built models have zero biases and norms that scale by one, under which half of what could go wrong cannot be seen.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from voxcache.extract.encoders.base import Card, Dtype
from voxcache.extract.encoders.checkpoints import Loaded, build, to_config
from voxcache.extract.encoders.registry import ENCODERS
from voxcache.extract.encoders.speech_cards import conv_rule
from voxcache.extract.encoders.speech_model import SpeechEncoder
from voxcache.extract.encoders.weights import seeded

SMALL = {
    "conv_dim": [16] * 7,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_conv_pos_embedding_groups": 4,
}

ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "wav2vec2, group norm": ("wav2vec2-base", {}),
    "wav2vec2, layer norm, stable": ("mms-300m", {}),
    "hubert, group norm": ("hubert-base", {}),
    "hubert, layer norm, stable": ("hubert-large", {}),
    "hubert, batch norm before the positional convolution": ("hubert-base", {"conv_pos_batch_norm": True}),
    "wavlm, group norm": ("wavlm-base", {}),
    "wavlm, layer norm, stable": ("wavlm-large", {}),
    "unispeech-sat, group norm": ("unispeech-sat-base", {}),
    "unispeech-sat, layer norm, stable": ("unispeech-sat-large", {}),
    "data2vec, stacked positional convolutions": ("data2vec-audio-base", {}),
}
"""A published configuration each, at reduced width and depth, and what is changed beside that."""


def tiny_config(architecture: str) -> dict[str, object]:
    """Return the configuration of one of ARCHITECTURES."""
    name, changes = ARCHITECTURES[architecture]
    return {**ENCODERS.get(name).config, **SMALL, **changes}


def shaken(model: Any, seed: int = 0) -> Any:
    """Move all parameters and running statistics of a model, in place, and return it in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1.0 + noise.abs())
            else:
                tensor.add_(0.1 * noise)
    return model.eval()


def tiny_card(architecture: str) -> Card:
    """Return the card of a reduced model."""
    config = tiny_config(architecture)
    card = ENCODERS.get(ARCHITECTURES[architecture][0]).card
    return replace(
        card,
        dim=int(str(config["hidden_size"])),
        n_layers=int(str(config["num_hidden_layers"])) + 1,
        frame=conv_rule(config),
    )


def tiny_pair(architecture: str, *, dtype: Dtype = "float32", device: str = "cpu") -> tuple[SpeechEncoder, Any]:
    """Return our encoder and transformers' own, untouched model with the same weights."""
    with seeded(0):
        model = shaken(build(to_config(tiny_config(architecture))))
    reference = copy.deepcopy(model)
    encoder = SpeechEncoder(
        Loaded(model, "0" * 64, "made for a test"), card=tiny_card(architecture), device=device, dtype=dtype
    )
    return encoder, reference


def reference_layers(model: Any, wave: torch.Tensor) -> list[torch.Tensor]:
    """Return every layer of one unpadded clip from transformers: [frame, feature] each, the last after the final norm."""
    with torch.no_grad():
        out = model(wave[None], output_hidden_states=True)
    return [state[0] for state in (*out.hidden_states[:-1], out.last_hidden_state)]


def noise(n_samples: int, seed: int = 0) -> torch.Tensor:
    """Return [sample] float32 of unit variance."""
    return torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))
