"""Builds a C file of the package with the machine's compiler; whoever calls it keeps the result, and can do without.

A library is built anew in every process (0.2 to 0.5 s) because code for this processor must not meet another one through a
shared home folder. Its threads are those of OpenMP that torch's own operations run on: both ask for libgomp.so.1 and get the
one that is loaded.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import machine

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared")
THREADS = (("-fopenmp",), ())
"""Tried in turn: without OpenMP a kernel runs on one thread."""
BUILD_LIMIT_S = 60
OFF = "VOXCACHE_NO_COMPILER"
"""Set in the environment, nothing is compiled and torch does it all."""


def library(source: Path) -> ctypes.CDLL | None:
    """Compile and load a C file; None on Windows, and where there is no compiler, or it fails."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.environ.get(OFF) or machine.WINDOWS:
        return None
    return next((built for threads in THREADS if (built := _build(source, [compiler, *FLAGS, *threads]))), None)


def _build(source: Path, command: Sequence[str]) -> ctypes.CDLL | None:
    with tempfile.TemporaryDirectory(prefix="voxcache-", ignore_cleanup_errors=True) as folder:
        built = Path(folder, f"{source.stem}.so")
        try:
            subprocess.run(
                [*command, str(source), "-o", str(built)], check=True, capture_output=True, timeout=BUILD_LIMIT_S
            )
            return ctypes.CDLL(str(built))
        except (OSError, subprocess.SubprocessError):
            return None
