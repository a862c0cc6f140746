"""table.csv: every cell in a line, every number in full."""

from __future__ import annotations

from collections.abc import Sequence

from ..grid import Plan
from ..sheets import Sheet, Value, to_csv
from .reported import Reported

_FIELDS = (
    *("corpus", "kind", "encoders", "input", "architecture", "n_used", "n_total", "n_seeds", "n_folds"),
    *("n_parameters", "train_s"),
)


def flat(plan: Plan, reported: Sequence[Reported]) -> str:
    """Return the table as CSV: mean, standard deviation and interval of every metric, as parts of 1."""
    metrics = list(dict.fromkeys(metric for item in reported for metric in item.cell.scores))
    columns = (*_FIELDS, *(f"{metric}_{part}" for metric in metrics for part in ("mean", "std", "low", "high")))
    return to_csv(Sheet(columns, tuple(_row(plan, item, metrics) for item in reported)))


def _row(plan: Plan, item: Reported, metrics: Sequence[str]) -> tuple[Value, ...]:
    clips, rows = plan.corpus(item.table.corpus).clips, item.cell.rows
    values: list[Value] = [item.table.corpus, item.table.kind, *item.row, item.column, len(clips), clips.n_total]
    values += [len(rows), len(rows[0].folds[clips.main_metric]), rows[0].n_parameters]
    values += [f"{sum(row.train_s for row in rows):.2f}"]
    for metric in metrics:
        if metric not in item.cell.scores:
            values += [None] * 4
            continue
        score = item.cell.scores[metric]
        values += [f"{value:.6f}" for value in (score.mean, score.std, *item.intervals[metric])]
    return tuple(values)
