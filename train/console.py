"""What a run prints: the plan, a progress bar, the tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from .convergence import EXPLAINED, Convergence
from .grid import Experiment, Plan
from .results import Results
from .scores import METRIC_NAMES, score_text
from .tables import Score, Table, interval_text, tables

if TYPE_CHECKING:
    from .run import Progress as Tell
    from .run import Summary

_LINE_EVERY_S = 10.0
_LOG_WIDTH = 160
_SHOWN = 5
_WITH_INTERVALS = 6


def _out() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_LOG_WIDTH)


def print_plan(plan: Plan) -> None:
    """Print what is compared on what, and every note."""
    out = _out()
    for note in plan.notes:
        out.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    for corpus in plan.corpora:
        out.print(Text(f"{corpus.name}: {corpus.clips.used_text}; {corpus.split.text}", style="bold"), soft_wrap=True)
        for note in corpus.notes:
            out.print(
                Text(f"  note: {note}", style="red bold" if note.startswith("LEAK") else "yellow"), soft_wrap=True
            )
        random = [facts.name for facts in corpus.encoders if facts.is_random]
        if random:
            out.print(
                Text(
                    f"  RANDOM WEIGHTS: {', '.join(random)}: scores show that things run, not what a model can do",
                    "magenta",
                )
            )


def print_todo(total: int, done: int, stale: Sequence[Experiment]) -> None:
    """Print how much is finished and how much is to do."""
    out = _out()
    out.print(f"train: {total} experiments, {done} finished before, {total - done} to do")
    if stale:
        out.print(
            Text(f"  {len(stale)} have a result made from something else (stale); they are run again:", style="yellow")
        )
        _first(out, [experiment.text for experiment in stale])


def _first(out: Console, texts: Sequence[str]) -> None:
    for text in texts[:_SHOWN]:
        out.print(f"    {text}", soft_wrap=True)
    if len(texts) > _SHOWN:
        out.print(f"    and {len(texts) - _SHOWN} more")


def print_end(summary: Summary) -> None:
    """Print what was done and where it is."""
    out = _out()
    for reason in dict.fromkeys(reason for _, reason in summary.failed):
        texts = [text for text, why in summary.failed if why == reason]
        out.print(Text(f"FAILED: {reason}", style="red"), soft_wrap=True)
        _first(out, texts)
    out.print(
        f"train: {summary.trained} trained, {summary.reused} reused, {len(summary.failed)} failed "
        f"in {summary.seconds:.1f} s; report: {summary.report}",
        soft_wrap=True,
    )


def print_reported(n_done: int, n_all: int, path: Path) -> None:
    """Print of how many experiments the report is, and where it is."""
    _out().print(f"report of {n_done} of {n_all} experiments: {path}", soft_wrap=True)


@contextmanager
def progress(*, quiet: bool, given: Tell | None = None) -> Iterator[Tell]:
    """Give what is to be called after every experiment: the given one, nothing, a bar, or lines without a terminal."""
    if given is not None:
        yield given
    elif quiet:
        yield lambda done, total, text: None
    elif _out().is_terminal:
        with _bar() as bar:
            task = bar.add_task("train", total=None)
            yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)
    else:
        yield _Lines()


class _Lines:
    """Progress as lines, not more than one in ten seconds."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done < total and now - self.last < _LINE_EVERY_S:
            return
        self.last = now
        left = (now - self.started) / done * (total - done) if done else None
        tail = "" if left is None or done == total else f", about {left:.0f} s left"
        _out().print(f"train: {done} of {total} experiments{tail} ({text})")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )


def print_tables(plan: Plan, results: Results) -> None:
    """Print every table of the plan."""
    out = _out()
    made = tables(plan, results)
    for table in made:
        out.print(f"{table.title}: {plan.corpus(table.corpus).clips.used_text}", soft_wrap=True)
        out.print(_rich(plan, table))
    if any(cell.convergence.text for table in made for cell in table.cells.values()):
        out.print(Text(EXPLAINED, style="yellow"), soft_wrap=True)
    unit = "% of" if any(not corpus.clips.targets for corpus in plan.corpora) else "of"
    out.print(
        f"{unit} all tested clips together, mean over seeds [95 % interval]; * best of its column; ~ not told apart from it at 5 % "
        f"(Holm over all pairs of a table). Means over folds ± deviations, as papers report: in the report and `voxcache results`."
    )
    for corpus in plan.corpora:
        out.print(Text(f"{corpus.name}: {corpus.design.text}"), soft_wrap=True)


def _rich(plan: Plan, table: Table) -> RichTable:
    corpus = plan.corpus(table.corpus)
    made = RichTable()
    made.add_column("encoder" if table.kind == "head" else "encoders")
    made.add_column("mean over targets" if corpus.clips.targets else "%")
    for column in table.columns:
        made.add_column(column, justify="right", no_wrap=True)
    several = len({name for name, _ in table.rows}) < len(table.rows)
    wide = len(table.columns) <= _WITH_INTERVALS
    mine = [e for e in plan.experiments if e.corpus == table.corpus and e.chosen.kind == table.kind]
    asked = {((e.encoders, e.input_text), e.chosen.label) for e in mine}
    for name, text in table.rows:
        places = [((name, text), column) for column in table.columns]
        values = [
            "\n".join(_score(metric, table.cells[place].scores[metric], wide) for metric in corpus.clips.metrics)
            if place in table.cells
            else "failed"
            if place in asked
            else "–"
            for place in places
        ]
        names = "\n".join(METRIC_NAMES[metric] for metric in corpus.clips.metrics)
        ended = [table.cells[place].convergence if place in table.cells else Convergence() for place in places]
        for label, counts in (
            ("still improving in", [one.improving for one in ended]),
            ("unwatched to its cap in", [one.capped for one in ended]),
        ):
            if any(counts):
                names += f"\n{label}"
                values = [
                    f"{value}\n{f'{count} of {one.folds} folds' if count else ''}"
                    for value, count, one in zip(values, counts, ended, strict=True)
                ]
        made.add_row(f"{name}, {text}" if several else name, names, *values)
    return made


def _score(metric: str, score: Score, wide: bool) -> str:
    mark = "*" if score.best else "~" if score.tie else " "
    if score.pooled is None:
        return f"{score.text(metric)}{mark}"
    text = score_text(metric, score.pooled.value)
    return f"{text} [{interval_text(score.pooled, metric)}]{mark}" if wide and score.pooled.known else f"{text}{mark}"
