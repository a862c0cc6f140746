"""The scikit-learn heads: each a pipeline whose scaler is fitted with it, on the training clips of the fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ..errors import TrainError


def logreg(c: float, max_iter: int, class_weights: str) -> Any:
    """Return a logistic regression after a scaler."""
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=c, max_iter=max_iter, class_weight=_weights(class_weights))
    )


def stacker(c: float, class_weights: str) -> Any:
    """Return the logistic regression that a stacking fits over its members' probabilities, which need no scaler."""
    return LogisticRegression(C=c, max_iter=1000, class_weight=_weights(class_weights))


def svm(c: float, kernel: str, class_weights: str) -> Any:
    """Return a support vector machine after a scaler; ties are broken by its decision values, so that these predict."""
    machine = SVC(C=c, kernel=kernel, class_weight=_weights(class_weights), break_ties=True)
    return make_pipeline(StandardScaler(), machine)


def knn(k: int) -> Any:
    """Return a nearest neighbour classifier after a scaler."""
    return make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=k))


def forest(trees: int, max_depth: int | None, class_weights: str, seed: int) -> Any:
    """Return a random forest."""
    return RandomForestClassifier(trees, max_depth=max_depth, random_state=seed, class_weight=_weights(class_weights))


def fitted(estimator: Any, x: np.ndarray, y: np.ndarray, *, where: str) -> Any:
    """Fit a classifier on classes int64 [clip] and return it.

    Args:
        where: whose clips these are, for messages.

    Raises:
        TrainError: fewer than two classes to train on.
    """
    if len(np.unique(y)) < 2:
        raise TrainError(
            f"{where}: expected training clips of two classes, got {len(y)} of one. Change `split:`, or leave the corpus out."
        )
    if hasattr(estimator, "steps") and isinstance(estimator[-1], KNeighborsClassifier):
        estimator[-1].n_neighbors = min(estimator[-1].n_neighbors, len(y))
    return estimator.fit(x, y)


def cap_of(estimator: Any) -> int | None:
    """Return the number of iterations at which a fitted estimator was cut off before it converged; None where it was not."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    cap, taken = getattr(last, "max_iter", None), getattr(last, "n_iter_", None)
    if not isinstance(cap, int) or cap < 1 or taken is None:
        return None
    return cap if int(np.max(taken)) >= cap else None


def probabilities(estimator: Any, x: np.ndarray, *, n_classes: int) -> np.ndarray:
    """Return class probabilities, float32 [clip, class].

    A machine without probabilities gives the softmax of its decision values, which is not calibrated. Classes that were not
    trained on get 0.
    """
    out = np.zeros((len(x), n_classes), dtype=np.float32)
    if len(x):
        out[:, estimator.classes_] = _probabilities(estimator, x)
    return out


def _probabilities(estimator: Any, x: np.ndarray) -> np.ndarray:
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(x))
    values = np.asarray(estimator.decision_function(x))
    if values.ndim == 1:
        values = np.stack([-values, values], axis=1)
    exponential = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


def _weights(class_weights: str) -> str | None:
    return None if class_weights == "none" else class_weights
