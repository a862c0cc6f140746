"""Tables of scores: one row an encoder (or a group of them), one column a head (or fusion)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from .compare import corrected_t, holm
from .grid import CorpusPlan, Experiment, Kind, Plan
from .records import Row
from .results import Results
from .scores import LOWER_IS_BETTER, score_text

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Score:
    """A metric's mean and standard deviation over folds and seeds.

    Attributes:
        n: folds times seeds.
        best: the best mean of its column.
        tie: not the best, but not told apart from it either (corrected resampled t, Holm over the column).
    """

    mean: float
    std: float
    n: int
    best: bool = False
    tie: bool = False

    def text(self, metric: str) -> str:
        """Return it as people read it: without ± where a single fold and seed show no spread."""
        mean = score_text(metric, self.mean)
        return f"{mean} ± {score_text(metric, self.std)}" if self.n > 1 else mean


@dataclass(frozen=True)
class Cell:
    """One head on one input: its scores by metric, and the experiments (one a seed) they come from."""

    scores: dict[str, Score]
    keys: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)


@dataclass(frozen=True)
class Table:
    """Cells by (row, column); those that failed are not in it."""

    corpus: str
    kind: Kind
    rows: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    cells: dict[tuple[tuple[str, str], str], Cell]

    @property
    def title(self) -> str:
        """What stands in it."""
        return f"{self.corpus}: {'encoder x head' if self.kind == 'head' else 'encoders x fusion'}"


def tables(plan: Plan, results: Results) -> list[Table]:
    """Return the tables of a plan: heads, then fusions, for each corpus."""
    rows = results.rows([experiment.key for experiment in plan.experiments])
    made = []
    for corpus in plan.corpora:
        for kind in ("head", "fusion"):
            mine = [e for e in plan.experiments if e.corpus == corpus.name and e.chosen.kind == kind and e.key in rows]
            if mine:
                made.append(_table(corpus, kind, mine, rows))
    return made


def _table(corpus: CorpusPlan, kind: Kind, experiments: list[Experiment], rows: dict[str, Row]) -> Table:
    together: dict[tuple[tuple[str, str], str], list[str]] = {}
    for experiment in experiments:
        place = ((experiment.encoders, experiment.input_text), experiment.chosen.label)
        together.setdefault(place, []).append(experiment.key)
    cells = {place: _cell([rows[key] for key in keys]) for place, keys in together.items()}
    columns = tuple(dict.fromkeys(column for _, column in cells))
    for column in columns:
        _mark(cells, [place for place in cells if place[1] == column], corpus.split.test_share)
    return Table(corpus.name, kind, tuple(dict.fromkeys(row for row, _ in cells)), columns, cells)


def _cell(rows: list[Row]) -> Cell:
    scores = {}
    for metric in rows[0].folds:
        scores[metric] = _score(runs(rows, metric))
    return Cell(scores, tuple(row.key for row in rows), tuple(rows))


def _score(values: np.ndarray) -> Score:
    return Score(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))


def by_target(cell: Cell, metric: str) -> dict[str, Score]:
    """Return a metric of each continuous target, over folds and seeds."""
    names = cell.rows[0].targets
    return {name: _score(np.concatenate([row.targets[name][metric] for row in cell.rows])) for name in names}


def runs(rows: Iterable[Row], metric: str) -> np.ndarray:
    """Return a metric of every seed and fold, float64 [seed x fold]."""
    return np.concatenate([row.folds[metric] for row in rows])


def _mark(
    cells: dict[tuple[tuple[str, str], str], Cell], column: list[tuple[tuple[str, str], str]], test_share: float
) -> None:
    """Mark the best cell of a column and those within its noise, for each metric."""
    for metric in cells[column[0]].scores:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        best = max(column, key=lambda place, m=metric, s=sign: s * cells[place].scores[m].mean)  # type: ignore[misc]
        top = runs(cells[best].rows, metric)
        others = [place for place in column if place != best]
        p_values = holm([_p(top, runs(cells[place].rows, metric), test_share) for place in others])
        score = cells[best].scores[metric]
        cells[best].scores[metric] = replace(score, best=True)
        for place, p in zip(others, p_values, strict=True):
            score = cells[place].scores[metric]
            cells[place].scores[metric] = replace(score, tie=p >= SIGNIFICANCE)


def _p(top: np.ndarray, other: np.ndarray, test_share: float) -> float:
    if len(top) != len(other):
        return 1.0  # a seed is missing on one side: nothing is paired, nothing can be told apart
    return corrected_t(top - other, test_share=test_share)
