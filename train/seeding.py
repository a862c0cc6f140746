"""Random numbers that depend on an experiment's own seed and on nothing else that runs."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*path: int | str) -> np.random.Generator:
    """Return a generator named by `path`, such as (seed, fold, "dropout"). Different paths are independent."""
    digest = hashlib.sha256("\0".join(str(part) for part in path).encode()).digest()
    return np.random.Generator(np.random.SFC64(list(np.frombuffer(digest, dtype=np.uint32))))


MAX_POINTS = 2000
"""Clips in a map or a scatter: more would only cover each other."""


def draw(y: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """Return at most `most` clips of classes int64 [clip], int64 [point] in order, with every class in its share."""
    if len(y) <= most:
        return np.arange(len(y))
    shuffled = generator("map").permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    return np.sort(by_class[np.linspace(0, len(y) - 1, most).astype(np.int64)])
