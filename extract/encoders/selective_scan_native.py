"""Builds selective_scan.c with the machine's C compiler, once a process, and runs it on torch tensors.

Optional: without a compiler the scan runs in torch. The library is built anew in every process (0.2 s) because code for
this processor must not meet another one through a shared home folder.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .selective_scan import Scan

SOURCE = Path(__file__).with_name("selective_scan.c")
FLAGS = ("-O3", "-march=native", "-fPIC", "-shared")
BLOCK = 96
MAX_STATE = 64
"""Both as in selective_scan.c."""
PARTS_PER_THREAD = 4
"""More than one, so that a thread which the system holds up does not hold up the others."""
BUILD_LIMIT_S = 60


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
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(prefix="voxcache-", ignore_cleanup_errors=True) as folder:
        library = Path(folder, "selective_scan.so")
        try:
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(library)]
            subprocess.run(command, check=True, capture_output=True, timeout=BUILD_LIMIT_S)
            call = ctypes.CDLL(str(library)).selective_scan
        except (OSError, subprocess.SubprocessError):
            return None
    call.argtypes = [ctypes.c_void_p] * 8 + [ctypes.c_int64] * 7
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
    pointers = [array.data_ptr() for array in arrays]
    sizes = (n_time, n_channel, scan.A.shape[1], B.stride(1), z.stride(1))
    n_jobs, n_threads = n_windows * (n_channel // BLOCK), torch.get_num_threads()
    if n_threads == 1:
        kernel.call(*pointers, *sizes, 0, n_jobs)
        return y
    n_parts = PARTS_PER_THREAD * n_threads
    cuts = [n_jobs * i // n_parts for i in range(n_parts + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda first, last: kernel.call(*pointers, *sizes, first, last), cuts, cuts[1:]))
    return y


def _rows(x: torch.Tensor) -> torch.Tensor:
    """Return x itself if it is rows of one matrix, perhaps with gaps between, as column slices are; else a copy."""
    return x if x.stride(2) == 1 and x.stride(0) == x.shape[1] * x.stride(1) else x.contiguous()
