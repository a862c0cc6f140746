"""Random numbers that depend on an experiment's own seed and on nothing else that runs."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*path: int | str) -> np.random.Generator:
    """Return a generator named by `path`, such as (seed, fold, "dropout"). Different paths are independent."""
    digest = hashlib.sha256("\0".join(str(part) for part in path).encode()).digest()
    return np.random.Generator(np.random.SFC64(list(np.frombuffer(digest, dtype=np.uint32))))
