"""Which clips make a batch, and getting the next batch ready while this one is trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")

POOL_BATCHES = 8
"""Batches that are sorted by length together: as random as before over the epoch, with about a third less padding."""


def bucketed(clips: np.ndarray, length: np.ndarray, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Return shuffled clips in batches of similar length, the batches shuffled; one that is not full stays last.

    Args:
        clips: int64, shuffled; length: frames of every clip of the corpus.
    """
    pools = [clips[start : start + POOL_BATCHES * batch] for start in range(0, len(clips), POOL_BATCHES * batch)]
    # the batch that is not full holds the longest or the shortest clips of its pool, by chance
    turned = [pool[np.argsort(length[pool] * rng.choice([-1, 1]), kind="stable")] for pool in pools]
    ordered = np.concatenate(turned) if turned else clips
    n_full = len(clips) // batch
    full = ordered[: n_full * batch].reshape(n_full, batch)
    return np.concatenate([full[rng.permutation(n_full)].ravel(), ordered[n_full * batch :]])


def ahead(items: Iterator[T], work: Callable[[T], R], *, threaded: bool) -> Iterator[tuple[T, R]]:
    """Yield each item with what `work` made of it; `threaded`: in a thread, which does the next while this one is used."""
    if not threaded:
        yield from ((item, work(item)) for item in items)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > 1:
                first, ready = waiting.popleft()
                yield first, ready.result()
        for first, ready in waiting:
            yield first, ready.result()
