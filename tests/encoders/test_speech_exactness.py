"""wav2vec-type encoders: equal to transformers on the clip alone, and equal to themselves in any batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, noise, reference_layers, tiny_pair

from voxcache.extract.encoders.exactness import TOLERANCE, collect, compare, compare_alone
from voxcache.extract.encoders.speech_model import SpeechEncoder
from voxcache.extract.encoders.speech_padding import Padding, ValidGroupNorm

RECEPTIVE = 400
PADDING_REACHES = [name for name in ARCHITECTURES if "group norm" in name or "convolution" in name]


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def pair(request: pytest.FixtureRequest) -> tuple[SpeechEncoder, Any]:
    """Our encoder and transformers' model with the same weights."""
    torch.set_num_threads(1)
    return tiny_pair(request.param)


@pytest.mark.parametrize("n_samples", [RECEPTIVE, RECEPTIVE + 1, 1_999, 16_000, 33_333])
def test_alone_equals_transformers(pair: tuple[SpeechEncoder, Any], n_samples: int) -> None:
    """Every layer of a clip run alone is that of transformers' own model on the unpadded clip."""
    encoder, model = pair
    wave = noise(n_samples)
    errors = compare(collect(encoder, [wave]), [reference_layers(model, wave)])
    assert len(errors.frames) == encoder.card.n_layers
    assert errors.worst <= TOLERANCE


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(RECEPTIVE, 240_000), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_any_batch_equals_transformers_alone(pair: tuple[SpeechEncoder, Any], lengths: list[int], seed: int) -> None:
    """Clips of any lengths in any order come out of one batch as transformers gives each alone, frame for frame."""
    encoder, model = pair
    waves = [noise(n, seed + i) for i, n in enumerate(lengths)]
    errors = compare(collect(encoder, waves), [reference_layers(model, wave) for wave in waves])
    assert errors.worst <= TOLERANCE


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n_samples=st.integers(RECEPTIVE, 480_000))
def test_frame_rule_is_the_models_own(pair: tuple[SpeechEncoder, Any], n_samples: int) -> None:
    """The card's frame count is what transformers computes for its convolutions."""
    encoder, model = pair
    assert encoder.card.frame.n_frames(n_samples) == int(model._get_feat_extract_output_lengths(n_samples))


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("architecture", PADDING_REACHES)
def test_transformers_itself_is_moved_by_padding(architecture: str) -> None:
    """The reference, padded and told so by its attention mask, is off by far more than the tolerance: the test can fail."""
    encoder, model = tiny_pair(architecture)
    wave = noise(8_000)
    padded = torch.zeros(1, 32_000)
    padded[0, :8_000] = wave
    mask = (torch.arange(32_000) < 8_000).long()[None]
    with torch.no_grad():
        out = model(padded, attention_mask=mask).last_hidden_state[0, : encoder.card.frame.n_frames(8_000)]
    alone = reference_layers(model, wave)[-1]
    assert compare([[out]], [[alone]]).worst > 100 * TOLERANCE


def test_equal_lengths_run_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of equal lengths reaches the model without an attention mask, trimmed to its clips."""
    encoder, _ = tiny_pair("wav2vec2, group norm")
    seen: list[Any] = []
    forward = encoder._model.forward

    def spy(waves: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        seen.append((tuple(waves.shape), attention_mask))
        return forward(waves, attention_mask=attention_mask)

    monkeypatch.setattr(encoder._model, "forward", spy)
    encoder.encode(torch.zeros(2, 9_000).normal_(), [6_000, 6_000], lambda layer, states: None)
    assert seen == [((2, 6_000), None)]


def test_layers_are_emitted_as_they_come_out() -> None:
    """Layer k is emitted before block k + 1 has run, so hidden states never stand in memory together."""
    encoder, _ = tiny_pair("wavlm, layer norm, stable")
    events: list[str] = []
    for i, block in enumerate(encoder._model.encoder.layers):
        block.feed_forward.register_forward_hook(lambda *_, i=i: events.append(f"block {i + 1}"))
    encoder.encode(noise(4_000)[None], [4_000], lambda layer, states: events.append(f"layer {layer}"))
    assert events == ["layer 0", "block 1", "layer 1", "block 2", "layer 2", "block 3", "layer 3"]


def test_vectorised_group_norm_equals_torch_per_clip() -> None:
    """The form used on CUDA gives what torch's group norm gives for each clip's own frames."""
    norm = torch.nn.GroupNorm(6, 6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    states, lengths = 50 + torch.randn(4, 6, 90), [90, 2, 37, 64]
    module = ValidGroupNorm(norm, Padding(tiny_pair("wav2vec2, group norm")[0].card.frame))
    ours = module._at_once(states, lengths)
    for i, length in enumerate(lengths):
        torch.testing.assert_close(ours[i, :, :length], norm(states[i : i + 1, :, :length])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_reduced_precision_stays_near_float32(dtype: Any) -> None:
    """In half precision the pooled vectors of a batch stay within a few per cent of float32, alone or padded."""
    whole, _ = tiny_pair("wavlm, group norm")
    half, _ = tiny_pair("wavlm, group norm", dtype=dtype)
    waves = [noise(9_000), noise(21_000, 1)]
    errors = compare(collect(half, waves), collect(whole, waves))
    assert 1e-5 < max(errors.pooled) < 5e-2


def test_compare_alone_sees_an_encoder_that_leaks() -> None:
    """`compare_alone` finds the error of a model whose group norm was left as it is."""
    encoder, _ = tiny_pair("wav2vec2, group norm")
    waves = [noise(6_000), noise(24_000, 1)]
    assert compare_alone(encoder, waves).worst <= TOLERANCE
    first = encoder._model.feature_extractor.conv_layers[0]
    first.layer_norm = first.layer_norm.norm
    assert compare_alone(encoder, waves).worst > 100 * TOLERANCE


def test_runs_without_gradients_and_tf32() -> None:
    """While an encoder runs, gradients and cuDNN's TF32 are off; afterwards both are as they were."""
    encoder, _ = tiny_pair("wav2vec2, group norm")
    before = torch.backends.cudnn.allow_tf32
    seen: list[tuple[bool, bool]] = []
    encoder.encode(
        noise(900)[None],
        [900],
        lambda layer, states: seen.append((torch.backends.cudnn.allow_tf32, torch.is_inference_mode_enabled())),
    )
    assert set(seen) == {(False, True)}
    assert (torch.backends.cudnn.allow_tf32, torch.is_inference_mode_enabled()) == (before, False)
