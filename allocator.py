"""How the C library hands out memory while encoders run, or heads train, on a CPU."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST_BYTES = 2**31 - 1
"""The largest value `mallopt` takes."""


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep large freed blocks for the next layer; return whether it will.

    By default it gives every block above 32 MB back to the kernel, which hands it out again zeroed, page by page: a
    tenth of wav2vec 2.0's forward pass (docs/benchmarks.md). What a process holds stays at its peak instead of falling
    after each layer.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(mallopt(option, MOST_BYTES) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
