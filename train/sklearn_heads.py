"""The heads as scikit-learn estimators: for `cross_val_score`, `Pipeline`, `GridSearchCV` and whatever else takes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from .clips import Clips
from .config import ArchitectureConfig, SplitConfig, Training
from .grid import Chosen, CorpusPlan, chosen_of
from .heads import HEADS
from .learners import Learnt, Setting, Task, learn
from .splits import TRAIN_ONLY, Split


class _Head(BaseEstimator):  # type: ignore[misc]
    """What both share. Parameters are those of `train: training:` in pipeline.yaml, with the same defaults.

    Args:
        epochs, lr, patience: None for what the head trains by in a grid.
        head: name of a head on vectors; see `voxcache heads`.
        options: its options, such as {"dropout": 0.1}.
        seed: decides initial weights, order, dropout and what early stopping watches.
        fold: the same again: the grid gives every fold random numbers of its own, and fold 2 of seed 0 is repeated by
            seed=0, fold=2 on its training clips in the order of their ids.
        device: "cpu", "cuda" or "mps".
    """

    def __init__(
        self,
        head: str = "fcn",
        *,
        options: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        batch: int = 32,
        lr: float | None = None,
        patience: int | None = None,
        warmup_steps: int = 0,
        decay: str = "none",
        weight_decay: float = 0.0,
        class_weights: str = "none",
        inner: float = 0.2,
        seed: int = 0,
        fold: int = 0,
        device: str = "cpu",
    ) -> None:
        self.head = head
        self.options = options
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.patience = patience
        self.warmup_steps = warmup_steps
        self.decay = decay
        self.weight_decay = weight_decay
        self.class_weights = class_weights
        self.inner = inner
        self.seed = seed
        self.fold = fold
        self.device = device

    def _chosen(self, *, regression: bool) -> Chosen:
        item = ArchitectureConfig.model_validate({"name": self.head, **(self.options or {})})
        entry = HEADS.get(self.head)
        if entry.frames or not (entry.regresses if regression else entry.classifies):
            raise ValueError(
                f"head {self.head!r}: expected one on vectors that predicts {'targets' if regression else 'classes'}. "
                f"`voxcache heads` lists them."
            )
        return chosen_of("head", entry, item)

    def _learn(
        self, x: np.ndarray, y: np.ndarray, classes: tuple[str, ...], targets: tuple[str, ...], groups: Any
    ) -> None:
        chosen = self._chosen(regression=bool(targets))
        if x.shape[1] < chosen.entry.least_dim:
            raise ValueError(
                f"head {self.head!r}: needs at least {chosen.entry.least_dim} features, X has {x.shape[1]}."
            )
        stated = {name: getattr(self, name) for name in Training.model_fields}
        given = {**chosen.entry.training, **{name: value for name, value in stated.items() if value is not None}}
        setting = Setting(_corpus(y, classes, targets, groups), Training(**given), True, self.device, keep=True)
        task = Task(self.seed, self.fold, np.arange(len(x)), np.arange(1))
        (learnt,) = learn(setting, chosen, [x], [task])
        assert learnt.model is not None  # it was asked to keep it
        self.model_ = learnt.model
        self._tell(learnt)

    def _tell(self, learnt: Learnt) -> None:
        self.n_iter_ = learnt.result.n_epochs or 1
        self.n_parameters_ = learnt.n_parameters

    def _said(self, x: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        values = np.asarray(validate_data(self, x, reset=False, dtype=np.float32))
        return np.asarray(self.model_.predict([values]))


class HeadClassifier(ClassifierMixin, _Head):  # type: ignore[misc]
    """A head as a scikit-learn classifier: X float [clip, feature], y labels [clip]; see `_Head` for the parameters."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> HeadClassifier:  # noqa: N803
        """Fit on vectors and labels; with `groups` [clip], early stopping watches whole groups."""
        x, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, index = np.unique(column_or_1d(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"expected two classes or more, y has one class: {self.classes_[0]!r}.")
        self._learn(x, index.astype(np.int64), tuple(map(str, self.classes_)), (), groups)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return probabilities, float32 [clip, class], in the order of `classes_`."""
        return self._said(X)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most probable label of each clip."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


class HeadRegressor(RegressorMixin, _Head):  # type: ignore[misc]
    """A head as a scikit-learn regressor: y float [clip] or [clip, target], all targets by one network."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> HeadRegressor:  # noqa: N803
        """Fit on vectors and targets; with `groups` [clip], early stopping watches whole groups."""
        x, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        table = np.asarray(y, dtype=np.float64).reshape(len(x), -1)
        self.one_target_ = np.ndim(y) == 1
        self._learn(x, table, (), tuple(f"target {index}" for index in range(table.shape[1])), groups)
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return targets, float64, of the shape that y had."""
        said = self._said(X).astype(np.float64)
        return said[:, 0] if self.one_target_ else said

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are taken, which scikit-learn asks."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _corpus(y: np.ndarray, classes: tuple[str, ...], targets: tuple[str, ...], groups: Any) -> CorpusPlan:
    n = len(y)
    ids = np.array([str(index) for index in range(n)], dtype=object)
    group = None if groups is None else np.asarray(groups, dtype=object)
    clips = Clips("X", np.arange(n), ids, y, classes, group, None, None, n, (), targets)
    split = Split(np.full(n, TRAIN_ONLY), 1, "", groups is not None, None, (), ids)
    return CorpusPlan("X", {}, clips, split, SplitConfig(), (), ())
