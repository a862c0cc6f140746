"""How threads that compute wait for each other: a moment actively, then asleep, so that others get the core.

GNU's OpenMP, which torch brings on Linux, lets a thread that waits spin 300,000 times, which is tens of milliseconds on
processors whose pause instruction is slow. Beside another busy program the thread that is waited for does not run
meanwhile: two runs on two cores took 3 to 7 times as long each as one alone. `benchmarks/contention.py` measures it.
"""

from __future__ import annotations

import os
import sys

SPINS = 2000
"""Longer than most gaps between two operations, shorter than what it costs to be put back on a core."""
ASKED_FOR = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Who sets one of these has decided."""


def wait_briefly() -> None:
    """Set how long threads spin, for OpenMP to read when torch is first imported. Children inherit it."""
    if "torch" not in sys.modules and not any(name in os.environ for name in ASKED_FOR):
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
