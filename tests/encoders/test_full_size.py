"""One full-size model of each family, with random weights, against transformers. Slow; see conftest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import noise, reference_layers

from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.checkpoints import random_model
from voxcache.extract.encoders.exactness import TOLERANCE, collect, compare
from voxcache.extract.encoders.registry import ENCODERS, load

NAMES = ["wav2vec2-base", "hubert-large", "wavlm-base", "wavlm-large", "unispeech-sat-base", "data2vec-audio-base"]


@pytest.mark.full_size
@pytest.mark.parametrize("name", NAMES)
def test_full_size_batch_equals_transformers_alone(name: str) -> None:
    """In the published size, every layer of every clip of a mixed batch is transformers' on the unpadded clip."""
    encoder = load(Request(name=name, weights="random"))
    reference: Any = random_model(ENCODERS.get(name).config, 0).model
    waves = [noise(n, n) for n in (16_000, 400, 80_000, 33_333)]
    errors = compare(collect(encoder, waves), [reference_layers(reference, wave) for wave in waves])
    assert errors.worst <= TOLERANCE


@pytest.mark.full_size
def test_reduced_billion_has_the_shape_of_its_card() -> None:
    """mms-1b, at two of its 48 blocks, emits layers of 1280 that are finite and exact."""
    config = {**ENCODERS.get("mms-1b").config, "num_hidden_layers": 2}
    model: Any = random_model(config, 0).model
    with torch.inference_mode():
        assert model(noise(16_000)[None]).last_hidden_state.shape == (1, 49, ENCODERS.get("mms-1b").card.dim)
