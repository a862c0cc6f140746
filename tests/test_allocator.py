"""Freed blocks are kept for the next layer."""

from __future__ import annotations

import subprocess
import sys

import pytest

KEEPS = """
import resource, sys
from voxcache.allocator import keep_freed_memory
import numpy as np
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(5):
    np.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Page faults of twenty blocks of 128 MB, each freed before the next."""
    run = subprocess.run([sys.executable, "-c", KEEPS, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_large_block_is_handed_out_again_without_page_faults() -> None:
    """After `keep_freed_memory`, blocks of a size seen before cost at most a tenth of the page faults they cost without."""
    assert page_faults("keep") * 10 < page_faults("default")
