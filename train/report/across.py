"""Tables in the papers' form: one a head (or fusion), a row an encoder (or pair), a column a corpus; published figures beside."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..convergence import total
from ..fusions import FUSIONS
from ..grid import Kind, Plan
from ..heads import HEADS
from ..published import MEAN, Figure, Published
from ..scores import CHANGE, METRIC_NAMES, METRICS
from ..tables import Score, Table, by_target

Row = tuple[str, str]


@dataclass(frozen=True)
class Column:
    """A score of a corpus or of one of its continuous targets, or the mean over either.

    Attributes:
        corpus: whose heading it stands under; MEAN for the mean over corpora.
        published: the architecture whose figures, of the paper, stand here.
        over: the corpora, or the continuous targets, whose mean it is.
        baseline: a published mean; cells say by what part of it they are above.
    """

    corpus: str
    metric: str
    name: str
    target: str = ""
    published: str = ""
    over: tuple[str, ...] = ()
    baseline: float | None = None

    @property
    def shown_as(self) -> str:
        """The metric whose unit its numbers have."""
        return self.metric if self.baseline is None else CHANGE

    def theirs(self, published: Published, encoders: Sequence[str], architecture: str) -> Figure | None:
        """Return what the paper gives here for a system."""
        if self.corpus == MEAN:
            return published.mean(self.over, encoders, architecture, self.metric)
        if not self.over:
            return published.get(self.corpus, encoders, architecture, self.metric, self.target)
        figure = published.mean((self.corpus,), encoders, architecture, self.metric, self.over)
        if figure is None or self.baseline is None:
            return figure
        return replace(figure, mean=figure.mean / self.baseline - 1)

    def ours(self, by_corpus: Mapping[str, Table], place: tuple[Row, str]) -> Score | None:
        """Return our score here; None where it, or one that its mean is over, was not run."""
        cells = [by_corpus[name].cells.get(place) for name in (self.over if self.corpus == MEAN else (self.corpus,))]
        found = [cell for cell in cells if cell is not None]
        if len(found) < len(cells):
            return None
        ended = total(cell.convergence for cell in found).text
        if self.corpus == MEAN:
            means = [cell.scores[self.metric].mean for cell in found]
            return Score(statistics.fmean(means), over_corpora=statistics.pstdev(means), unfinished=ended)
        if self.target:
            return replace(by_target(found[0], self.metric)[self.target], unfinished=ended)
        score = found[0].scores[self.metric]
        if self.baseline is None:
            return score
        return Score(score.mean / self.baseline - 1, unfinished=ended)


@dataclass(frozen=True)
class PaperTable:
    """One head or fusion over all corpora.

    Attributes:
        cells: ours a Score, the paper's a Figure, None where there is none; one a row and column.
        used: "455 of 457 clips used", with the reasons, of each corpus.
    """

    kind: Kind
    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Score | Figure | None, ...], ...]
    used: dict[str, str]

    @property
    def unfinished(self) -> list[tuple[str, str]]:
        """Rows that hold a score of networks that had not stopped improving, and in how many folds; each text once a row."""
        found = [
            (row, cell.unfinished)
            for row, cells in zip(self.rows, self.cells, strict=True)
            for cell in cells
            if isinstance(cell, Score) and cell.unfinished
        ]
        return list(dict.fromkeys(found))

    @property
    def has_published(self) -> bool:
        """Whether a column is the paper's."""
        return any(column.published for column in self.columns)

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """Columns by corpus, in order."""
        names = dict.fromkeys(column.corpus for column in self.columns)
        return [(name, [column for column in self.columns if column.corpus == name]) for name in names]


def paper_tables(plan: Plan, made: Sequence[Table], published: Published) -> list[PaperTable]:
    """Return a table for every head and fusion; for continuous targets a column a target instead of a metric.

    Scores are means over folds, as papers report them. Last come the means: over targets, beside the paper's baseline, and over
    corpora, with the standard deviation over these (dividing by their number, as voc2vec's table III does). Nothing is marked
    in means: no test is made of them.
    """
    found = []
    for kind in ("head", "fusion"):
        of_kind = [table for table in made if table.kind == kind]
        for label in dict.fromkeys(column for table in of_kind for column in table.columns):
            found.append(
                _paper_table(plan, kind, label, [table for table in of_kind if label in table.columns], published)
            )
    return found


def _paper_table(plan: Plan, kind: Kind, label: str, made: Sequence[Table], published: Published) -> PaperTable:
    rows = list(dict.fromkeys(row for table in made for row in table.rows if (row, label) in table.cells))
    architecture = next(e.chosen.name for e in plan.experiments if e.chosen.label == label and e.chosen.kind == kind)
    encoders = [row[0].split(" + ") for row in rows]
    by_corpus = {table.corpus: table for table in made}
    columns: list[Column] = []
    for column in _columns(plan, made, published):
        theirs = _architecture(published, column, architecture, encoders)
        columns += [column] if theirs is None else [column, replace(column, published=theirs)]
    filled = [_filled(column, published, by_corpus, [(row, label) for row in rows], encoders) for column in columns]
    several = len({name for name, _ in rows}) < len(rows)
    texts = [f"{name}, {text}" if several else name for name, text in rows]
    for name in dict.fromkeys(filter(None, map(published.baseline, by_corpus))):
        figures = [column.theirs(published, [name], "") if column.published else None for column in columns]
        if any(figures):
            texts.append(name)
            filled = [[*cells, figure] for cells, figure in zip(filled, figures, strict=True)]
    used = {name: plan.corpus(name).clips.used_text for name in by_corpus}
    return PaperTable(kind, label, tuple(columns), tuple(texts), tuple(zip(*filled, strict=True)), used)


def _columns(plan: Plan, made: Sequence[Table], published: Published) -> list[Column]:
    columns: list[Column] = []
    for table in made:
        name, targets = table.corpus, plan.corpus(table.corpus).clips.targets
        if not targets:
            columns += [Column(name, metric, METRIC_NAMES[metric]) for metric in METRICS]
            continue
        columns += [Column(name, "spearman", target, target) for target in targets]
        if len(targets) > 1:
            columns += _means_over_targets(name, targets, published)
    corpora = [table.corpus for table in made if not plan.corpus(table.corpus).clips.targets]
    if len(corpora) > 1:
        columns += [Column(MEAN, metric, METRIC_NAMES[metric], over=tuple(corpora)) for metric in METRICS]
    return columns


def _means_over_targets(corpus: str, targets: tuple[str, ...], published: Published) -> list[Column]:
    mean = Column(corpus, "spearman", "mean", over=targets)
    baseline = published.baseline(corpus)
    figure = None if baseline is None else mean.theirs(published, [baseline], "")
    if figure is None or figure.mean == 0:
        return [mean]
    return [mean, replace(mean, name=f"mean against {baseline}, %", baseline=figure.mean)]


def _architecture(
    published: Published, column: Column, architecture: str, encoders: Sequence[Sequence[str]]
) -> str | None:
    """Return the paper's architecture to stand beside ours: the same, else the only one that we have not (fine-tuned)."""
    found = [
        name
        for name in published.architectures(column.metric)
        if any(column.theirs(published, names, name) for names in encoders)
    ]
    if architecture in found:
        return architecture
    others = [name for name in found if name not in HEADS and name not in FUSIONS]
    return others[0] if len(others) == 1 else None


def _filled(
    column: Column,
    published: Published,
    by_corpus: Mapping[str, Table],
    places: Sequence[tuple[Row, str]],
    encoders: Sequence[Sequence[str]],
) -> list[Score | Figure | None]:
    """Return the cells of one column, top to bottom."""
    if column.published:
        return [column.theirs(published, names, column.published) for names in encoders]
    return [column.ours(by_corpus, place) for place in places]
