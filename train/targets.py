"""Scores of continuous targets, with numpy alone, and what they are without each speaker and fold.

Every score takes weights, so that one function scores both what was predicted and what is left of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .design import Design, correlated, fold_counts
from .intervals import LeftOut
from .scores import TARGET_METRICS

__all__ = ["TARGET_METRICS", "Regressed", "left_out_targets", "target_scores", "weighted_ranks"]
_CELLS = 2_000_000


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
        weights: what each clip weighs, [draw, clip]; 1 by default.
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


def left_out_targets(design: Design, run: Regressed) -> LeftOut:
    """Return each metric's mean over targets and folds, and without each block of units and each fold.

    Folds weigh as many as they have units left. One with fewer than five clips has no say in correlations.
    """
    fold = design.fold[run.clip]
    n_units, n_clips = fold_counts(design.unit[run.clip], fold)
    scores = np.zeros((len(TARGET_METRICS), design.n_folds, 1 + design.n_blocks))
    weights = np.repeat(n_units[:, None].astype(np.float64), 1 + design.n_blocks, axis=1)
    for index in range(design.n_folds):
        mine = fold == index
        clip = run.clip[mine]
        blocks, block = np.unique(design.block[clip], return_inverse=True)
        kept = block != np.arange(-1, len(blocks))[:, None]  # [1 + block, clip]: all, then all but one block
        values = _mean_over_targets(design.y[clip], run.said[mine], kept.astype(np.float64))
        scores[:, index, :] = values[:, :1]
        scores[:, index, 1 + blocks] = values[:, 1:]
        pairs = np.unique(np.stack([block, design.unit[clip]]), axis=1)
        weights[index, 1 + blocks] -= np.bincount(pairs[0])
    has_say = np.stack([np.ones_like(n_clips) if name == "mae" else correlated(n_clips) for name in TARGET_METRICS])
    by_metric = weights * has_say[:, :, None]  # [metric, fold, 1 + block]
    total, weight = (np.where(by_metric > 0, scores, 0) * by_metric), by_metric
    without = total.sum(1) / weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_fold = (total.sum(1)[:, :1] - total[:, :, 0]) / (weight.sum(1)[:, :1] - weight[:, :, 0])
    return LeftOut(without[:, 0], without[:, 1:], by_fold)


def _mean_over_targets(y: np.ndarray, said: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return each metric, mean over targets, of clips weighted in each way, float64 [metric, way]."""
    step = max(1, _CELLS // len(y))
    parts = [
        np.mean([target_scores(y[:, t], said[:, t], weights[start : start + step]) for t in range(y.shape[1])], axis=0)
        for start in range(0, len(weights), step)
    ]
    return np.concatenate(parts, axis=1)
