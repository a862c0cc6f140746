"""Runs selective_scan.c on torch tensors, built once a process by the machine's C compiler; without one the scan runs in torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...native import library

if TYPE_CHECKING:
    from .selective_scan import Scan

SOURCE = Path(__file__).with_name("selective_scan.c")
BLOCK = 96
MAX_STATE = 64
"""Both as in selective_scan.c."""


@dataclass(frozen=True)
class NativeKernel:
    """The compiled function; see selective_scan.c."""

    call: Any

    def fits(self, A: torch.Tensor) -> bool:  # noqa: N803
        """Return whether the kernel can run with rates [channel, state]."""
        return A.shape[0] % BLOCK == 0 and A.shape[1] <= MAX_STATE


@cache
def native_kernel() -> NativeKernel | None:
    """Compile and load the kernel; None where there is no compiler, or it fails."""
    built = library(SOURCE)
    if built is None:
        return None
    call = built.selective_scan
    call.argtypes = [ctypes.c_void_p] * 8 + [ctypes.c_int64] * 6 + [ctypes.c_int]
    call.restype = None
    return NativeKernel(call)


def scan_native(kernel: NativeKernel, scan: Scan) -> torch.Tensor:
    """Run the kernel on as many threads as torch uses; the numbers do not depend on how many."""
    n_windows, n_time, n_channel = scan.u.shape
    B, C, z = (_rows(x) for x in (scan.B, scan.C, scan.z))  # noqa: N806
    if B.stride(1) != C.stride(1):
        B, C = B.contiguous(), C.contiguous()  # noqa: N806
    y = torch.empty_like(scan.u, memory_format=torch.contiguous_format)
    arrays = (scan.u.contiguous(), scan.dt.contiguous(), scan.A.T.contiguous(), B, C, scan.D.contiguous(), z, y)
    sizes = (n_windows, n_time, n_channel, scan.A.shape[1], B.stride(1), z.stride(1))
    kernel.call(*(array.data_ptr() for array in arrays), *sizes, torch.get_num_threads())
    return y


def _rows(x: torch.Tensor) -> torch.Tensor:
    """Return x itself if it is rows of one matrix, perhaps with gaps between, as column slices are; else a copy."""
    return x if x.stride(2) == 1 and x.stride(0) == x.shape[1] * x.stride(1) else x.contiguous()
