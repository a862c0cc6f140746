"""Stacked layers against torch's own layers, one model at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from voxcache.errors import ConfigError
from voxcache.train.architecture import Shape
from voxcache.train.fusions import FUSIONS, GatedOptions
from voxcache.train.heads import HEADS
from voxcache.train.layers import Conv1d, Linear, Noise, SelfAttention, max_pool2, pooling
from voxcache.train.mixing_networks import Attention, Gated
from voxcache.train.networks import n_parameters


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    """Return a generator a model."""
    return [np.random.default_rng([seed, i]) for i in range(n)]


def test_a_stacked_dense_layer_is_one_torch_layer_a_model_and_so_are_its_gradients() -> None:
    """Output and gradients equal torch.nn.functional.linear on each model's own weights."""
    layer = Linear(rngs(3), 5, 4)
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = layer(x)
    out.pow(2).sum().backward()
    for model in range(3):
        weight = layer.weight.detach()[model].T.clone().requires_grad_()
        bias = layer.bias.detach()[model, 0].clone().requires_grad_()
        own = x.detach()[model].clone().requires_grad_()
        expected = F.linear(own, weight, bias)
        expected.pow(2).sum().backward()
        torch.testing.assert_close(out[model], expected)
        torch.testing.assert_close(layer.weight.grad[model].T, weight.grad)
        torch.testing.assert_close(layer.bias.grad[model, 0], bias.grad)
        torch.testing.assert_close(x.grad[model], own.grad)


def test_gradients_of_a_layer_used_twice_in_a_step_add_up() -> None:
    """A weight used twice gets the sum of both gradients, as autograd gives it."""
    layer = Linear(rngs(2), 3, 3)
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    layer(layer(x)).pow(2).sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    bias = layer.bias.detach()
    (torch.baddbmm(bias, torch.baddbmm(bias, x, weight), weight)).pow(2).sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)


def test_initial_weights_lie_within_the_bound_of_torch_defaults() -> None:
    """Weights and biases are uniform within 1 / sqrt(inputs), as in torch.nn.Linear, and differ between models."""
    layer = Linear(rngs(2), 400, 300)
    bound = 1 / 20
    reference = nn.Linear(400, 300).weight.std().item()
    assert layer.weight.abs().max() <= bound
    assert layer.weight[0].std().item() == pytest.approx(reference, rel=0.02)
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_a_stacked_convolution_is_one_torch_convolution_a_model() -> None:
    """Output equals torch.nn.functional.conv1d with zero padding on each model's own filters."""
    layer = Conv1d(rngs(2), 4, 6)
    x = torch.randn(2, 3, 9, 4, generator=torch.Generator().manual_seed(0))  # [model, clip, position, channel]
    out = layer(x)
    for model in range(2):
        filters = layer.dense.weight[model].view(3, 4, 6).permute(2, 1, 0)
        expected = F.conv1d(x[model].transpose(1, 2), filters, layer.dense.bias[model, 0], padding=1)
        torch.testing.assert_close(out[model].transpose(1, 2), expected)


@pytest.mark.parametrize("length", [8, 9])
def test_pooling_is_torchs_max_pooling(length: int) -> None:
    """Values equal torch.nn.functional.max_pool1d of width 2, an odd last position left out."""
    x = torch.randn(2, 3, length, 4, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool1d(x.flatten(0, 1).transpose(1, 2), 2).transpose(1, 2)
    torch.testing.assert_close(max_pool2(x).flatten(0, 1), expected)


@pytest.mark.parametrize(("length", "n_tokens"), [(192, 20), (240, 13), (7, 7), (3, 20), (1, 1)])
def test_pooling_to_tokens_is_torchs_adaptive_pooling(length: int, n_tokens: int) -> None:
    """The matrix times a signal equals torch.nn.functional.adaptive_avg_pool1d, with more tokens than positions too."""
    signal = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(0))
    expected = F.adaptive_avg_pool1d(signal.transpose(1, 2), n_tokens).transpose(1, 2)
    torch.testing.assert_close(pooling(length, n_tokens) @ signal, expected)


@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_torchs_multi_head_attention(masked: bool) -> None:
    """Output equals torch.nn.MultiheadAttention(x) with the same weights, also where some tokens may not be listened to."""
    layer = SelfAttention(rngs(2), 8, heads=2)
    x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(5) < torch.tensor([[5, 2, 3], [1, 5, 4]])[..., None] if masked else None
    out = layer(x, valid)
    for model in range(2):
        reference = nn.MultiheadAttention(8, 2, batch_first=True)
        with torch.no_grad():
            reference.in_proj_weight.copy_(layer.query_key_value.weight[model].T)
            reference.in_proj_bias.copy_(layer.query_key_value.bias[model, 0])
            reference.out_proj.weight.copy_(layer.out.weight[model].T)
            reference.out_proj.bias.copy_(layer.out.bias[model, 0])
        padding = None if valid is None else ~valid[model]
        expected = reference(x[model], x[model], x[model], key_padding_mask=padding, need_weights=False)[0]
        torch.testing.assert_close(out[model], expected)


def test_dropout_keeps_its_share_and_its_mean_and_each_models_own_draws() -> None:
    """A share 1 - rate survives, the mean stays 1, and a model's mask is the same alone and in a stack."""
    x = torch.ones(2, 500, 64)
    dropped = Noise(rngs(2), [500, 500], 500).drop(x, 0.3)
    assert (dropped > 0).float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    alone = Noise(rngs(2)[1:], [500], 500).drop(x[:1], 0.3)
    assert torch.equal(dropped[1], alone[0])


def test_a_model_without_a_batch_draws_nothing() -> None:
    """Its generator stands where it stood, so that waiting for longer models changes nothing."""
    ours, untouched = rngs(1), rngs(1)
    Noise(ours, [0], 8).drop(torch.ones(1, 8, 4), 0.5)
    assert ours[0].integers(1 << 60) == untouched[0].integers(1 << 60)


def _count(registry: object, name: str, dims: tuple[int, ...], n_classes: int = 6) -> int:
    entry = registry.get(name)  # type: ignore[attr-defined]
    return n_parameters(entry.build(Shape(dims, n_classes), entry.options(), rngs(2)))


def test_head_sizes_follow_from_the_papers_layers() -> None:
    """Parameters of one model are those of dense 512, 128, 6 and of convolutions 32, 64 of width 3 before them."""
    dense = 512 * 128 + 128 + 128 * 6 + 6
    assert _count(HEADS, "fcn", (768,)) == 768 * 512 + 512 + dense
    assert _count(HEADS, "cnn", (768,)) == (3 * 32 + 32) + (96 * 64 + 64) + (192 * 64 * 512 + 512) + dense
    assert _count(HEADS, "linear", (768,)) == 768 * 6 + 6


@pytest.mark.parametrize("dims", [(768, 960), (768, 1920), (768, 3840), (768, 768), (40, 768), (768, 960, 1280)])
@pytest.mark.parametrize("fusion", ["reno", "concat"])
def test_fusions_keep_the_papers_size(fusion: str, dims: tuple[int, ...]) -> None:
    """RENO, section III-A: 1.3 to 1.5 M parameters whatever the encoders' dims."""
    assert 1_300_000 <= _count(FUSIONS, fusion, dims) <= 1_500_000


def test_vectors_too_short_for_two_poolings_are_refused() -> None:
    """A 3-feature vector cannot be pooled twice; the message says so."""
    with pytest.raises(ConfigError, match="at least 4 features, got 3"):
        _count(HEADS, "cnn", (3,))


def test_attention_to_others_is_torchs_multi_head_attention_plus_its_input() -> None:
    """Output equals x + torch.nn.MultiheadAttention(x, other) with the same weights."""
    layer = Attention(rngs(2), 8, heads=2)
    x, other = torch.randn(2, 2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    other = other[:, :, :4]
    for model in range(2):
        reference = nn.MultiheadAttention(8, 2, batch_first=True)
        with torch.no_grad():
            reference.in_proj_weight.copy_(torch.cat([layer.query.weight[model], layer.key_value.weight[model]], 1).T)
            biases = [layer.query.bias[model, 0], layer.key_value.bias[model, 0]]
            reference.in_proj_bias.copy_(torch.cat(biases))
            reference.out_proj.weight.copy_(layer.out.weight[model].T)
            reference.out_proj.bias.copy_(layer.out.bias[model, 0])
        expected = x[model] + reference(x[model], other[model], other[model], need_weights=False)[0]
        torch.testing.assert_close(layer(x, other)[model], expected)


def test_two_gates_are_the_papers_sigmoid() -> None:
    """With two encoders: z tanh(W1 x1) + (1 - z) tanh(W2 x2), z the sigmoid of the difference of both gates."""
    net = Gated(Shape((4, 6), 3), rngs(1), GatedOptions(width=5, hidden=(), dropout=0.0))
    generator = torch.Generator().manual_seed(0)
    xs = [torch.randn(1, 7, dim, generator=generator) for dim in (4, 6)]
    first, second = net.gate(torch.cat(xs, -1)).chunk(2, dim=-1)
    z = torch.sigmoid(first - second)
    one, two = (torch.tanh(layer(x)) for layer, x in zip(net.project, xs, strict=True))
    torch.testing.assert_close(net(xs, None).logits, net.dense(z * one + (1 - z) * two, None))
