"""Fitting one head or fusion on some clips and asking it about others: what folds, searches, stacking and saving share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .architecture import Shape
from .config import Training
from .grid import Chosen, CorpusPlan
from .models import ClassEstimator, Model, NetworkModel, NetworksOfTargets, TargetEstimators, Vectors, side_by_side
from .records import FoldResult
from .splits import inner_split

if TYPE_CHECKING:
    from .clips import Clips
    from .fit import Fitted, Member


@dataclass(frozen=True)
class Task:
    """One fit: the clips a model learns from and those it is asked about, int64 each.

    Attributes:
        name: sets its random numbers apart from those of other tasks of its seed and fold; "" is the experiment itself.
    """

    seed: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    name: str = ""

    def part(self, train: np.ndarray, test: np.ndarray, name: str) -> Task:
        """Return a task within this one's training clips."""
        return dataclasses.replace(self, train=train, test=test, name=f"{self.name}/{name}")


@dataclass(frozen=True)
class Learnt:
    """What became of a task. `model` only where it was to be kept."""

    result: FoldResult
    n_parameters: int | None = None
    model: Model | None = None


@dataclass(frozen=True)
class Setting:
    """What is the same for all tasks of an experiment."""

    corpus: CorpusPlan
    training: Training
    joint: bool = False
    device: str = "cpu"
    inner_folds: int = 3
    keep: bool = False

    def place(self, task: Task) -> str:
        """Return corpus and fold of a task, for messages; a fold below 0 is that of a head fitted on all clips."""
        return f"corpus {self.corpus.name!r}, {f'fold {task.fold}' if task.fold >= 0 else 'all clips'}"


def learn(setting: Setting, chosen: Chosen, xs: Sequence[Vectors], tasks: Sequence[Task]) -> list[Learnt]:
    """Fit a head or joint fusion for every task, and return what it says of the task's clips, in order."""
    if chosen.entry.engine == "torch":
        return _networks(setting, chosen, xs, tasks)
    return [_estimator(setting, chosen, side_by_side(xs), task) for task in tasks]


def _networks(setting: Setting, chosen: Chosen, xs: Sequence[Vectors], tasks: Sequence[Task]) -> list[Learnt]:
    from .fit import Data, fit

    clips = setting.corpus.clips
    by_task = [_members(setting, task) for task in tasks]
    members = [member for group in by_task for member in group]
    shape = Shape(tuple((x if isinstance(x, np.ndarray) else x[0]).shape[-1] for x in xs), _n_outputs(clips, members))
    entry, options = chosen.entry, chosen.values
    fitted = iter(
        fit(
            lambda rngs: entry.build(shape, options, rngs),
            Data.of(xs, clips.y, len(clips.classes), setting.device),
            members,
            setting.training,
            keep=setting.keep,
        )
    )
    learnt = []
    for task, group in zip(tasks, by_task, strict=True):
        got = [next(fitted) for _ in group]
        models = tuple(NetworkModel(chosen, shape, one.state) for one in got if one.state is not None)
        model = None if not models else models[0] if len(models) == 1 else NetworksOfTargets(models)
        learnt.append(Learnt(_result(task, group, got), sum(one.n_parameters for one in got), model))
    return learnt


def _n_outputs(clips: Clips, members: Sequence[Member]) -> int:
    return len(members[0].targets) or len(clips.classes)


def _members(setting: Setting, task: Task) -> list[Member]:
    from .fit import Member

    clips, split = setting.corpus.clips, setting.corpus.split
    train, inner = inner_split(
        clips, split, task.fold, seed=task.seed, share=setting.training.inner, rows=task.train, name=task.name
    )
    return [
        Member(task.seed, task.fold, train, inner, task.test, targets, task.name + stream)
        for targets, stream in _networks_of(clips, joint=setting.joint)
    ]


def _networks_of(clips: Clips, *, joint: bool) -> list[tuple[tuple[int, ...], str]]:
    """Return the target columns of each network of a task, and the name of its random numbers."""
    if not clips.targets or joint:
        return [(tuple(range(len(clips.targets))), "")]
    return [((index,), name) for index, name in enumerate(clips.targets)]


def _result(task: Task, members: Sequence[Member], got: Sequence[Fitted]) -> FoldResult:
    """Return what the networks of one task gave: one, or one a target, whose columns stand side by side."""
    return FoldResult(
        fold=task.fold,
        test=task.test,
        outputs=np.concatenate([one.outputs for one in got], axis=1),
        n_train=len(members[0].train),
        n_inner=len(members[0].inner),
        best_epoch=max(one.best_epoch for one in got),
        n_epochs=max(one.n_epochs for one in got),
        layer_weights=got[0].layer_weights if len(got) == 1 else (),
        features=got[0].features if len(got) == 1 and not task.name else None,
    )


def _estimator(setting: Setting, chosen: Chosen, x: np.ndarray, task: Task) -> Learnt:
    model = fit_estimator(setting, chosen, x, task)
    cap = model.cap if isinstance(model, ClassEstimator) else None
    result = FoldResult(
        task.fold, task.test, model.predict([x[task.test]]), len(task.train), best_epoch=cap, n_epochs=cap
    )
    return Learnt(result, None, model if setting.keep else None)


def fit_estimator(setting: Setting, chosen: Chosen, vectors: np.ndarray, task: Task) -> Model:
    """Return a scikit-learn head fitted on the training clips of a task; `vectors` are of all clips, [clip, feature]."""
    clips, entry, options, seed = setting.corpus.clips, chosen.entry, chosen.values, task.seed
    x, y = vectors[task.train], clips.y[task.train]
    if clips.targets:
        from .regressors import fitted as fit_regressors

        regressor = entry.regressor
        assert regressor is not None
        return TargetEstimators(*fit_regressors(lambda: regressor(options, seed), x, y))
    from .estimators import fitted

    estimator = entry.build(options, seed, setting.training.class_weights)
    return ClassEstimator(fitted(estimator, x, y, where=setting.place(task)), len(clips.classes))
