"""Convolution of width 3, max-pool 2, ReLU, twice, over stacks of models: forward and backward a few clips at a time.

As separate layers these two spend their time moving intermediate signals through memory and faulting in fresh pages; here a
few clips go through everything while they are in the cache, and no window of the signal is ever copied.

A signal lies as [row, position, channel], a zero before it and zeros behind, to a whole number of groups of four positions.
What one pooled position sees are four neighbours, [4 x channel] in a row of memory; its two convolutions are one product with a
[4 x in, 2 x out] matrix whose halves hold the filter, the second one position later. Windows of even and of odd pooled
positions each tile the memory, so both are plain views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ROWS = 16
"""Clips at a time: at 768 features and 64 channels what a chunk touches, about 6 MB, nearly fits in two cores' caches."""


def padded_length(length: int) -> int:
    """Return the positions that a signal of this length takes, with its zeros."""
    return 4 * (length // 4 + 1)


def padded(n_rows: int, length: int, channels: int, like: Tensor) -> Tensor:
    """Return zeros [row x position + 4, channel]: room for signals and for the windows that start in the last."""
    return like.new_zeros(n_rows * padded_length(length) + 4, channels)


def signal(flat: Tensor, n_rows: int, length: int) -> Tensor:
    """Return the view [row, position, channel] of the signals proper, without their zeros."""
    whole = flat[: n_rows * padded_length(length)].view(n_rows, padded_length(length), flat.shape[1])
    return whole[:, 1 : 1 + length]


def windows(flat: Tensor, odd: int) -> Tensor:
    """Return the view [row x group, 4 x channel] of what every second pooled position sees."""
    start = 2 * odd
    return flat[start : start + len(flat) - 4].view(-1, 4 * flat.shape[1])


def doubled(weight: Tensor) -> Tensor:
    """Return [4 x in, 2 x out]: a filter [3 x in, out] at a position and at the next."""
    rows, n_out = weight.shape
    n_in = rows // 3
    both = weight.new_zeros(4 * n_in, 2 * n_out)
    both[:rows, :n_out] = weight
    both[n_in:, n_out:] = weight
    return both


def folded(grad: Tensor) -> Tensor:
    """Return the gradient [3 x in, out] of a filter from that of its doubled matrix."""
    n_in, n_out = grad.shape[0] // 4, grad.shape[1] // 2
    return grad[: 3 * n_in, :n_out] + grad[n_in:, n_out:]


@dataclass(frozen=True)
class Filters:
    """One convolution of one model: `both` [4 x in, 2 x out] of its weight, bias [out]."""

    both: Tensor
    bias: Tensor

    @property
    def n_out(self) -> int:
        """Its channels."""
        return len(self.bias)


def pool_conv(flat: Tensor, filters: Filters, out: Tensor, first: Tensor | None) -> None:
    """Write relu(maxpool(conv(signal))) into `out` [row, position // 2, out].

    Args:
        flat: padded signals.
        first: where given, bool, like `out`: set where the first of two positions was the larger.
    """
    n_rows, _, n = out.shape
    for odd in (0, 1):
        kept = out[:, odd::2]
        both = torch.mm(windows(flat, odd), filters.both).view(n_rows, -1, 2 * n)[:, : kept.shape[1]]
        torch.maximum(both[..., :n], both[..., n:], out=kept)
        if first is not None:
            torch.ge(both[..., :n], both[..., n:], out=first[:, odd::2])
    out.add_(filters.bias).clamp_min_(0)


def unpool(dy: Tensor, y: Tensor, first: Tensor, flat: Tensor, grads: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Add to the gradients of a doubled matrix and its bias. Returns the gradient of each parity's products."""
    n_rows, half, n = y.shape
    dy = torch.ops.aten.threshold_backward(dy, y, 0)
    grads[1].add_(dy.sum((0, 1)))
    found = []
    for odd in (0, 1):
        part = dy[:, odd::2]
        both = dy.new_zeros(n_rows, half // 2 + 1, 2 * n)
        mine = both[:, : part.shape[1]]
        torch.mul(part, first[:, odd::2], out=mine[..., :n])
        torch.sub(part, mine[..., :n], out=mine[..., n:])
        found.append(both.view(-1, 2 * n))
        grads[0].addmm_(windows(flat, odd).t(), found[odd])
    return found


def input_gradient(products: list[Tensor], filters: Filters, flat: Tensor) -> Tensor:
    """Return the gradient of padded signals."""
    dx = torch.empty_like(flat)
    torch.mm(products[0], filters.both.t(), out=windows(dx, 0))
    dx[-4:] = 0
    windows(dx, 1).addmm_(products[1], filters.both.t())
    return dx


@dataclass(frozen=True)
class _Chunk:
    """A few clips of one model: the padded signals between both convolutions, and which of two positions was the larger."""

    model: int
    rows: slice
    between: Tensor
    larger: tuple[Tensor, Tensor]


class TwoConvolutions(torch.autograd.Function):
    """[model, row, feature] -> [model, row, feature // 4, channel]; weights [model, 3 x in, out], biases [model, 1, out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, learns: bool, *weights: Tensor) -> Tensor:
        """Return the features. `weights`: weight and bias of the first convolution, then of the second."""
        n_models, n_rows, width = x.shape
        filters = _filters(weights)
        out = x.new_empty(n_models, n_rows, width // 4, filters[0][1].n_out)
        chunks = []
        for model, rows in _pieces(n_models, n_rows):
            first, second = filters[model]
            y = out[model, rows]
            between = padded(len(y), width // 2, first.n_out, x)
            half = signal(between, len(y), width // 2)
            larger = (
                (torch.empty_like(half, dtype=torch.bool), torch.empty_like(y, dtype=torch.bool)) if learns else None
            )
            pool_conv(_padded(x[model, rows]), first, half, larger and larger[0])
            pool_conv(between, second, y, larger and larger[1])
            if larger:
                chunks.append(_Chunk(model, rows, between, larger))
        ctx.save_for_backward(x, out, *weights)
        ctx.chunks = chunks
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, where it wants one, and of the weights."""
        x, out, *weights = ctx.saved_tensors
        filters = _filters(weights)
        sums = [[(torch.zeros_like(layer.both), torch.zeros_like(layer.bias)) for layer in model] for model in filters]
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        for chunk in ctx.chunks:
            (first, second), (first_sum, second_sum) = filters[chunk.model], sums[chunk.model]
            at = (chunk.model, chunk.rows)
            n_rows, half = len(out[at]), x.shape[-1] // 2
            products = unpool(grads[0][at], out[at], chunk.larger[1], chunk.between, second_sum)
            dy = signal(input_gradient(products, second, chunk.between), n_rows, half)
            outer = _padded(x[at])
            products = unpool(dy, signal(chunk.between, n_rows, half), chunk.larger[0], outer, first_sum)
            if dx is not None:
                dx[at] = signal(input_gradient(products, first, outer), n_rows, x.shape[-1]).squeeze(-1)
        found = [
            torch.stack(parts)
            for layer in (0, 1)
            for parts in (
                [folded(model[layer][0]) for model in sums],
                [model[layer][1].unsqueeze(0) for model in sums],
            )
        ]
        return dx, None, *found


def _pieces(n_models: int, n_rows: int) -> Iterator[tuple[int, slice]]:
    for model in range(n_models):
        for start in range(0, n_rows, CHUNK_ROWS):
            yield model, slice(start, start + CHUNK_ROWS)


def _filters(weights: Sequence[Tensor]) -> list[tuple[Filters, Filters]]:
    """Return both convolutions of each model."""
    return [
        (Filters(doubled(first), first_bias[0]), Filters(doubled(second), second_bias[0]))
        for first, first_bias, second, second_bias in zip(*weights, strict=True)
    ]


def _padded(x: Tensor) -> Tensor:
    """Return vectors [row, feature] as padded signals of one channel."""
    flat = padded(len(x), x.shape[1], 1, x)
    signal(flat, len(x), x.shape[1]).copy_(x.unsqueeze(-1))
    return flat
