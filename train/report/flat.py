"""table.csv: every cell in a line, every number in full."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..convergence import NAMES
from ..grid import Plan
from ..sheets import Sheet, Value, to_csv
from .reported import Reported

_FIELDS = (
    *("corpus", "kind", "encoders", "input", "architecture", "n_used", "n_total", "n_seeds", "n_folds"),
    *("left_out", "besides", "n_parameters", "train_s", *NAMES),
    *("n_tested", "tested_group_trained_on", "tested_audio_trained_on"),
)
PARTS = ("pooled", "low", "high", "mean", "std_folds", "std_seeds")


def flat(plan: Plan, reported: Sequence[Reported]) -> str:
    """Return the table as CSV, as parts of 1: every metric pooled, with its interval, and as papers report it, with deviations."""
    metrics = list(dict.fromkeys(metric for item in reported for metric in item.cell.scores))
    columns = (*_FIELDS, *(f"{metric}_{part}" for metric in metrics for part in PARTS))
    return to_csv(Sheet(columns, tuple(_row(plan, item, metrics) for item in reported)))


def _row(plan: Plan, item: Reported, metrics: Sequence[str]) -> tuple[Value, ...]:
    clips, rows = plan.corpus(item.table.corpus).clips, item.cell.rows
    values: list[Value] = [item.table.corpus, item.table.kind, *item.row, item.column, len(clips), clips.n_total]
    values += [len(rows), len(rows[0].folds[clips.main_metric]), clips.left_out, clips.besides, rows[0].n_parameters]
    values += [f"{sum(row.train_s for row in rows):.2f}", *item.cell.convergence.numbers]
    split = plan.corpus(item.table.corpus).split
    values += [
        int((split.fold >= 0).sum()),
        *(None if n is None else int(n.sum()) for n in (split.leaked, split.heard)),
    ]
    for metric in metrics:
        if metric not in item.cell.scores:
            values += [None] * len(PARTS)
            continue
        score = item.cell.scores[metric]
        pooled = score.pooled
        known = () if pooled is None else (pooled.value, pooled.low, pooled.high)
        found = (*known, score.mean, score.over_folds, score.over_seeds)
        values += [None if value is None or math.isnan(value) else f"{value:.6f}" for value in found]
    return tuple(values)
