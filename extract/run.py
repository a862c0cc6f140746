"""Stage 1: every clip through every encoder once, into the store. Unit by unit, and only what is missing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, RunError, StoreError
from ..pipeline import Pipeline
from ..stopping import Stop
from ..store.backend import remove_partials
from ..store.location import place, redacted
from ..store.locks import worker_lock, writer_lock
from ..store.schema import FAILED
from ..words import together, with_names
from .devices import idle_gpu, utilisation
from .dispatch import ADVICE, Ended, Lost, explain, run_here
from .encoders.base import SAMPLE_RATE_HZ
from .events import Event, EventLog, Tell, ignore
from .jobs import Job, Loaded, groups, register
from .plan import EncoderPlan, plan_corpora, plan_encoders, require_readable
from .profile import keep_profile
from .progress import Reporter, Speed, Work
from .session import Session, Settled, UnitReport
from .tasks import settle_tasks, unit_tasks, units_of
from .units import SettleTask, Task
from .watch import Spent, Watch

MANY_LOST = 3
"""When this many units are lost before any is done, the run ends: whatever it is, it is not the clips."""


class Runner(Protocol):
    """Carries out tasks somewhere, and yields them as they end, in any order."""

    @property
    def n_devices(self) -> int:
        """How many devices work side by side."""

    @property
    def devices(self) -> Sequence[str]:
        """Those of this machine that it uses, as far as it knows."""

    def memory_bytes(self) -> int:
        """Return what the weights of encoders that run side by side may take in each worker."""

    def queue(self) -> str:
        """Say what waits, for the display."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Ended]:
        """Carry out tasks; see `dispatch.run_here`."""

    def close(self) -> None:
        """Let go of everything."""

    def abandon(self) -> None:
        """End what is at work elsewhere, now: this process is about to end."""


MakeRunner = Callable[[Pipeline, Tell, threading.Event], Runner]


@dataclass(frozen=True)
class Outcome:
    """How one encoder ended on the clips in use of one corpus. `reasons` counts failures by what they say, with a few clips.

    `unlisted` are clips that the store has besides and that are not listed now.
    """

    corpus: str
    encoder: str
    n_clips: int
    embedded: int
    counts: dict[str, int]
    reasons: dict[str, int]
    audio_s: float = 0.0
    busy_s: float = 0.0
    spent: dict[str, float] | None = None
    unlisted: int = 0


@dataclass(frozen=True)
class Where:
    """How a run is spread.

    Attributes:
        runner: makes what carries out the units; without it this process does.
        worker: (number from 1, of how many): this command is one of several that share the units between them.
    """

    runner: MakeRunner | None = None
    worker: tuple[int, int] | None = None


HERE = Where()


def extract(
    pipeline: Pipeline,
    report: Reporter,
    *,
    verify: bool = False,
    retry_failed: bool = False,
    replace: Sequence[str] = (),
    loaded: Loaded | None = None,
    where: Where = HERE,
    log: Path | None = None,
    stop: threading.Event | None = None,
) -> list[Outcome]:
    """Bring the store up to date with the pipeline: scan, register, embed what is missing.

    Args:
        verify: hash every audio file again, whatever its size and time say.
        retry_failed: embed clips again that failed before.
        replace: encoders (names in the store) whose present embeddings are removed first.
        loaded: encoders in memory from an earlier call, to use and to add to.
        where: how the work is spread over processes and machines.
        log: a file to which every event is added as a line of JSON.
        stop: when set, the encoder at work finishes its unit, and the rest is left to the next run.

    Returns:
        One outcome per corpus and encoder.

    Raises:
        ConfigError, StoreError, EncoderError: nothing already written is lost.
        RunError: some units could not be done though each was tried several times; all others are.
    """
    encoders = plan_encoders(pipeline)
    check_options(encoders, replace, where)
    corpora = plan_corpora(pipeline, report, verify=verify, share=where.worker or (1, 1))
    require_readable(corpora)
    stop = stop or threading.Event()
    with (
        _explain_os_errors(pipeline.store),
        _log_to(log) as tell,
        _lock(pipeline, where, report) as (alone, registered),
    ):
        here = loaded or Loaded("cpu" if where.runner else pipeline.extract.device, report)
        jobs = register(
            pipeline, encoders, corpora, here, report, retry_failed=retry_failed, replace=replace, alone=alone
        )
        if where.worker is not None:
            registered()
        if where.runner is not None:
            here.encoders.clear()  # loaded to know their weights; the workers have their own
        if isinstance(stop, Stop):
            stop.armed()
        run = _Run(pipeline, jobs, here, report, where, Watch(_work(jobs, where.worker), log=tell), stop)
        lost = run.go(encoders, registered)
        outcomes = [_outcome(job, run.watch) for job in jobs]
        tell(Event("finished", {"lost": len(lost), "stopped": stop.is_set(), "outcomes": [vars(o) for o in outcomes]}))
    if lost:
        raise RunError(_lost_text(lost))
    return outcomes


def check_options(encoders: Sequence[EncoderPlan], replace: Sequence[str], where: Where) -> None:
    """Raise `ConfigError` for encoders to replace that are not asked for, or that siblings may be writing."""
    names = [plan.name for plan in encoders]
    if unknown := sorted(set(replace) - set(names)):
        raise ConfigError(f"--replace {unknown[0]}: not among the encoders asked for ({', '.join(names)}).")
    if replace and where.worker is not None:
        raise ConfigError(
            "--replace: not together with --worker, whose siblings may be writing what is to be removed. Run it once alone "
            "with --replace; then start the workers."
        )


@contextlib.contextmanager
def _lock(pipeline: Pipeline, where: Where, report: Reporter) -> Iterator[tuple[bool, Callable[[], None]]]:
    """Hold the store: alone, or beside other workers. Yields whether alone, and what to call once all is registered."""
    path = Path(pipeline.store)  # the locks know a URL when they see one
    if where.worker is None:
        with writer_lock(path):
            yield True, lambda: None
        return
    with worker_lock(path, *where.worker, say=report.say) as lock:
        yield lock.alone, lock.registered


@contextlib.contextmanager
def _log_to(path: Path | None) -> Iterator[Tell]:
    if path is None:
        yield ignore
        return
    log = EventLog(path)
    try:
        yield log
    finally:
        log.close()


@contextlib.contextmanager
def _explain_os_errors(store: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        raise StoreError(explain(error, redacted(store))) from error


@dataclass(frozen=True)
class _Run:
    """One run over what is to do."""

    pipeline: Pipeline
    jobs: list[Job]
    loaded: Loaded
    report: Reporter
    where: Where
    watch: Watch
    stop: threading.Event

    def go(self, encoders: Sequence[EncoderPlan], registered: Callable[[], None]) -> list[tuple[Task, Lost]]:
        """Do all that is to do; return the units that could not be done."""
        if not any(job.todo for job in self.jobs):
            self.report.say("nothing to do: every clip is embedded by every encoder asked for")
            return []
        wanted = [plan for plan in encoders if any(job.plan.name == plan.name and job.todo for job in self.jobs)]
        self._announce()
        lost: list[tuple[Task, Lost]] = []
        runner = self._runner()
        work = self.watch.work
        work.n_devices, work.queue = runner.n_devices, runner.queue
        if any(device.startswith("cuda") for device in runner.devices):
            work.utilisation = lambda: utilisation(runner.n_devices)
        if isinstance(self.stop, Stop):
            self.stop.at_once.append(runner.abandon)
        try:
            with self.report.working(self.watch.work) as step:
                self.watch.show(step)
                for group in groups(wanted, runner.memory_bytes()):
                    jobs = [job for job in self.jobs if job.plan in group and job.todo]
                    self._settle(jobs, runner)
                    lost += self._units(jobs, runner)
        finally:
            runner.close()
            if isinstance(self.stop, Stop):
                self.stop.at_once.clear()
        if self.where.runner is not None and self.where.worker is None:
            remove_partials(Path(self.pipeline.store))  # of processes that were killed
        keep_profile(self.pipeline.store, self.watch, self.where.worker)
        return lost

    def _runner(self) -> Runner:
        if self.where.runner is not None:
            return self.where.runner(self.pipeline, self.watch, self.stop)
        writers = {(job.corpus.name, job.plan.name): job.writer for job in self.jobs}
        session = Session(self.pipeline, tell=self.watch, loaded=self.loaded, writers=writers, stop=self.stop)
        return _Here(session, self.pipeline.store, self.watch)

    def _announce(self) -> None:
        facts = {f"{job.corpus.name}/{job.plan.name}": job.n_todo for job in self.jobs}
        held = {job.plan.name: job.writer.encoder.attrs.get("ignored_tensors") for job in self.jobs}
        ignored = {name: parts for name, parts in held.items() if parts}
        self.watch(
            Event("run_started", {"store": place(self.pipeline.store).name, "todo": facts, "ignored_tensors": ignored})
        )
        if self.where.runner is None:
            self.report.say(f"device: {self.loaded.device.describe()}")
            self.report.say(idle_gpu(self.loaded.device), "yellow")
        for job in self.jobs:
            if job.todo:
                random = " (random weights: for tests and demonstrations only)" if job.plan.is_random else ""
                n_clips = int(job.corpus.listing.used.sum())
                self.report.say(
                    f"{job.corpus.name} x {job.plan.name}: {job.n_todo} of {n_clips} clips to embed{random}"
                )

    def _settle(self, jobs: Sequence[Job], runner: Runner) -> None:
        """Measure batch budgets and the cost of low precision, where not known; keep them in the store."""
        by_name = {(job.corpus.name, job.plan.name): job for job in jobs}
        for task, found in runner.run(settle_tasks(jobs, self.pipeline.extract)):
            assert isinstance(task, SettleTask)
            if isinstance(found, Lost):
                raise RunError(f"{task.text}: {found.why}")
            assert isinstance(found, Settled)
            job = by_name[task.corpus, task.encoder]
            if task.calibrate:
                self.watch.budgets[task.corpus, task.encoder] = _settled(job, found)
                self.watch.kinds[task.corpus, task.encoder] = found.kind
            if found.precision is not None:
                self.report.say(f"{task.corpus} x {task.encoder}: {found.words}")
                job.writer.annotate(found.precision)

    def _units(self, jobs: Sequence[Job], runner: Runner) -> list[tuple[Task, Lost]]:
        lost: list[tuple[Task, Lost]] = []
        units = units_of(self.jobs, self.where.worker)
        done = 0
        for task, found in runner.run(unit_tasks(units, jobs, self.pipeline.extract, self.watch.budgets)):
            if isinstance(found, Lost):
                lost.append((task, found))
                if not done and len(lost) == MANY_LOST:
                    raise RunError(f"{_lost_text(lost)} Nothing else was tried.")
                continue
            assert isinstance(found, UnitReport)
            done += 1
            self.watch.unit_done(found)
            self._remember_halved(jobs, found)
        return lost

    def _remember_halved(self, jobs: Sequence[Job], found: UnitReport) -> None:
        """Keep a budget that had to be lowered, for the units and the runs to come."""
        for job in jobs:
            place = (job.corpus.name, job.plan.name)
            if (lower := found.halved.get(job.plan.name)) and lower < self.watch.budgets.get(place, 0):
                kind = self.watch.kinds[place]
                lower = self.watch.budgets[place] = int(job.writer.lower("batch_samples", {kind: lower})[kind])
                self.report.say(
                    f"{job.plan.name}: a batch did not fit in memory; from now on {lower / SAMPLE_RATE_HZ:.0f} s a batch",
                    "yellow",
                )


@dataclass(frozen=True)
class _Here:
    """Carries out tasks in this process."""

    session: Session
    store: str
    tell: Tell
    n_devices: int = 1

    @property
    def devices(self) -> Sequence[str]:
        return (self.session.loaded.device.name,)

    def memory_bytes(self) -> int:
        return self.session.loaded.memory_bytes

    def queue(self) -> str:
        return f"{self.session.n_ready} units ready for it"

    def run(self, tasks: Iterable[Task]) -> Iterator[Ended]:
        return run_here(self.session, tasks, store=self.store, tell=self.tell)

    def close(self) -> None:
        self.session.close()

    def abandon(self) -> None:
        return


def _settled(job: Job, found: Settled) -> int:
    """Return the batch budget that all go on with; one that was not measured holds for this run only."""
    if found.budget_samples is not None:
        return int(job.writer.settle("batch_samples", {found.kind: found.budget_samples})[found.kind])
    return int(job.writer.reader().attrs.get("batch_samples", {}).get(found.kind, found.unmeasured))


def _work(jobs: Sequence[Job], worker: tuple[int, int] | None) -> Work:
    """Return what this process has to see done: all, or a worker's share."""
    mine = {(unit.corpus, unit.unit) for unit in units_of(jobs, worker)}
    todo_s: dict[str, float] = {}
    n_todo = 0
    for job in jobs:
        parts = [rows for unit, rows in job.todo.items() if (job.corpus.name, unit) in mine]
        samples = sum(int(job.corpus.n_samples[rows].sum()) for rows in parts)
        todo_s[job.plan.name] = todo_s.get(job.plan.name, 0.0) + samples / SAMPLE_RATE_HZ
        n_todo += sum(map(len, parts))
    sizes = {job.plan.name: job.plan.card.n_parameters or 0 for job in jobs}
    return Work(todo_s, n_todo, sizes, speeds={name: Speed() for name in todo_s})


def _lost_text(lost: Sequence[tuple[Task, Lost]]) -> str:
    named = [f"{task.text}: {found.why}" for task, found in lost[:5]]
    more = [f"and {len(lost) - 5} more"] if len(lost) > 5 else []
    return (
        "\n  ".join([f"{len(lost)} units could not be done; all others are finished and kept:", *named, *more])
        + "\nRun the same command again once this is cured; only these are tried then."
    )


def _outcome(job: Job, watch: Watch) -> Outcome:
    ledger = job.writer.reader().ledger()
    listing = job.corpus.listing
    failed = listing.used & (ledger.status == FAILED)
    reasons = together(zip(job.corpus.clip[failed], ledger.reason[failed], strict=True))
    spent = watch.spent.get((job.corpus.name, job.plan.name), Spent())
    return Outcome(
        job.corpus.name,
        job.plan.name,
        int(listing.used.sum()),
        spent.n_clips,
        ledger.counts(listing.used),
        {with_names(reason, clips): len(clips) for reason, clips in reasons.items()},
        spent.audio_s,
        spent.compute_s + spent.write_s,
        spent.facts() if spent.n_clips else None,
        listing.counts()["unlisted"],
    )
