"""Whisper's encoder: equal to transformers on 30 s windows, of which only the clip's own frames are kept."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import noise, shaken
from transformers import WhisperFeatureExtractor

from voxcache.errors import EncoderError
from voxcache.extract.encoders.checkpoints import Loaded, build, to_config
from voxcache.extract.encoders.exactness import TOLERANCE, collect, compare
from voxcache.extract.encoders.registry import ENCODERS
from voxcache.extract.encoders.weights import seeded
from voxcache.extract.encoders.whisper_model import WhisperEncoder, log_mel, mel_filters

SMALL = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}


@pytest.fixture(scope="module", params=["whisper-tiny", "whisper-large-v3"])
def pair(request: pytest.FixtureRequest) -> tuple[WhisperEncoder, Any]:
    """Our encoder and transformers' with the same weights."""
    torch.set_num_threads(1)
    entry = ENCODERS.get(request.param)
    with seeded(0):
        model = shaken(build(to_config({**entry.config, **SMALL})))
    card = replace(entry.card, dim=32, n_layers=3)
    loaded = Loaded(copy.deepcopy(model), "0" * 64, "made for a test")
    return WhisperEncoder(loaded, card=card, device="cpu", dtype="float32"), model


def from_transformers(model: Any, wave: torch.Tensor) -> list[torch.Tensor]:
    """Return the layers that transformers' feature extractor and encoder give for one clip, its own frames only."""
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    mel = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        out = model(mel, output_hidden_states=True)
    n_frames = -(-len(wave) // 320)
    return [state[0, :n_frames] for state in (*out.hidden_states[:-1], out.last_hidden_state)]


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(320, 480_000), min_size=1, max_size=3))
def test_any_batch_equals_transformers(pair: tuple[WhisperEncoder, Any], lengths: list[int]) -> None:
    """Every layer of every clip in a batch is what transformers gives for the clip padded to 30 s."""
    encoder, model = pair
    waves = [0.1 * noise(n, i) for i, n in enumerate(lengths)]
    errors = compare(collect(encoder, waves), [from_transformers(model, wave) for wave in waves])
    assert len(errors.frames) == 3
    assert errors.worst <= TOLERANCE


@pytest.mark.parametrize("n_samples", [1, 319, 320, 321, 16_000, 479_520, 479_999, 480_000])
def test_log_mel_equals_the_feature_extractor(n_samples: int) -> None:
    """The input of the encoder, computed on the sounding stretch only, is the feature extractor's over all 30 s."""
    wave = 0.1 * noise(n_samples)
    reference = WhisperFeatureExtractor()(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    torch.testing.assert_close(log_mel(wave[None], mel_filters(80)), reference, rtol=1e-5, atol=1e-5)


def test_digital_silence_is_finite() -> None:
    """A clip of zeros gives the constant input that the feature extractor gives."""
    reference = WhisperFeatureExtractor()(torch.zeros(4_000).numpy(), sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(log_mel(torch.zeros(1, 4_000), mel_filters(80)), reference.input_features)


def test_refuses_more_than_its_window(pair: tuple[WhisperEncoder, Any]) -> None:
    """A clip past 30 s is an error that names both numbers, never a silent cut."""
    with pytest.raises(EncoderError, match=r"at most 480000 samples, got 480001"):
        pair[0].encode(torch.zeros(1, 480_001), [480_001], lambda layer, states: None)
