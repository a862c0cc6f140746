"""Scores of predictions, with numpy alone. Definitions are those of scikit-learn's metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

METRICS = ("accuracy", "uar", "macro_f1")
METRIC_NAMES = {"accuracy": "Accuracy", "uar": "UAR", "macro_f1": "Macro-F1"}
METRIC_NAMES |= {"spearman": "Spearman ρ", "pearson": "Pearson r", "ccc": "CCC", "mae": "MAE"}
LOWER_IS_BETTER = frozenset({"mae"})
TARGET_METRICS = ("spearman", "pearson", "ccc", "mae")
LIMITS = {"accuracy": (0.0, 1.0), "uar": (0.0, 1.0), "macro_f1": (0.0, 1.0), "mae": (0.0, math.inf)}
LIMITS |= {"spearman": (-1.0, 1.0), "pearson": (-1.0, 1.0), "ccc": (-1.0, 1.0)}


CHANGE = "change"
"""In tables: by how much a score is above that of a baseline, as a part of the latter."""


def score_text(metric: str, value: float) -> str:
    """Return a score as tables show it: those of classes in percent, correlations and errors as they are."""
    if metric == CHANGE:
        return f"{100 * value:+.1f}"
    return f"{100 * value:.1f}" if metric in METRICS else f"{value:.3f}"


@dataclass(frozen=True)
class Scores:
    """Scores between 0 and 1.

    Attributes:
        accuracy: share of clips that are right.
        uar: unweighted average recall, over the classes that occur.
        macro_f1: F1 averaged over the classes that occur or are predicted.
    """

    accuracy: float
    uar: float
    macro_f1: float


def confusion(y: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return counts int64 [true class, predicted class]."""
    cells = np.bincount(y * n_classes + predicted, minlength=n_classes * n_classes)
    return cells.reshape(n_classes, n_classes)


def scores(counts: np.ndarray) -> Scores:
    """Return the scores of one confusion matrix [true class, predicted class]."""
    accuracy, uar, f1 = (float(values) for values in score_arrays(counts))
    return Scores(accuracy, uar, f1)


def score_arrays(counts: np.ndarray, *, whole: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return accuracy, UAR and macro-F1 of confusion matrices [..., true class, predicted class], each [...].

    Matrices may hold weights instead of counts; an empty one scores NaN.

    Args:
        whole: matrices that `counts` are parts of; a class of which they hold nothing keeps its recall and F1 in the whole.
            Leaving it out would raise the mean wherever rare classes are the worst.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    true, total = counts.sum(-1), counts.sum((-2, -1))
    recall, f1 = _by_class(counts)
    if whole is not None:
        recall, f1 = (
            np.where(true > 0, mine, theirs) for mine, theirs in zip((recall, f1), _by_class(whole), strict=True)
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = right.sum(-1) / total
    return accuracy, *(np.where(total > 0, _mean_of_known(values), np.nan) for values in (recall, f1))


def _by_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and F1 of each class, NaN where it does not occur (F1: nor is predicted)."""
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    true, predicted = counts.sum(-1), counts.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / np.where(true > 0, true, np.nan), 2 * right / np.where(
            true + predicted > 0, true + predicted, np.nan
        )


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(-1) / known.sum(-1))


def per_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of each class, float64 [class]; 0 where a class never occurs or is never predicted."""
    right = np.diag(counts).astype(np.float64)
    true, predicted = counts.sum(1), counts.sum(0)
    return (
        right / np.maximum(predicted, 1),
        right / np.maximum(true, 1),
        2 * right / np.maximum(true + predicted, 1),
    )
