"""Layers over a stack of models: every parameter and activation has a leading `model` axis.

A single model is a stack of one. Models of a stack share no number: each has its own generator for its initial weights
and its own mask bytes for dropout, and every product runs along the model axis, so that a model's result is the same
alone and in any stack, to float tolerance.

Weights are drawn as torch.nn's default layers draw them: uniform within 1 / sqrt(inputs).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Rngs
from .conv import TwoConvolutions
from .conv_native import NativeConvolutions, kernel

DROPOUT_STEPS = 256
FACTORED_BYTES = 4_000_000
"""A model's weight matrix from which on its gradient is computed block by block where Adam uses it, and never stands whole."""

Update = Callable[[Tensor, Tensor, bool], Tensor | None]


def uniform(rngs: Rngs, shape: Sequence[int], bound: float) -> nn.Parameter:
    """Return a parameter [model, *shape] float32, each model's slice drawn from its own generator."""
    drawn = np.empty((len(rngs), *shape), dtype=np.float32)
    for model, rng in zip(drawn, rngs, strict=True):
        rng.random(out=model, dtype=np.float32)
    drawn *= 2
    drawn -= 1
    drawn *= np.float32(bound)
    return nn.Parameter(torch.from_numpy(drawn))


class GradBuffer:
    """Where a weight's gradient is written in place, step after step.

    A gradient in fresh memory costs more than computing it: 19 ms against 3 for [12288, 512] on two cores, in page faults.

    Attributes:
        update: where set, called as update(x, dy, wants_dx) in the backward pass of a layer that a step runs once; it moves
            the weight by the gradient x^T dy and returns dy W^T of the weight as it was, None where it is not wanted.
        factors: pairs (x, dy) of a layer that a step runs several times, for the optimiser.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.kept: Tensor | None = None
        self.update: Update | None = None
        self.factors: list[tuple[Tensor, Tensor]] = []
        self.n_uses = 0

    @property
    def is_large(self) -> bool:
        """Whether a model's weight is so large that it is better moved block by block, its gradient never standing whole."""
        return self.weight.device.type == "cpu" and self.weight[0].numel() * 4 >= FACTORED_BYTES

    def add(self, x: Tensor, dy: Tensor) -> None:
        """Write x^T dy into the weight's `grad`, or add it where this step has written already."""
        if self.update is not None:
            self.factors.append((x, dy))
            return
        if self.weight.grad is not None:
            self.weight.grad.baddbmm_(x.transpose(1, 2), dy)
            return
        if self.kept is None or self.kept.shape != self.weight.shape:
            self.kept = torch.empty_like(self.weight)
        torch.bmm(x.transpose(1, 2), dy, out=self.kept)
        self.weight.grad = self.kept


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, buffer: GradBuffer
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.buffer = buffer  # type: ignore[attr-defined]
        buffer.n_uses += 1
        return torch.baddbmm(bias, x, weight)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (dy,) = ctx.saved_tensors, grads  # type: ignore[attr-defined]
        buffer: GradBuffer = ctx.buffer  # type: ignore[attr-defined]
        wants_dx = ctx.needs_input_grad[0]  # type: ignore[attr-defined]
        if buffer.update is not None and buffer.n_uses == 1:
            dx = buffer.update(x, dy, wants_dx)
        else:
            buffer.add(x, dy)
            dx = torch.bmm(dy, buffer.weight.detach().transpose(1, 2)) if wants_dx else None
        return dx, None, dy.sum(1, keepdim=True), None


class Linear(nn.Module):
    """A dense layer a model: [model, row, in] -> [model, row, out]."""

    def __init__(self, rngs: Rngs, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = uniform(rngs, (n_in, n_out), bound)
        self.bias = uniform(rngs, (1, n_out), bound)
        self.buffer = GradBuffer(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W + b."""
        if not torch.is_grad_enabled():
            return torch.baddbmm(self.bias, x, self.weight)
        out: Tensor = _Affine.apply(x, self.weight, self.bias, self.buffer)
        return out


class Conv1d(nn.Module):
    """A convolution of odd width a model, zero-padded to keep its length: [model, clip, position, in] -> [..., out].

    The neighbours of a position stand side by side, so that one matrix product does it.
    """

    def __init__(self, rngs: Rngs, n_in: int, n_out: int, *, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.dense = Linear(rngs, width * n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved signal."""
        n_models, n_clips, length, _ = x.shape
        padded = F.pad(x, (0, 0, self.width // 2, self.width // 2))
        around = torch.cat([padded[:, :, k : k + length] for k in range(self.width)], dim=-1)
        out: Tensor = self.dense(around.view(n_models, n_clips * length, -1))
        return out.view(n_models, n_clips, length, -1)


def max_pool2(x: Tensor) -> Tensor:
    """Return the larger of each two neighbouring positions: [..., position, channel] -> [..., position // 2, channel]."""
    half = x.shape[-2] // 2
    return torch.maximum(x[..., 0 : 2 * half : 2, :], x[..., 1 : 2 * half : 2, :])


class Noise:
    """Dropout masks for one training step. Each model draws bytes of its own for its own rows, whatever stands beside it.

    Args:
        rngs: one a model.
        n_rows: clips of this step's batch, one number a model; rows beyond are padding.
        n_padded: rows of the padded batch.
    """

    def __init__(self, rngs: Rngs, n_rows: Sequence[int], n_padded: int) -> None:
        self.rngs = rngs
        self.n_rows = n_rows
        self.n_padded = n_padded

    def drop(self, x: Tensor, rate: float) -> Tensor:
        """Return x [model, row, feature] with a share `rate` (to 1/256) set to 0 and the rest scaled up."""
        threshold = round(rate * DROPOUT_STEPS)
        if threshold == 0:
            return x
        width = x.shape[-1]
        drawn = np.zeros((len(self.rngs), self.n_padded * width), dtype=np.uint8)
        for model, (rng, rows) in enumerate(zip(self.rngs, self.n_rows, strict=True)):
            if rows == 0:
                continue  # bytes(0) would still move the generator on
            drawn[model, : rows * width] = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8)
        keep = torch.from_numpy(drawn).to(x.device).view(x.shape) >= threshold
        return x * keep.to(x.dtype).mul_(DROPOUT_STEPS / (DROPOUT_STEPS - threshold))


class Dense(nn.Module):
    """Dense layers with ReLU and dropout, then the output layer: [model, row, in] -> [model, row, out]."""

    def __init__(self, rngs: Rngs, n_in: int, n_out: int, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        sizes = [n_in, *hidden]
        self.hidden = nn.ModuleList(Linear(rngs, a, b) for a, b in itertools.pairwise(sizes))
        self.out = Linear(rngs, sizes[-1], n_out)
        self.dropout = dropout

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Return the output layer's values; without noise nothing is dropped."""
        for layer in self.hidden:
            x = F.relu(layer(x))
            if noise is not None:
                x = noise.drop(x, self.dropout)
        out: Tensor = self.out(x)
        return out


@cache
def pooling(length: int, n_tokens: int) -> Tensor:
    """Return the matrix [token, position] of torch's adaptive average pooling.

    As a product it leaves channels last; the pooling itself wants them first, and back.
    """
    token = torch.arange(n_tokens)
    first, last = token * length // n_tokens, -(-(token + 1) * length // n_tokens)
    position = torch.arange(length)
    own = (position >= first.unsqueeze(1)) & (position < last.unsqueeze(1))
    return own / own.sum(1, keepdim=True)


class ConvFeatures(nn.Module):
    """Two convolutions of width 3 over a vector as a 1-D signal, ReLU and max-pool 2 after each.

    [model, row, feature] -> [model, row, feature // 4, channel], or [model, row, token, channel] where `n_tokens` are asked for:
    adaptive averages over the positions.
    """

    def __init__(self, rngs: Rngs, filters: tuple[int, int], *, n_tokens: int = 0) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.first = Conv1d(rngs, 1, filters[0])
        self.second = Conv1d(rngs, filters[0], filters[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return what is left of each quarter of the vector, or the tokens."""
        if x.device.type != "cpu":
            return self._pool(self.layer_by_layer(x))
        layers, learns = (self.first.dense, self.second.dense), torch.is_grad_enabled()
        weights = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
        found = kernel()
        if found is not None and found.fits(x, weights):
            out: Tensor = NativeConvolutions.apply(x, learns, self.n_tokens, *weights)
            return out
        return self._pool(TwoConvolutions.apply(x, learns, *weights))

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """Return the features, each layer over all models and clips at once: what a GPU wants, and slower on a CPU."""
        x = F.relu(max_pool2(self.first(x.unsqueeze(-1))))
        return F.relu(max_pool2(self.second(x)))

    def _pool(self, x: Tensor) -> Tensor:
        if not self.n_tokens:
            return x
        n_models, n_rows, length, channels = x.shape
        shares = pooling(length, self.n_tokens).to(x).expand(n_models * n_rows, -1, -1)
        pooled = torch.bmm(shares, x.reshape(n_models * n_rows, length, channels))
        return pooled.view(n_models, n_rows, self.n_tokens, channels)


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2): [model, row, token, dim] -> the same."""

    def __init__(self, rngs: Rngs, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = Linear(rngs, dim, 3 * dim)
        self.out = Linear(rngs, dim, dim)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return what a clip's tokens say to each of them; `valid` bool [model, row, token] are those that may be listened to."""
        n_models, n_rows, n_tokens, dim = x.shape
        flat = x.reshape(n_models, n_rows * n_tokens, dim)
        packed = self.query_key_value(flat).view(n_models * n_rows, n_tokens, 3, self.heads, dim // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # each [model x row, head, token, dim / head]
        mask = None if valid is None else valid.view(n_models * n_rows, 1, 1, n_tokens)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n_models, n_rows * n_tokens, dim))
        return out.view(n_models, n_rows, n_tokens, dim)
