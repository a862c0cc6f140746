"""Two convolutions done a few clips at a time, in torch and in C, against torch's own layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from voxcache.train import conv_native
from voxcache.train import layers as layers_module
from voxcache.train.conv import CHUNK_ROWS, TwoConvolutions
from voxcache.train.conv_native import NativeConvolutions, kernel
from voxcache.train.layers import ConvFeatures

LENGTHS = [4, 5, 6, 7, 20, 21, 22, 23, 96]


def layers(n_models: int = 2) -> ConvFeatures:
    """Return a stack of branches with the paper's channels."""
    return ConvFeatures([np.random.default_rng([5, i]) for i in range(n_models)], (32, 64))


def weights_of(branch: ConvFeatures) -> list[Tensor]:
    """Return weight and bias of both convolutions."""
    return [tensor for layer in (branch.first.dense, branch.second.dense) for tensor in (layer.weight, layer.bias)]


def reference(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Return torch's conv1d, max_pool1d and relu, twice, for each model: [model, row, position, channel]."""
    found = []
    for model in range(len(x)):
        signal = x[model].unsqueeze(1)
        for weight, bias in (weights[:2], weights[2:]):
            n_in, n_out = weight.shape[1] // 3, weight.shape[2]
            filters = weight[model].view(3, n_in, n_out).permute(2, 1, 0)
            signal = F.relu(F.max_pool1d(F.conv1d(signal, filters, bias[model, 0], padding=1), 2))
        found.append(signal.transpose(1, 2))
    return torch.stack(found)


def vectors(n_rows: int, length: int, n_models: int = 2) -> Tensor:
    """Return random vectors [model, row, feature]."""
    return torch.randn(n_models, n_rows, length, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("way", [TwoConvolutions, NativeConvolutions])
def test_both_ways_are_torchs_layers_and_so_are_their_gradients(way: type, length: int) -> None:
    """Features and gradients of weights, biases and (in torch) of the vectors equal autograd's, for odd lengths too."""
    if way is NativeConvolutions and kernel() is None:
        pytest.skip("no C compiler")
    weights = weights_of(layers())
    x = vectors(CHUNK_ROWS + 3, length).requires_grad_(way is TwoConvolutions)
    wanted = [*weights, x] if x.requires_grad else weights
    tokens = (0,) if way is NativeConvolutions else ()
    out, expected = way.apply(x, True, *tokens, *weights), reference(x, weights)  # type: ignore[attr-defined]
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    dy = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(
        torch.autograd.grad(out, wanted, dy), torch.autograd.grad(expected, wanted, dy), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("n_tokens", [1, 3, 5, 8])
def test_tokens_are_torchs_adaptive_averages_and_so_are_their_gradients(
    n_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In C and in torch, with more tokens than positions too (length 22 leaves 5)."""
    branch = ConvFeatures([np.random.default_rng([5, i]) for i in range(2)], (32, 64), n_tokens=n_tokens)
    weights, x = weights_of(branch), vectors(9, 22)
    signal = reference(x, weights).flatten(0, 1).transpose(1, 2)
    expected = F.adaptive_avg_pool1d(signal, n_tokens).transpose(1, 2).view(2, 9, n_tokens, 64)
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(expected, weights, dy)
    for found in (kernel(), None):
        monkeypatch.setattr(layers_module, "kernel", lambda found=found: found)
        out = branch(x)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        for ours, theirs in zip(torch.autograd.grad(out, weights, dy), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.skipif(kernel() is None, reason="no C compiler")
def test_threads_change_no_bit() -> None:
    """Gradients summed by one, two and three threads are the same numbers."""
    weights, x = weights_of(layers()), vectors(21, 96)
    found, n_threads = [], torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            out = NativeConvolutions.apply(x, True, 3, *weights)
            found.append(torch.autograd.grad(out.square().sum(), weights))
    finally:
        torch.set_num_threads(n_threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_without_a_compiler_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled where VOXCACHE_NO_COMPILER is set, and features stay the same."""
    branch, x = layers(), vectors(5, 20)
    expected = branch(x)
    monkeypatch.setenv("VOXCACHE_NO_COMPILER", "1")
    conv_native.kernel.cache_clear()
    try:
        assert conv_native.kernel() is None
        torch.testing.assert_close(branch(x), expected)
    finally:
        conv_native.kernel.cache_clear()


def test_what_the_kernel_cannot_do_goes_through_torch() -> None:
    """Channels that are no multiple of its block, and vectors that want a gradient (weighted layers), do not fit."""
    found = kernel()
    if found is None:
        pytest.skip("no C compiler")
    weights, x = weights_of(layers()), vectors(2, 20)
    assert found.fits(x, weights)
    assert not found.fits(x.clone().requires_grad_(), weights)
    assert not found.fits(x, weights_of(ConvFeatures([np.random.default_rng(0)], (6, 10))))


def test_layer_by_layer_gives_the_same() -> None:
    """The way of a GPU, whole layers over all models, gives the same features."""
    branch, x = layers(), vectors(5, 23)
    torch.testing.assert_close(branch(x), branch.layer_by_layer(x))
