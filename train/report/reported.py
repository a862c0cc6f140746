"""A cell as the report shows it: with intervals, counts of what was taken for what, and how it differs from the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..compare import corrected_t, holm, mcnemar, paired
from ..grid import CorpusPlan, Experiment, Plan
from ..intervals import draw, interval
from ..results import Results
from ..scores import LOWER_IS_BETTER, confusion
from ..tables import Cell, Table, runs
from ..targets import TARGET_METRICS, draw_targets

Place = tuple[tuple[str, str], str]


@dataclass(frozen=True)
class Reported:
    """A cell with what only the report shows.

    Attributes:
        row, column: its place in the table.
        experiment: the first of its experiments, which differ in the seed alone.
        drawn: each metric's mean in every draw of the bootstrap, float64 [draw].
        counts: clips [true class, predicted class] over seeds; empty with continuous targets.
        right: whether the mean of the probabilities over seeds is right, bool [tested clip]; empty with continuous targets.
        said: predicted targets, mean over seeds, float64 [clip, target], NaN where not tested; empty with classes.
    """

    table: Table
    row: tuple[str, str]
    column: str
    cell: Cell
    experiment: Experiment
    drawn: dict[str, np.ndarray] = field(repr=False)
    counts: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)
    said: np.ndarray = field(repr=False)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % interval of each metric."""
        return {metric: interval(values) for metric, values in self.drawn.items()}

    @property
    def text(self) -> str:
        """Such as wavlm-base → fcn."""
        return f"{self.row[0]} → {self.column}"


@dataclass(frozen=True)
class Gap:
    """How far a cell is from the best of its table: best - other with its 95 % interval, and p of two paired tests."""

    best: Reported
    other: Reported
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_mcnemar: float | None


def reported(plan: Plan, results: Results, table: Table, place: Place) -> Reported:
    """Return a cell of a table with what its predictions tell."""
    corpus, cell = plan.corpus(table.corpus), table.cells[place]
    clips = corpus.clips
    experiment = next(e for e in plan.experiments if e.key == cell.keys[0])
    if clips.targets:
        regressed = [results.regressed(row.key, clips.n_outputs) for row in cell.rows]
        drawn = dict(zip(TARGET_METRICS, draw_targets(regressed, clips.y, units(corpus)), strict=True))
        said = _mean_outputs(len(clips), [(run.clip, run.said) for run in regressed])
        return Reported(
            table, *place, cell, experiment, drawn, np.zeros((0, 0), dtype=np.int64), np.zeros(0, dtype=bool), said
        )
    n_classes = len(clips.classes)
    found = [results.predictions(row.key, n_classes) for row in cell.rows]
    drawn = draw([run for run, _ in found], clips.y, units(corpus), n_classes=n_classes)
    counts = sum(
        (confusion(clips.y[run.clip], run.predicted, n_classes) for run, _ in found), np.zeros((), dtype=np.int64)
    )
    outputs = _mean_outputs(len(clips), [(run.clip, table) for run, table in found])
    tested = ~np.isnan(outputs[:, 0])
    right = np.asarray(outputs[tested].argmax(1) == clips.y[tested])
    return Reported(table, *place, cell, experiment, drawn, np.asarray(counts), right, np.zeros((0, 0)))


def _mean_outputs(n_clips: int, runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    total = np.full((n_clips, runs[0][1].shape[1]), np.nan)
    for clip, said in runs:
        total[clip] = np.where(np.isnan(total[clip]), 0, total[clip]) + said / len(runs)
    return total


def units(corpus: CorpusPlan) -> np.ndarray:
    """What the bootstrap draws: groups where they are known, clips otherwise."""
    group = corpus.clips.group
    return np.arange(len(corpus.clips)) if group is None else np.unique(group.astype(str), return_inverse=True)[1]


def best_of(items: Sequence[Reported], metric: str) -> Reported:
    """Return the cell with the best mean."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return max(items, key=lambda item: sign * item.cell.scores[metric].mean)


def gaps(corpus: CorpusPlan, items: Sequence[Reported], metric: str) -> list[Gap]:
    """Return how far the cells of one table are from its best, nearest first; p of the t-test Holm-corrected over all."""
    best = best_of(items, metric)
    others = [item for item in items if item is not best]
    p_values = holm([_p(best, other, metric, corpus.split.test_share) for other in others])
    found = [_gap(corpus, best, other, metric, p) for other, p in zip(others, p_values, strict=True)]
    return sorted(found, key=lambda gap: abs(gap.difference))


def _gap(corpus: CorpusPlan, best: Reported, other: Reported, metric: str, p: float) -> Gap:
    low, high = interval(best.drawn[metric] - other.drawn[metric])
    difference = best.cell.scores[metric].mean - other.cell.scores[metric].mean
    exact = None if corpus.clips.targets else mcnemar(best.right, other.right)
    return Gap(best, other, metric, difference, low, high, p, exact)


def _p(best: Reported, other: Reported, metric: str, test_share: float) -> float:
    seeded = best.experiment.chosen.learner.seeded, other.experiment.chosen.learner.seeded
    pairs = paired(best.cell.rows, other.cell.rows, seeded)
    if not pairs:
        return 1.0
    ours, theirs = (runs(side, metric) for side in zip(*pairs, strict=True))
    return corrected_t(ours - theirs, test_share=test_share)
