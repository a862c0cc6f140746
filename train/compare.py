"""Is one system better than another: paired tests, with correction for many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np


class _OfSeed(Protocol):
    @property
    def seed(self) -> int: ...


R = TypeVar("R", bound=_OfSeed)


def paired(a: Sequence[R], b: Sequence[R], seeded: tuple[bool, bool]) -> list[tuple[R, R]]:
    """Pair runs of the same seed, of those that both have; of what a seed cannot change one run stands beside all others.

    Args:
        seeded: whether a seed can change the first and the second.
    """
    if not seeded[0]:
        return [(a[0], run) for run in (b if seeded[1] else b[:1])]
    if not seeded[1]:
        return [(run, b[0]) for run in a]
    by_seed = [{run.seed: run for run in runs} for runs in (a, b)]
    return [(by_seed[0][seed], by_seed[1][seed]) for seed in sorted(by_seed[0].keys() & by_seed[1].keys())]


def corrected_t(differences: np.ndarray, *, test_share: float) -> float:
    """Return the two-sided p of the corrected resampled t-test (Nadeau & Bengio, Machine Learning 52, 2003, eq. 7).

    Args:
        differences: score of A minus score of B, one a fold and seed, float64 [run].
        test_share: test clips over training clips of a fold, such as 1/4 with five folds.

    Returns:
        1 where all differences are zero or there are fewer than two; 0 where they are all the same but not zero.
    """
    from scipy.special import stdtr

    n = len(differences)
    if n < 2 or not np.any(differences):
        return 1.0
    variance = float(np.var(differences, ddof=1))
    if variance == 0:
        return 0.0
    t = float(np.mean(differences)) / math.sqrt((1 / n + test_share) * variance)
    return float(2 * stdtr(n - 1, -abs(t)))


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Return the exact two-sided p of McNemar's test on the clips where just one of two systems is right, bool [clip] each."""
    from scipy.special import bdtr

    only_a = int(np.sum(right_a & ~right_b))
    only_b = int(np.sum(right_b & ~right_a))
    n = only_a + only_b
    if n == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm, Scand. J. Statistics 6, 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [1.0] * len(order)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * float(p_values[index])))
        adjusted[int(index)] = highest
    return adjusted
