"""Tables in the papers' form: one a head (or fusion), a row an encoder (or pair), a column a corpus; published figures beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..fusions import FUSIONS
from ..grid import Kind, Plan
from ..heads import HEADS
from ..published import Figure, Published
from ..scores import METRIC_NAMES, METRICS
from ..tables import Score, Table, by_target


@dataclass(frozen=True)
class Column:
    """A score of a corpus (or of a continuous target). `published`: the architecture whose figures, of the paper, stand here."""

    corpus: str
    metric: str
    name: str
    target: str = ""
    published: str = ""


@dataclass(frozen=True)
class PaperTable:
    """One head or fusion over all corpora.

    Attributes:
        cells: ours a Score, the paper's a Figure, None where there is none; one a row and column.
        used: "455 of 457" clips of each corpus.
    """

    kind: Kind
    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Score | Figure | None, ...], ...]
    used: dict[str, str]

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
    """Return a table for every head and fusion; for continuous targets a column a target instead of a metric."""
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
    columns: list[Column] = []
    for table in made:
        for column in _columns(plan, table):
            theirs = _theirs(plan, published, column, architecture, encoders)
            columns += [column] if theirs is None else [column, replace(column, published=theirs)]
    by_corpus = {table.corpus: table for table in made}
    cells = []
    for row, names in zip(rows, encoders, strict=True):
        line: list[Score | Figure | None] = []
        for column in columns:
            if column.published:
                line.append(published.get(column.corpus, names, column.published, column.metric, column.target))
            else:
                line.append(_ours(by_corpus[column.corpus], (row, label), column))
        cells.append(tuple(line))
    several = len({name for name, _ in rows}) < len(rows)
    used = {
        table.corpus: f"{len(plan.corpus(table.corpus).clips)} of {plan.corpus(table.corpus).clips.n_total}"
        for table in made
    }
    texts = tuple(f"{name}, {text}" if several else name for name, text in rows)
    return PaperTable(kind, label, tuple(columns), texts, tuple(cells), used)


def _theirs(
    plan: Plan, published: Published, column: Column, architecture: str, encoders: Sequence[Sequence[str]]
) -> str | None:
    """Return the paper's architecture to stand beside ours: the same, else the only one that we have not (fine-tuned)."""
    found = [
        name
        for name in published.architectures(column.corpus, encoders, column.metric)
        if any(published.get(column.corpus, names, name, column.metric, column.target) for names in encoders)
    ]
    if architecture in found:
        return architecture
    others = [name for name in found if name not in HEADS and name not in FUSIONS]
    return others[0] if len(others) == 1 else None


def _columns(plan: Plan, table: Table) -> list[Column]:
    clips = plan.corpus(table.corpus).clips
    if clips.targets:
        return [Column(table.corpus, "spearman", name, name) for name in clips.targets]
    return [Column(table.corpus, metric, METRIC_NAMES[metric]) for metric in METRICS]


def _ours(table: Table, place: tuple[tuple[str, str], str], column: Column) -> Score | None:
    cell = table.cells.get(place)
    if cell is None:
        return None
    return by_target(cell, column.metric)[column.target] if column.target else cell.scores[column.metric]
