"""Standard error, interval and p written out in loops, to compare with what is printed. Nothing of `voxcache` is used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

Score = Callable[[np.ndarray], float]
"""Scores the clips of a mask, bool [clip]."""


def variance(score: Score, part: np.ndarray) -> float:
    """Return the delete-one jackknife variance of a score over the parts of the clips, [clip]."""
    whole = score(np.ones(len(part), dtype=bool))
    without = [score(part != name) for name in np.unique(part)]
    return (len(without) - 1) / len(without) * sum((value - whole) ** 2 for value in without)


def degrees(share: np.ndarray, part: np.ndarray) -> float:
    """Return Satterthwaite's number of parts minus 1, where two clips of a part correlate by 0.1."""
    sizes = []
    for name in np.unique(part):
        w = share[part == name]
        sizes.append(sum(a * b * (1.0 if i == j else 0.1) for i, a in enumerate(w) for j, b in enumerate(w)))
    return sum(sizes) ** 2 / sum(size**2 for size in sizes) - 1


def expected(score: Score, share: np.ndarray, unit: np.ndarray, fold: np.ndarray) -> tuple[float, float, float, float]:
    """Return value, low, high and p by the larger of both variances; units alone where there are fewer than three folds."""
    value = score(np.ones(len(unit), dtype=bool))
    found = [(variance(score, unit), degrees(share, unit))]
    if len(np.unique(fold)) > 2:
        found.append((variance(score, fold), degrees(share, fold)))
    most, df = max(found, key=lambda pair: pair[0])
    se = np.sqrt(most)
    low, high = stats.t.interval(0.95, df, loc=value, scale=se)
    return value, low, high, 2 * stats.t.sf(abs(value / se), df)
