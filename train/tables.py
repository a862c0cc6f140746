"""Tables of scores: one row an encoder (or a group of them), one column a head (or fusion)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from .compare import Difference, Runs, Scored, family
from .convergence import Convergence, total
from .grid import CorpusPlan, Experiment, Kind, Plan
from .intervals import Estimate, left_out
from .records import Row, deviations
from .results import Results
from .scores import LIMITS, LOWER_IS_BETTER, score_text
from .targets import left_out_targets

Place = tuple[tuple[str, str], str]
"""A cell's row (encoders and what is taken of them) and column (head or fusion)."""


@dataclass(frozen=True)
class Score:
    """A metric: pooled over folds, which is what is tested, and as papers report it, as a mean over folds.

    Attributes:
        mean: over folds and seeds.
        over_folds, over_seeds: standard deviation over folds with seeds averaged, and over seeds with folds averaged; None for one.
        over_corpora: standard deviation of a mean over corpora.
        pooled: the score of all tested clips together, with its interval.
        best: the best pooled score of its column; tie: not told apart from it, or there is no test.
        n_seeds: how many seeds it is a mean of.
        unfinished: such as "still improving in 15 of 20 folds"; empty where training came to its end.
    """

    mean: float
    over_folds: float | None = None
    over_seeds: float | None = None
    over_corpora: float | None = None
    pooled: Estimate | None = None
    best: bool = False
    tie: bool = False
    n_seeds: int = 1
    unfinished: str = ""

    @property
    def std(self) -> float | None:
        """The deviation that papers print: over corpora, else over folds, else over seeds."""
        return next((v for v in (self.over_corpora, self.over_folds, self.over_seeds) if v is not None), None)

    def text(self, metric: str) -> str:
        """Return it as papers print it: mean ± deviation."""
        mean = score_text(metric, self.mean)
        return mean if self.std is None else f"{mean} ± {score_text(metric, self.std)}"

    def named(self, metric: str) -> str:
        """Return it as papers report it, with deviations by name."""
        parts = [score_text(metric, self.mean)]
        for value, name in ((self.over_folds, "folds"), (self.over_seeds, "seeds")):
            parts += [] if value is None else [f"± {score_text(metric, value)} ({name})"]
        return " ".join(parts)


def interval_text(estimate: Estimate, metric: str, between: str = " – ") -> str:
    """Return a 95 % interval as people read it; "no interval" where there is none."""
    if not estimate.known:
        return "no interval"
    return f"{score_text(metric, estimate.low)}{between}{score_text(metric, estimate.high)}"


@dataclass(frozen=True)
class Cell:
    """One head on one input: its scores by metric, and the experiments (one a seed) they come from."""

    scores: dict[str, Score]
    keys: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def convergence(self) -> Convergence:
        """Whether its networks had stopped improving, over all seeds."""
        return total(row.convergence for row in self.rows)


@dataclass(frozen=True)
class Table:
    """Cells by (row, column); those that failed are not in it.

    Attributes:
        differences: of all pairs of cells, one family: each pair once, by metric.
    """

    corpus: str
    kind: Kind
    rows: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    cells: dict[Place, Cell]
    differences: dict[tuple[Place, Place], dict[str, Difference]] = field(default_factory=dict, repr=False)

    def difference(self, a: Place, b: Place) -> dict[str, Difference]:
        """Return cell A minus cell B by metric."""
        if (a, b) in self.differences:
            return self.differences[a, b]
        return {metric: -found for metric, found in self.differences[b, a].items()}

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
                made.append(_table(corpus, kind, mine, rows, results))
    return made


def _table(
    corpus: CorpusPlan, kind: Kind, experiments: list[Experiment], rows: dict[str, Row], results: Results
) -> Table:
    together: dict[Place, list[Experiment]] = {}
    for experiment in experiments:
        place = ((experiment.encoders, experiment.input_text), experiment.chosen.label)
        together.setdefault(place, []).append(experiment)
    systems = {
        place: Runs(tuple(_scored(corpus, rows[e.key], results) for e in mine), mine[0].chosen.learner.seeded)
        for place, mine in together.items()
    }
    cells = {place: _cell(corpus, [rows[e.key] for e in mine], systems[place]) for place, mine in together.items()}
    columns = tuple(dict.fromkeys(column for _, column in cells))
    names = tuple(dict.fromkeys(row for row, _ in cells))
    table = Table(corpus.name, kind, names, columns, cells, family(corpus.design, systems))
    for column in columns:
        _mark(table, [place for place in cells if place[1] == column])
    return table


def _scored(corpus: CorpusPlan, row: Row, results: Results) -> Scored:
    """Return a run's scores without each part of what was tested; made once for all tables of an opened file."""
    if row.key not in results.scored:
        clips, design = corpus.clips, corpus.design
        if clips.targets:
            left = left_out_targets(design, results.regressed(row.key, clips.n_outputs))
        else:
            left = left_out(design, results.predictions(row.key, len(clips.classes))[0])
        results.scored[row.key] = Scored(row.seed, left)
    return results.scored[row.key]


def _cell(corpus: CorpusPlan, rows: list[Row], system: Runs) -> Cell:
    scores, ended = {}, total(row.convergence for row in rows).text
    for metric in rows[0].folds:
        pooled = system.score(corpus.design, metric, LIMITS[metric])
        scores[metric] = replace(_score([row.folds[metric] for row in rows]), pooled=pooled, unfinished=ended)
    return Cell(scores, tuple(row.key for row in rows), tuple(rows))


def _score(by_seed: list[np.ndarray]) -> Score:
    """Return mean and deviations of scores float64 [fold], one array a seed."""
    mean, over_folds, over_seeds = deviations(by_seed)
    return Score(mean, over_folds, over_seeds, n_seeds=len(by_seed))


def by_target(cell: Cell, metric: str) -> dict[str, Score]:
    """Return a metric of each continuous target, as papers report it."""
    names = cell.rows[0].targets
    return {name: _score([row.targets[name][metric] for row in cell.rows]) for name in names}


def best_of(table: Table, places: Iterable[Place], metric: str) -> Place:
    """Return the cell with the best pooled score, the first of equals."""
    sign = -1 if metric in LOWER_IS_BETTER else 1

    def rank(place: Place) -> float:
        pooled = table.cells[place].scores[metric].pooled
        return -math.inf if pooled is None or math.isnan(pooled.value) else sign * pooled.value

    return max(places, key=rank)


def _mark(table: Table, column: list[Place]) -> None:
    """Mark the best cell of a column and those that no test tells apart from it, for each metric."""
    for metric in table.cells[column[0]].scores:
        best = best_of(table, column, metric)
        for place in column:
            scores = table.cells[place].scores
            tie = place != best and not table.difference(best, place)[metric].apart
            scores[metric] = replace(scores[metric], best=place == best, tie=tie)
