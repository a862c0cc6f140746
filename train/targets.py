"""Scores of continuous targets, with numpy alone, and their bootstrap intervals.

Every score takes weights, so that one function scores both what was predicted and what a bootstrap draws of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .seeding import generator

TARGET_METRICS = ("spearman", "pearson", "ccc", "mae")
_CHUNK = 100


@dataclass(frozen=True)
class Regressed:
    """What one experiment said of its test clips: `clip` and `fold` int64 [test], `said` float [test, target]."""

    clip: np.ndarray
    fold: np.ndarray
    said: np.ndarray


def target_scores(y: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Spearman, Pearson, CCC (Lin, Biometrics 45, 1989) and mean absolute error, float64 [metric, draw].

    A correlation with something constant, which is not defined, counts as 0. A draw of nothing scores NaN.

    Args:
        y, said: float [clip].
        weights: how often each clip is drawn, [draw, clip]; each once by default.
    """
    y, said = y.astype(np.float64), said.astype(np.float64)
    if weights is None:
        weights = np.ones((1, len(y)))
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.stack(
            [
                _pearson(weighted_ranks(y, weights), weighted_ranks(said, weights), weights),
                _pearson(y[None], said[None], weights),
                _concordance(y, said, weights),
                weights @ np.abs(y - said) / total,
            ]
        )
    values[:, total == 0] = np.nan
    return values


def weighted_ranks(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rank of each clip among those drawn, equal values sharing their mean rank, float64 [draw, clip]."""
    _, value = np.unique(x, return_inverse=True)
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.diff(value[order], prepend=-1))
    count = np.add.reduceat(weights[:, order], starts, axis=1)  # [draw, value]
    below = np.cumsum(count, axis=1) - count
    return np.asarray((below + (count + 1) / 2)[:, value])


def _moments(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return means, variances and covariance, each [draw]."""
    total = weights.sum(1, keepdims=True)
    mean_x, mean_y = ((weights * values).sum(1, keepdims=True) / total for values in (x, y))
    dx, dy = x - mean_x, y - mean_y
    spread = [(weights * product).sum(1) / total[:, 0] for product in (dx * dx, dy * dy, dx * dy)]
    return mean_x[:, 0], mean_y[:, 0], *spread


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean_x, mean_y, var_x, var_y, covariance = _moments(x, y, weights)
    varies = (var_x > 1e-14 * (1e-30 + mean_x**2)) & (var_y > 1e-14 * (1e-30 + mean_y**2))
    return np.where(varies, covariance / np.sqrt(var_x * var_y), 0.0)


def _concordance(y: np.ndarray, said: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean_y, mean_said, var_y, var_said, covariance = _moments(y[None], said[None], weights)
    apart = var_y + var_said + (mean_y - mean_said) ** 2
    return np.where(apart > 0, 2 * covariance / apart, 0.0)


def draw_targets(runs: Sequence[Regressed], y: np.ndarray, unit: np.ndarray, *, draws: int = 1000) -> np.ndarray:
    """Return each metric's mean over targets, folds and seeds in every draw, [metric, draw]; see `intervals.draw`.

    Args:
        y: float [clip, target].
        unit: what is resampled, int64 [clip], such as the speaker's number.
    """
    units, unit = np.unique(unit, return_inverse=True)
    rng = generator("bootstrap", len(units))
    share = np.full(len(units), 1 / len(units))
    drawn = []
    for start in range(0, draws, _CHUNK):
        weights = rng.multinomial(len(units), share, size=min(_CHUNK, draws - start))[:, unit].astype(np.float64)
        drawn.append(_mean_of_drawn(np.stack([score for run in runs for score in _parts(run, y, weights)])))
    return np.concatenate(drawn, axis=1)


def _parts(run: Regressed, y: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the scores [metric, draw] of every fold and target."""
    for fold in np.unique(run.fold):
        mine = run.fold == fold
        clip = run.clip[mine]
        for target in range(y.shape[1]):
            yield target_scores(y[clip, target], run.said[mine, target], weights[:, clip])


def _mean_of_drawn(values: np.ndarray) -> np.ndarray:
    """Return the mean [metric, draw] over folds and targets, those of which nothing was drawn left out."""
    drawn = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(drawn, values, 0).sum(0) / drawn.sum(0))
