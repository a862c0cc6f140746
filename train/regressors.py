"""The scikit-learn heads for continuous targets: one estimator a target, inputs and target scaled on training clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR


def ridge(alpha: float) -> Any:
    """Return a ridge regression after a scaler."""
    return make_pipeline(StandardScaler(), Ridge(alpha=alpha))


def svr(c: float, kernel: str) -> Any:
    """Return a support vector regression after a scaler."""
    return make_pipeline(StandardScaler(), SVR(C=c, kernel=kernel))


def knn(k: int) -> Any:
    """Return a nearest neighbour regression after a scaler."""
    return make_pipeline(StandardScaler(), KNeighborsRegressor(n_neighbors=k))


def forest(trees: int, max_depth: int | None, seed: int) -> Any:
    """Return a random forest."""
    return RandomForestRegressor(trees, max_depth=max_depth, random_state=seed)


def fitted(build: Callable[[], Any], x: np.ndarray, y: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray, np.ndarray]:
    """Fit an estimator a target on standardised targets; return them with the targets' means and deviations, [target].

    Args:
        y: float64 [clip, target].
    """
    mean, std = y.mean(0), y.std(0)
    std = np.where(std > 1e-12, std, 1.0)
    goal = (y - mean) / std
    return tuple(_fitted(build(), x, goal[:, target]) for target in range(y.shape[1])), mean, std


def _fitted(estimator: Any, x: np.ndarray, goal: np.ndarray) -> Any:
    if hasattr(estimator, "steps") and isinstance(estimator[-1], KNeighborsRegressor):
        estimator[-1].n_neighbors = min(estimator[-1].n_neighbors, len(goal))
    return estimator.fit(x, goal)
