"""The two convolutions by two_convolutions.c, where a C compiler is found; `conv` is the same in torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..native import library

SOURCE = Path(__file__).with_name("two_convolutions.c")
GROUPS = 8
"""Parts of a batch whose gradients are summed apart, so that sums do not depend on the number of threads."""


@dataclass(frozen=True)
class Kernel:
    """The compiled functions; see two_convolutions.c. Channels must be multiples of `block`."""

    forward: Any
    backward: Any
    block: int

    def fits(self, x: Tensor, weights: Sequence[Tensor]) -> bool:
        """Return whether it can run: float32 on a CPU, vectors that no gradient is wanted of, channels that fit."""
        channels = (weights[0].shape[-1], weights[2].shape[-1])
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad
        return plain and all(n % self.block == 0 for n in channels)


@cache
def kernel() -> Kernel | None:
    """Return the compiled functions; None where they cannot be built."""
    built = library(SOURCE)
    if built is None:
        return None
    forward, backward = built.two_convolutions, built.two_convolutions_backward
    forward.argtypes = [ctypes.c_void_p] * 7 + [ctypes.c_int64] * 6 + [ctypes.c_int]
    backward.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_int64] * 7 + [ctypes.c_int]
    forward.restype = backward.restype = None
    built.two_convolutions_block.restype = ctypes.c_int64
    return Kernel(forward, backward, built.two_convolutions_block())


class NativeConvolutions(torch.autograd.Function):
    """See `conv.TwoConvolutions`; no gradient of the vectors. `n_tokens`: adaptive averages to so many positions, 0 for none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, learns: bool, n_tokens: int, *weights: Tensor) -> Tensor:
        """Return the features. `weights`: weight and bias of the first convolution, then of the second."""
        x, *weights = (tensor.contiguous() for tensor in (x, *weights))  # type: ignore[assignment]
        sizes = _sizes(x, weights, n_tokens)
        n_models, n_rows, length, n2 = *x.shape[:2], x.shape[2] // 4, sizes[4]
        out = x.new_empty(n_models, n_rows, n_tokens or length, n2)
        which = torch.empty(n_models, n_rows, length, n2, dtype=torch.int8) if learns else None
        found = kernel()
        assert found is not None
        last = 0 if which is None else which.data_ptr()
        found.forward(*_at(x, *weights, out), last, *sizes, torch.get_num_threads())
        ctx.save_for_backward(x, which, *weights)
        ctx.n_tokens = n_tokens
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the weights."""
        x, which, w1, b1, w2, b2 = ctx.saved_tensors
        sizes = _sizes(x, (w1, b1, w2, b2), ctx.n_tokens)
        n_models, n1, n2 = len(x), sizes[3], sizes[4]
        back = w2.view(n_models, 3, n1, n2).flip(1).transpose(2, 3).contiguous()
        sums = [x.new_zeros(n_models, GROUPS, *weight.shape[1:]) for weight in (w1, b1, w2, b2)]
        found = kernel()
        assert found is not None
        dy = grads[0].contiguous()
        found.backward(*_at(x, w1, b1, back, dy, which, *sums), *sizes, GROUPS, torch.get_num_threads())
        return None, None, None, *(total.sum(1) for total in sums)


def _sizes(x: Tensor, weights: Sequence[Tensor], n_tokens: int) -> tuple[int, ...]:
    return (*x.shape, weights[0].shape[-1], weights[2].shape[-1], n_tokens)


def _at(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]
