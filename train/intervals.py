"""Bootstrap intervals whose unit is the group (speaker), not the clip: clips of one speaker are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .scores import METRICS, score_arrays
from .seeding import generator

_CHUNK = 100


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


def draw(
    runs: list[Predictions], y: np.ndarray, unit: np.ndarray, *, n_classes: int, draws: int = 1000
) -> dict[str, np.ndarray]:
    """Return each metric's mean over folds and seeds in every draw, float64 [draw].

    Groups are drawn with replacement, the same draw for all seeds; each fold is scored on what was drawn of it, and a class of
    which nothing was drawn there keeps the fold's own recall and F1 (see `scores.score_arrays`). Two systems
    on the same clips are drawn alike, so that the difference of what this returns for each is that of a paired bootstrap.

    Args:
        runs: one a seed.
        y: true class of every clip, int64 [clip].
        unit: what is resampled, int64 [clip], such as the speaker's number.
    """
    units, unit = np.unique(unit, return_inverse=True)
    n_folds = 1 + max(int(run.fold.max()) for run in runs)
    cells = _cells(runs, y, unit, n_folds, n_classes)
    rng = generator("bootstrap", len(units))
    share = np.full(len(units), 1 / len(units))
    shape = (len(runs) * n_folds, n_classes, n_classes)
    whole = np.asarray(cells.sum(axis=0)).reshape(shape)
    drawn: list[list[np.ndarray]] = [[] for _ in METRICS]
    for start in range(0, draws, _CHUNK):
        weights = rng.multinomial(len(units), share, size=min(_CHUNK, draws - start))
        counts = (cells.T @ weights.T).T.reshape(len(weights), *shape)
        for kept, values in zip(drawn, score_arrays(counts, whole=whole), strict=True):
            kept.append(_mean_of_drawn(values))
    return {metric: np.concatenate(values) for metric, values in zip(METRICS, drawn, strict=True)}


def _cells(runs: list[Predictions], y: np.ndarray, unit: np.ndarray, n_folds: int, n_classes: int) -> Any:
    """Return counts, sparse [unit, run x fold x true class x predicted class]."""
    from scipy import sparse

    rows = np.concatenate([unit[run.clip] for run in runs])
    fold = np.concatenate([index * n_folds + run.fold for index, run in enumerate(runs)])
    true = np.concatenate([y[run.clip] for run in runs])
    predicted = np.concatenate([run.predicted for run in runs])
    columns = (fold * n_classes + true) * n_classes + predicted
    shape = (int(unit.max()) + 1, len(runs) * n_folds * n_classes**2)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _mean_of_drawn(values: np.ndarray) -> np.ndarray:
    """Return the mean over folds, float64 [draw], folds of which nothing was drawn left out, and draws of none."""
    drawn = ~np.isnan(values)
    n_folds = drawn.sum(axis=1)
    return np.asarray(np.where(drawn, values, 0).sum(axis=1)[n_folds > 0] / n_folds[n_folds > 0])


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return what the middle 95 % of draws lie between, draws of nothing (NaN) left out."""
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(low), float(high)
