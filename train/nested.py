"""What is decided inside the training clips of a fold: searches over options and layers, and late fusions.

Both are folds within a fold: candidates are scored, and a stacking is fitted, on inner folds of the training clips (on the
corpus' own dev clips where it has some and a search asks), never on what the fold tests.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import Diverged
from .grid import Chosen, CorpusPlan
from .inputs import BEST, Input
from .learners import Learnt, Setting, Task, learn
from .models import ClassEstimator, LateModel, Model, Stacked, TargetEstimators, Vectors, combined
from .records import FoldResult
from .scores import confusion, scores
from .splits import inner_folds
from .targets import target_scores

Load = Callable[[Input], Vectors]


@dataclass(frozen=True)
class Solver:
    """Solves tasks for any head or fusion; `load` gives an encoder's input for all clips."""

    setting: Setting
    load: Load

    def solve(self, chosen: Chosen, inputs: tuple[Input, ...], tasks: Sequence[Task]) -> list[Learnt]:
        """Return what each task gave, in order.

        Raises:
            TrainError: too few clips for inner folds, or one class alone to train on.
        """
        if chosen.late is None and any(item.layer == BEST for item in inputs):
            return self._search(_with_layers(self.setting.corpus, chosen, inputs), tasks)
        if chosen.candidates:
            return self._search([_Candidate(one, inputs, said) for one, said in chosen.choices()], tasks)
        if chosen.late is not None:
            return self._late(chosen, inputs, tasks)
        return learn(self.setting, chosen, [self.load(item) for item in inputs], tasks)

    def _search(self, candidates: Sequence[_Candidate], tasks: Sequence[Task]) -> list[Learnt]:
        scored = np.array([self._scored(candidate, tasks) for candidate in candidates])  # [candidate, task]
        best = scored.argmax(axis=0)
        solved: dict[int, Learnt] = {}
        for index, candidate in enumerate(candidates):
            mine = [place for place, chosen in enumerate(best) if chosen == index]
            if mine:
                learnt = self.solve(candidate.chosen, candidate.inputs, [tasks[place] for place in mine])
                solved.update((place, _told(one, candidate.said)) for place, one in zip(mine, learnt, strict=True))
        return [solved[place] for place in range(len(tasks))]

    def _scored(self, candidate: _Candidate, tasks: Sequence[Task]) -> list[float]:
        """Return the mean score of a candidate over each task's inner folds; the least there is where it diverges."""
        parts = [(place, part) for place, task in enumerate(tasks) for part in self._inner(task, "search", dev=True)]
        within = Solver(replace(self.setting, keep=False), self.load)
        try:
            learnt = within.solve(candidate.chosen, candidate.inputs, [part for _, part in parts])
        except Diverged:
            if len(tasks) == 1:
                return [-math.inf]
            return [score for task in tasks for score in self._scored(candidate, [task])]
        found: list[list[float]] = [[] for _ in tasks]
        for (place, _), one in zip(parts, learnt, strict=True):
            found[place].append(_score(self.setting.corpus, one.result))
        return [float(np.mean(values)) for values in found]

    def _inner(self, task: Task, what: str, *, dev: bool) -> list[Task]:
        corpus = self.setting.corpus
        if dev and len(corpus.split.dev):
            return [task.part(task.train, corpus.split.dev, what)]
        folds = inner_folds(
            corpus.clips,
            corpus.split,
            task.fold,
            task.train,
            folds=self.setting.inner_folds,
            seed=corpus.split_config.seed,
        )
        return [task.part(train, test, f"{what} {index}") for index, (train, test) in enumerate(folds)]

    def _late(self, chosen: Chosen, inputs: tuple[Input, ...], tasks: Sequence[Task]) -> list[Learnt]:
        member = chosen.late
        assert member is not None
        of_encoder = [self.solve(member, (item,), tasks) for item in inputs]  # [encoder][task]
        combiners: Sequence[Model | None] = [None] * len(tasks)
        if chosen.values.how == "stacking":
            combiners = self._stacked(chosen, member, inputs, tasks)
        rows = zip(tasks, zip(*of_encoder, strict=True), combiners, strict=True)
        return [_fused(task, learnt, combiner, inputs) for task, learnt, combiner in rows]

    def _stacked(
        self, chosen: Chosen, member: Chosen, inputs: tuple[Input, ...], tasks: Sequence[Task]
    ) -> list[Model | None]:
        """Return for each task what was fitted on its members' predictions of inner folds they were not trained on."""
        parts = [self._inner(task, "stacking", dev=False) for task in tasks]
        flat = [part for group in parts for part in group]
        within = Solver(replace(self.setting, keep=False), self.load)
        said = [[one.result.outputs for one in within.solve(member, (item,), flat)] for item in inputs]
        together = iter(np.stack(outputs, axis=-1) for outputs in zip(*said, strict=True))  # [clip, output, encoder]
        combiners: list[Model | None] = []
        for task, group in zip(tasks, parts, strict=True):
            rows = np.concatenate([part.test for part in group])
            outputs = np.concatenate([next(together) for _ in group])
            y, where = self.setting.corpus.clips.y[rows], self.setting.place(task)
            combiners.append(_combiner(chosen, outputs, y, self.setting, where=where))
        return combiners


@dataclass(frozen=True)
class _Candidate:
    chosen: Chosen
    inputs: tuple[Input, ...]
    said: dict[str, Any]


def _with_layers(corpus: CorpusPlan, chosen: Chosen, inputs: tuple[Input, ...]) -> list[_Candidate]:
    """Return every layer that a head could take, with every candidate for its options."""
    choices = chosen.choices() or [(chosen, {})]
    (item,) = inputs
    facts = corpus.facts(item.encoder)
    layers = facts.frame_layers if item.statistics == "frames" else facts.layers
    return [
        _Candidate(one, (replace(item, layer=layer),), {"layer": layer, **said})
        for layer, (one, said) in itertools.product(layers, choices)
    ]


def _score(corpus: CorpusPlan, result: FoldResult) -> float:
    y = corpus.clips.y[result.test]
    if corpus.clips.targets:
        found = [target_scores(y[:, i], result.outputs[:, i])[0, 0] for i in range(y.shape[1])]
        return float(np.mean(found))
    return scores(confusion(y, result.outputs.argmax(1), len(corpus.clips.classes))).uar


def _told(learnt: Learnt, said: dict[str, Any]) -> Learnt:
    """Return what was learnt with what was chosen beside it."""
    told = {**said, **json.loads(learnt.result.chosen or "{}")}
    return replace(learnt, result=replace(learnt.result, chosen=json.dumps(told)))


def _fused(task: Task, learnt: Sequence[Learnt], combiner: Model | None, inputs: tuple[Input, ...]) -> Learnt:
    results = [one.result for one in learnt]
    chosen = {
        item.encoder: json.loads(result.chosen) for item, result in zip(inputs, results, strict=True) if result.chosen
    }
    result = FoldResult(
        fold=task.fold,
        test=task.test,
        outputs=combined(combiner, [one.outputs for one in results]),
        n_train=results[0].n_train,
        n_inner=results[0].n_inner,
        best_epoch=max((one.best_epoch for one in results if one.best_epoch), default=None),
        n_epochs=max((one.n_epochs for one in results if one.n_epochs), default=None),
        layer_weights=tuple(weights for one in results for weights in (one.layer_weights or ((),))),
        chosen=json.dumps(chosen) if chosen else "",
    )
    sizes = [one.n_parameters for one in learnt if one.n_parameters is not None]
    models = tuple(one.model for one in learnt if one.model is not None)
    return Learnt(result, sum(sizes) if sizes else None, LateModel(models, combiner) if models else None)


def _combiner(chosen: Chosen, said: np.ndarray, y: np.ndarray, setting: Setting, *, where: str) -> Model:
    """Return a stacking fitted on what members said of clips they had not seen, [clip, output, encoder]."""
    options = chosen.values
    if setting.corpus.clips.targets:
        from .regressors import fitted as fit_ridges
        from .regressors import ridge

        models = tuple(
            TargetEstimators(*fit_ridges(lambda: ridge(options.alpha), said[:, i], y[:, i : i + 1]))
            for i in range(y.shape[1])
        )
        return Stacked(models, by_target=True)
    from .estimators import fitted, stacker

    combiner = stacker(options.c, setting.training.class_weights)
    estimator = fitted(combiner, said.reshape(len(said), -1), y, where=where)
    return Stacked((ClassEstimator(estimator, len(setting.corpus.clips.classes)),), by_target=False)
