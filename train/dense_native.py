"""A dense layer's training step by dense_update.c, where a C compiler is found; `optimiser` does the same in torch."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..native import library

SOURCE = Path(__file__).with_name("dense_update.c")


@dataclass(frozen=True)
class Adam:
    """Adam's settings for one step; `decay` is added to the gradient, as torch.optim.Adam does it."""

    lr: float
    betas: tuple[float, float]
    eps: float
    decay: float


@dataclass(frozen=True)
class Kernel:
    """The compiled function; see dense_update.c. A weight's outputs must be a multiple of `block`."""

    update: Any
    block: int

    def fits(self, weight: Tensor) -> bool:
        """Return whether it can update a weight [in, out]."""
        plain = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous()
        return plain and weight.shape[1] % self.block == 0

    def run(
        self, weight: Tensor, state: Mapping[str, Tensor], x: Tensor, dy: Tensor, dx: Tensor | None, adam: Adam
    ) -> None:
        """Write dy W^T into `dx` [clip, in], where given, and move the weight by the gradient x^T dy.

        Args:
            state: exp_avg and exp_avg_sq, like the weight, and step, the number of this step from 1, as torch.optim.Adam has them.
        """
        x, dy = x.contiguous(), dy.contiguous()
        assert dx is None or dx.is_contiguous()
        n, (beta1, beta2) = float(state["step"]), adam.betas
        self.update(
            *(tensor.data_ptr() for tensor in (weight, state["exp_avg"], state["exp_avg_sq"], x, dy)),
            0 if dx is None else dx.data_ptr(),
            *(len(x), *weight.shape),
            *(adam.lr / (1 - beta1**n), adam.eps, adam.decay, 1 - beta1, beta2, 1 - beta2, 1 / math.sqrt(1 - beta2**n)),
            torch.get_num_threads(),
        )


@cache
def kernel() -> Kernel | None:
    """Return the compiled function; None where it cannot be built."""
    built = library(SOURCE)
    if built is None:
        return None
    update = built.dense_update
    update.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 3 + [ctypes.c_float] * 7 + [ctypes.c_int]
    update.restype = None
    built.dense_update_block.restype = ctypes.c_int64
    return Kernel(update, built.dense_update_block())
