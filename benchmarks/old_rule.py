"""How intervals and tests were made before docs/statistics.md: to measure against, for nothing else.

A percentile bootstrap over groups of the mean over folds and seeds; the corrected resampled t-test over folds and seeds;
McNemar's test.
"""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr, stdtr

from voxcache.train.scores import confusion, score_arrays


def fold_scores(y: np.ndarray, fold: np.ndarray, said: np.ndarray, n_classes: int) -> np.ndarray:
    """Return UAR of every seed and fold, float64 [seed x fold]."""
    folds = [np.flatnonzero(fold == index) for index in range(int(fold.max()) + 1)]
    counts = np.stack([confusion(y[f], row[f], n_classes) for row in said for f in folds])
    return score_arrays(counts)[1]


def draws(y: np.ndarray, fold: np.ndarray, unit: np.ndarray, said: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean UAR over folds and seeds in 1,000 draws of groups, float64 [draw]."""
    n_folds, n_units = int(fold.max()) + 1, int(unit.max()) + 1
    cells = np.zeros((n_units, len(said) * n_folds * n_classes**2))
    for seed, row in enumerate(said):
        np.add.at(cells, (unit, ((seed * n_folds + fold) * n_classes + y) * n_classes + row), 1)
    weights = np.random.default_rng(0).multinomial(n_units, np.full(n_units, 1 / n_units), size=1000)
    shape = (len(said) * n_folds, n_classes, n_classes)
    values = score_arrays((weights @ cells).reshape(1000, *shape), whole=cells.sum(0).reshape(shape))[1]
    return np.asarray(np.nanmean(values, axis=1))


def corrected_t(d: np.ndarray, share: float) -> float:
    """Return p of the corrected resampled t-test, as it was used."""
    if len(d) < 2 or not np.any(d):
        return 1.0
    variance = np.var(d, ddof=1)
    return (
        0.0
        if variance == 0
        else float(2 * stdtr(len(d) - 1, -abs(d.mean() / np.sqrt((1 / len(d) + share) * variance))))
    )


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Return p of the exact test on clips where one alone is right."""
    only = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    return 1.0 if not sum(only) else min(1.0, 2 * float(bdtr(min(only), sum(only), 0.5)))
