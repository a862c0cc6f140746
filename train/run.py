"""Stage 2 from end to end: plan, do what is not done, tell, write the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

from ..errors import TrainError
from .config import TrainConfig
from .grid import Experiment, Plan
from .plan import plan
from .records import Context
from .results import FILE, Results, open_results
from .systems import open_kept

if TYPE_CHECKING:
    from ..store import Store

Progress = Callable[[int, int, str], None]
"""Called as progress(experiments done, experiments to do, what is being done)."""


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        trained, reused: experiments; stale: those of `trained` that had a result made from something else.
        failed: what failed and why.
        report: the HTML file; None after a dry run.
    """

    plan: Plan
    trained: int
    reused: int
    stale: tuple[Experiment, ...]
    failed: tuple[tuple[str, str], ...]
    report: Path | None
    seconds: float


def run(
    config: TrainConfig,
    store: Store,
    results_dir: str | Path,
    *,
    progress: Progress | None = None,
    dry_run: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    quiet: bool = False,
) -> Summary:
    """Run every experiment that is not finished, print the tables and write the report into `results_dir`.

    Args:
        progress: told after every experiment; by default a bar, or lines where there is no terminal.
        dry_run: say what would be done; write nothing.
        workers: experiments trained side by side, each in a process of its own.
        scheduler: a Dask cluster to train them on, see `cluster.connect`; `workers` are started there.
        quiet: print results only.

    Raises:
        ConfigError: what is asked for cannot be done; nothing was trained.
        TrainError: some experiments failed; the others are finished and in the report.
    """
    from . import console

    started = time.perf_counter()
    planned = plan(config, store)
    console.print_plan(planned)
    if dry_run:
        return _dry(planned, Path(results_dir), started)
    with open_results(results_dir) as results:
        done = results.done(experiment.key for experiment in planned.experiments)
        stale = tuple(results.stale(planned.experiments))
        console.print_todo(len(planned.experiments), len(done), stale)
        todo = [experiment for experiment in planned.experiments if experiment.key not in done]
        with console.progress(quiet=quiet, given=progress) as tell:
            failed = _train(planned, todo, store, results, workers=workers, scheduler=scheduler, tell=tell)
        report = _report(planned, store, results, quiet=quiet)
        console.print_tables(planned, results)
    summary = Summary(planned, len(todo) - len(failed), len(done), stale, failed, report, time.perf_counter() - started)
    console.print_end(summary)
    if failed:
        raise TrainError(_failures(failed, len(planned.experiments)))
    return summary


def report(config: TrainConfig, store: Store, results_dir: str | Path, *, quiet: bool = False) -> Path:
    """Write the report of what is finished into `results_dir`, print its tables, train nothing; return the HTML file.

    Raises:
        ConfigError: what is asked for cannot be done.
        TrainError: nothing of it is finished.
    """
    from . import console

    planned = plan(config, store)
    console.print_plan(planned)
    keys, _ = _kept(Path(results_dir) / FILE)
    n_done = sum(experiment.key in keys for experiment in planned.experiments)
    if not n_done:
        raise TrainError(
            f"results {results_dir}: expected finished experiments, got none of {len(planned.experiments)}. "
            f"Run `voxcache train` first."
        )
    with open_results(results_dir) as results:
        path = _report(planned, store, results, quiet=quiet)
        console.print_tables(planned, results)
    console.print_reported(n_done, len(planned.experiments), path)
    return path


def _dry(planned: Plan, folder: Path, started: float) -> Summary:
    from . import console

    keys, slots = _kept(folder / FILE)
    done = [experiment for experiment in planned.experiments if experiment.key in keys]
    stale = tuple(e for e in planned.experiments if e.key not in keys and e.slot in slots)
    console.print_todo(len(planned.experiments), len(done), stale)
    return Summary(planned, 0, len(done), stale, (), None, time.perf_counter() - started)


def _kept(path: Path) -> tuple[set[str], set[str]]:
    """Return keys and slots of the experiments in a results file, of any schema, which is opened for reading only."""
    if not path.exists():
        return set(), set()
    with open_kept(path) as kept:
        runs = [run for system in kept.systems for run in system.runs]
    return {run.key for run in runs}, {run.slot for run in runs}


def _train(
    planned: Plan,
    todo: Sequence[Experiment],
    store: Store,
    results: Results,
    *,
    workers: int,
    scheduler: str | None,
    tell: Progress,
) -> tuple[tuple[str, str], ...]:
    if not todo:
        return ()
    from ..installed import require
    from .execute import jobs, pick_device, run_jobs

    require("train", "torch", "scipy", "scikit-learn")

    wanted = jobs(planned.corpora, todo, planned.config)
    target, made_by = ", ".join(planned.config.target_names), versions()
    failed: list[tuple[str, str]] = []
    ended = 0
    tell(0, len(todo), wanted[0].text)
    device = pick_device(planned.config.device)
    for outcome in run_jobs(store, wanted, device=device, workers=workers, scheduler=scheduler):
        given = {result.key: result for result in outcome.outcomes}
        context = Context(target, outcome.job.training.model_dump_json(), made_by)
        for experiment in outcome.job.experiments:
            if experiment.key in given:
                results.save(experiment, outcome.job.corpus, given[experiment.key], context)
            else:
                failed.append((experiment.text, outcome.failure))
        ended += len(outcome.job.experiments)
        tell(ended, len(todo), outcome.job.text)
    return tuple(failed)


def _report(planned: Plan, store: Store, results: Results, *, quiet: bool) -> Path:
    from .report import write

    return write(planned, store, results, quiet=quiet)


def _failures(failed: Sequence[tuple[str, str]], total: int) -> str:
    reasons = dict.fromkeys(reason for _, reason in failed)
    lines = [f"  {reason} ({sum(why == reason for _, why in failed)} of them)" for reason in reasons]
    return "\n".join(
        [
            f"{len(failed)} of {total} experiments failed, the others are finished and kept:",
            *lines,
            "Correct this and run again.",
        ]
    )


def versions() -> str:
    """Return the versions that took part, as JSON."""
    found = {"python": python_version()}
    for package in ("voxcache", "torch", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return json.dumps(found)
