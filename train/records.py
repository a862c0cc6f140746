"""What is kept of an experiment, and the rows it becomes in the tables of `results`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from .convergence import Convergence
from .grid import CorpusPlan, Experiment
from .keys import CODE_VERSION
from .scores import METRICS, confusion, scores
from .targets import TARGET_METRICS, target_scores


@dataclass(frozen=True)
class FoldResult:
    """What one fold of an experiment gave for the clips `test`, int64 [test].

    `outputs` are probabilities, float32 [test, class], or predicted targets, float32 [test, target]. `chosen` is JSON: what a
    search chose on inner folds of its training clips, such as {"c": 0.1}; empty where nothing was searched. `features` is what
    enters a network's last layer, float16 [test, feature]; None where there is no such thing.
    """

    fold: int
    test: np.ndarray
    outputs: np.ndarray
    n_train: int
    n_inner: int = 0
    best_epoch: int | None = None
    n_epochs: int | None = None
    layer_weights: tuple[tuple[float, ...], ...] = ()
    chosen: str = ""
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Features:
    """What a network's last layer was given of some clips tested in one fold: clip int64 [point], values [point, feature]."""

    fold: int
    clip: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What one experiment gave."""

    key: str
    folds: tuple[FoldResult, ...]
    train_s: float
    n_parameters: int | None
    device: str


@dataclass(frozen=True)
class Row:
    """A finished experiment as tables need it: scores of each fold, float64 [fold] a metric.

    With continuous targets `folds` holds means over the targets and `targets` the scores of each.
    """

    key: str
    seed: int
    folds: dict[str, np.ndarray]
    n_parameters: int | None
    train_s: float
    device: str
    versions: str
    finished: str
    targets: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    convergence: Convergence = field(default_factory=Convergence)


@dataclass(frozen=True)
class Context:
    """What holds for every experiment of a run and is kept beside each."""

    target: str
    training: str
    versions: str


_COLUMNS = (
    "key, slot, corpus, encoders, input, kind, architecture, label, options, target, training, seed, clips, split, n_used, "
    "n_total, accuracy, uar, macro_f1, n_parameters, train_s, device, store, versions, code, finished, cell"
)
INSERT = f"INSERT OR REPLACE INTO experiments ({_COLUMNS}) VALUES ({','.join('?' * (_COLUMNS.count(',') + 1))})"


def values_of(experiment: Experiment, corpus: CorpusPlan, outcome: Outcome, context: Context) -> tuple[Any, ...]:
    """Return the row of `experiments` of one experiment, in the order of INSERT."""
    means = _means(outcome, corpus)
    return (
        experiment.key,
        experiment.slot,
        experiment.corpus,
        json.dumps([item.encoder for item in experiment.inputs]),
        experiment.input_text,
        experiment.chosen.kind,
        experiment.chosen.name,
        experiment.chosen.label,
        experiment.chosen.options,
        context.target,
        context.training,
        experiment.seed,
        corpus.clips.content,
        corpus.split.content,
        len(corpus.clips),
        corpus.clips.n_total,
        *means,
        outcome.n_parameters,
        outcome.train_s,
        outcome.device,
        json.dumps([corpus.facts(item.encoder).content for item in experiment.inputs]),
        context.versions,
        CODE_VERSION,
        datetime.now(UTC).isoformat(timespec="seconds"),
        experiment.cell,
    )


FOLD_COLUMNS = (
    "experiment, fold, n_train, n_inner, n_test, accuracy, uar, macro_f1, best_epoch, n_epochs, layer_weights, chosen"
)


def fold_values(number: int | None, fold: FoldResult, corpus: CorpusPlan) -> tuple[Any, ...]:
    """Return the row of `folds` of one fold, in the order of FOLD_COLUMNS."""
    weights = json.dumps(fold.layer_weights) if any(fold.layer_weights) else None
    sizes = (fold.n_train, fold.n_inner, len(fold.test))
    return (
        number,
        fold.fold,
        *sizes,
        *_scores(fold, corpus),
        fold.best_epoch,
        fold.n_epochs,
        weights,
        fold.chosen or None,
    )


def target_values(fold: FoldResult, corpus: CorpusPlan) -> Iterator[tuple[Any, ...]]:
    """Yield fold, target and its scores; nothing where classes are predicted."""
    for index, name in enumerate(corpus.clips.targets):
        values = target_scores(corpus.clips.y[fold.test, index], fold.outputs[:, index])
        yield (fold.fold, name, *values[:, 0].tolist())


def _means(outcome: Outcome, corpus: CorpusPlan) -> list[float | None]:
    """Return accuracy, UAR and macro-F1 averaged over folds; None each where continuous targets are predicted."""
    if corpus.clips.targets:
        return [None] * len(METRICS)
    found: list[float | None] = np.mean([_class_scores(fold, corpus) for fold in outcome.folds], axis=0).tolist()
    return found


def _scores(fold: FoldResult, corpus: CorpusPlan) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if corpus.clips.targets else _class_scores(fold, corpus)


def _class_scores(fold: FoldResult, corpus: CorpusPlan) -> tuple[float, float, float]:
    counts = confusion(corpus.clips.y[fold.test], fold.outputs.argmax(1), len(corpus.clips.classes))
    value = scores(counts)
    return value.accuracy, value.uar, value.macro_f1


def by_metric(values: list[tuple[float, ...]], targets: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return float64 [fold] a metric: of classes, or the mean over targets."""
    if targets:
        return {metric: np.mean([of[metric] for of in targets.values()], axis=0) for metric in TARGET_METRICS}
    table = np.array(values, dtype=np.float64).reshape(-1, len(METRICS))
    return {metric: table[:, index] for index, metric in enumerate(METRICS)}


def deviations(by_seed: Sequence[np.ndarray]) -> tuple[float, float | None, float | None]:
    """Return what papers report of scores float64 [fold], one array a seed.

    That is their mean, the standard deviation over folds with seeds averaged, and that over seeds with folds averaged (n - 1); None
    where there is one alone.
    """
    table = np.stack(by_seed)  # [seed, fold]
    over = [float(np.std(table.mean(axis), ddof=1)) if table.shape[1 - axis] > 1 else None for axis in (0, 1)]
    return float(np.mean(table)), over[0], over[1]
