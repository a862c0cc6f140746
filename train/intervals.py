"""How sure a score is: a jackknife over speakers and over folds, and what follows from it (docs/statistics.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .design import Design
from .scores import score_arrays

LEVEL = 0.95
_CELLS = 2_000_000
_NOTHING = 1e-20


@dataclass(frozen=True)
class Predictions:
    """What one experiment said of its test clips.

    Attributes:
        clip: int64 [test], index into the corpus' usable clips.
        fold: int64 [test], the fold in which the clip was tested.
        predicted: int64 [test].
    """

    clip: np.ndarray
    fold: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class LeftOut:
    """Scores of a run, or differences of two, and what they are without each part of what was tested.

    Attributes:
        whole: float64 [metric].
        by_block: without each block of units, float64 [metric, block].
        by_fold: without each fold, float64 [metric, fold].
    """

    whole: np.ndarray
    by_block: np.ndarray
    by_fold: np.ndarray

    def __sub__(self, other: LeftOut) -> LeftOut:
        return LeftOut(self.whole - other.whole, self.by_block - other.by_block, self.by_fold - other.by_fold)


def mean_of(items: Sequence[LeftOut]) -> LeftOut:
    """Return the mean over runs."""
    parts = ([getattr(item, name) for item in items] for name in ("whole", "by_block", "by_fold"))
    return LeftOut(*(np.mean(part, axis=0) for part in parts))


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, and how sure it is.

    Attributes:
        value: pooled over folds, mean over seeds.
        se, df: standard error and its degrees of freedom; NaN where `why` says why there is none.
        low, high: 95 % interval.
        p: two-sided, of the value being 0: below 0.05 exactly where the interval leaves 0 out.
    """

    value: float
    se: float = math.nan
    df: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not self.why


def estimate(
    design: Design, left: LeftOut, metric: str, *, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Return a metric with its interval and p, both from one standard error.

    That is the jackknife's over units (Efron & Stein, Annals of Statistics 9, 1981) or the one over folds, whichever is larger;
    t has the effective number of units, or of folds, minus 1 degrees of freedom.

    Args:
        limits: between which the metric lies; the interval ends there.
    """
    from scipy.special import stdtr, stdtrit

    index = design.metrics.index(metric)
    value = float(left.whole[index])
    if metric in design.refused:
        return Estimate(value, why=design.refused[metric])
    variance, df = _variance(left.by_block[index], value), design.df[metric][0]
    if design.folds_count:
        of_folds = _variance(left.by_fold[index], value)
        if of_folds > variance * (1 + 1e-9):
            variance, df = of_folds, design.df[metric][1]
    if variance < _NOTHING:
        return Estimate(value, why="it is the same without any of them")
    se = math.sqrt(variance)
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * se
    p = float(2 * stdtr(df, -abs(value) / se))
    return Estimate(value, se, df, max(limits[0], value - half), min(limits[1], value + half), p)


def _variance(without: np.ndarray, whole: float) -> float:
    """Return the jackknife's variance of `whole` from what it is without each of n parts, float64 [part]."""
    n = len(without)
    return (n - 1) / n * float(np.sum((without - whole) ** 2))


def left_out(design: Design, run: Predictions) -> LeftOut:
    """Return accuracy, UAR and macro-F1 of the confusions pooled over folds, and without each unit and fold.

    A class of which leaving out leaves nothing keeps its recall and F1 (see `scores.score_arrays`).
    """
    cell = design.y[run.clip] * design.n_classes + run.predicted
    shape = (design.n_classes, design.n_classes)
    whole = np.bincount(cell, minlength=design.n_classes**2).reshape(shape)
    return LeftOut(
        np.stack(score_arrays(whole)),
        _without(whole, cell, design.block[run.clip], design.n_blocks),
        _without(whole, cell, design.fold[run.clip], design.n_folds),
    )


def _without(whole: np.ndarray, cell: np.ndarray, part: np.ndarray, n_parts: int) -> np.ndarray:
    """Return scores without each part, float64 [metric, part]; `cell` and `part` are int64 [test]."""
    order = np.argsort(part, kind="stable")
    cell, part = cell[order], part[order]
    step = max(1, _CELLS // whole.size)
    found = []
    for start in range(0, n_parts, step):
        stop = min(n_parts, start + step)
        mine = slice(*np.searchsorted(part, (start, stop)))
        counts = np.bincount((part[mine] - start) * whole.size + cell[mine], minlength=(stop - start) * whole.size)
        found.append(np.stack(score_arrays(whole - counts.reshape(-1, *whole.shape), whole=whole)))
    return np.concatenate(found, axis=1)
