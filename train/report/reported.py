"""A cell as the report shows it: with counts of what was taken for what, and how it differs from the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..compare import Difference
from ..grid import Experiment, Plan
from ..results import Results
from ..scores import confusion
from ..tables import Cell, Place, Table, best_of


@dataclass(frozen=True)
class Reported:
    """A cell with what only the report shows.

    Attributes:
        row, column: its place in the table.
        experiment: the first of its experiments, which differ in the seed alone.
        counts: clips [true class, predicted class] over seeds; empty with continuous targets.
        said: predicted targets, mean over seeds, float64 [clip, target], NaN where not tested; empty with classes.
    """

    table: Table
    row: tuple[str, str]
    column: str
    cell: Cell
    experiment: Experiment
    counts: np.ndarray = field(repr=False)
    said: np.ndarray = field(repr=False)

    @property
    def place(self) -> Place:
        """Where it stands in its table."""
        return self.row, self.column

    @property
    def text(self) -> str:
        """Such as wavlm-base → fcn."""
        return f"{self.row[0]} → {self.column}"


@dataclass(frozen=True)
class Gap:
    """How far a cell is from the best of its table: the best minus the other."""

    best: Reported
    other: Reported
    metric: str
    difference: Difference


def reported(plan: Plan, results: Results, table: Table, place: Place) -> Reported:
    """Return a cell of a table with what its predictions tell."""
    clips, cell = plan.corpus(table.corpus).clips, table.cells[place]
    experiment = next(e for e in plan.experiments if e.key == cell.keys[0])
    if clips.targets:
        runs = [results.regressed(row.key, clips.n_outputs) for row in cell.rows]
        said = np.full((len(clips), clips.n_outputs), np.nan)
        said[runs[0].clip] = 0
        for run in runs:
            said[run.clip] += run.said / len(runs)
        return Reported(table, *place, cell, experiment, np.zeros((0, 0), dtype=np.int64), said)
    n_classes = len(clips.classes)
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    for row in cell.rows:
        found, _ = results.predictions(row.key, n_classes)
        counts += confusion(clips.y[found.clip], found.predicted, n_classes)
    return Reported(table, *place, cell, experiment, counts, np.zeros((0, 0)))


def best_item(items: Sequence[Reported], metric: str) -> Reported:
    """Return the item of one table with the best pooled score."""
    place = best_of(items[0].table, [item.place for item in items], metric)
    return next(item for item in items if item.place == place)


def gaps(items: Sequence[Reported], metric: str) -> list[Gap]:
    """Return how far the cells of one table are from its best, nearest first, those that cannot be paired last."""
    best = best_item(items, metric)
    found = [
        Gap(best, item, metric, best.table.difference(best.place, item.place)[metric])
        for item in items
        if item is not best
    ]
    return sorted(
        found, key=lambda gap: (bool(np.isnan(gap.difference.estimate.value)), abs(gap.difference.estimate.value))
    )
