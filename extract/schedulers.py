"""Units on a Dask cluster. Each of its worker processes keeps one session, with its encoders, for as long as the run lasts."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..cluster import Lost as ClusterLost
from ..cluster import connect, run_all
from ..pipeline import Pipeline
from .devices import choose_device
from .dispatch import Ended, Failure, failure_of, lost
from .events import Event, Tell
from .session import Session, Settled, UnitReport
from .units import Task


@dataclass(frozen=True)
class Order:
    """What a Dask worker is given: all that it has to know of the run, and one task."""

    run: str
    pipeline: Pipeline
    device: str
    task: Task


@dataclass(frozen=True)
class Answer:
    """What it gives back. `events` happened on the way; a `failure` is one that would meet every task."""

    result: UnitReport | Settled | None
    events: tuple[Event, ...] = ()
    failure: Failure | None = None


class OnCluster:
    """A runner (see `run.Runner`) on the Dask cluster behind `scheduler`; see `cluster.connect`."""

    def __init__(
        self, pipeline: Pipeline, scheduler: str, tell: Tell, stop: threading.Event, *, processes: int, run: str
    ) -> None:
        self._pipeline = pipeline
        self._tell = tell
        self._stop = stop
        self._run = run
        self._open = contextlib.ExitStack()
        self._client = self._open.enter_context(connect(scheduler, processes=processes, threads=THREADS))
        self.n_devices = max(len(self._client.nthreads()), 1)

    devices: Sequence[str] = ()
    """Not of this machine."""

    def memory_bytes(self) -> int:
        """Return what the weights of encoders may take, as a worker sees it; all are taken to be alike."""
        found: int = self._client.submit(_memory_bytes, self._pipeline.extract.device, pure=False).result()
        return found

    def queue(self) -> str:
        """Say nothing: Dask's own dashboard shows what waits."""
        return ""

    def run(self, tasks: Iterable[Task]) -> Iterator[Ended]:
        """Carry out tasks; see `dispatch.run_here`. Raises what would fail every other task as well."""
        orders = (Order(self._run, self._pipeline, self._pipeline.extract.device, task) for task in tasks)
        for order, answer in run_all(self._client, carry_out, orders, stop=self._stop.is_set):
            if isinstance(answer, ClusterLost):
                yield order.task, lost(order.task, Failure(answer.why), self._tell)
                continue
            for event in answer.events:
                self._tell(event)
            if answer.failure is not None:
                raise answer.failure.error()
            if answer.result is not None:
                yield order.task, answer.result

    def abandon(self) -> None:
        """Do nothing: Dask cancels what a client leaves behind."""

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        self._open.close()


THREADS = 2
"""Threads of a worker that is started here: one computes while the other decodes or writes."""


@dataclass
class _Mine:
    """A run's session in this worker process, what happened in it, and the tasks it has in hand."""

    session: Session
    events: deque[Event]
    n_busy: int = 0


_held: dict[str, _Mine] = {}
"""By run: several may share a cluster."""
_opening = threading.Lock()


def _memory_bytes(device: str) -> int:
    return choose_device(device).memory_bytes


def carry_out(order: Order) -> Answer:
    """Do one task in a Dask worker. Raises what may be tried again, elsewhere."""
    with _session(order) as mine:
        try:
            result: Any = mine.session.do(order.task)
        except Exception as error:
            failure = failure_of(error, order.pipeline.store)
            if not failure.fatal:
                raise RuntimeError(failure.why) from None  # Dask pickles it; the text is all that crosses safely
            return Answer(None, _taken(mine), failure)
        return Answer(result, _taken(mine))


@contextlib.contextmanager
def _session(order: Order) -> Iterator[_Mine]:
    """Yield the session of a run; where it begins, those of other runs that have nothing in hand end."""
    with _opening:
        if order.run not in _held:
            for run in [run for run, mine in _held.items() if not mine.n_busy]:
                _held.pop(run).session.close()
            events: deque[Event] = deque()
            session = Session(order.pipeline, device=order.device, tell=events.append)
            _held[order.run] = _Mine(session, events)
        mine = _held[order.run]
        mine.n_busy += 1
    try:
        yield mine
    finally:
        with _opening:
            mine.n_busy -= 1


def _taken(mine: _Mine) -> tuple[Event, ...]:
    """Take the events that happened since the last answer, batches added up by encoder."""
    events: list[Event] = []
    with contextlib.suppress(IndexError):
        while True:
            events.append(mine.events.popleft())
    sums: dict[str, dict[str, float]] = {}
    for event in events:
        if event.kind == "batch":
            held = sums.setdefault(str(event.facts["encoder"]), {"audio_s": 0.0, "busy_s": 0.0})
            held["audio_s"] += event.facts["audio_s"]
            held["busy_s"] += event.facts["busy_s"]
    batches = [Event("batch", {"encoder": name, **held}) for name, held in sums.items()]
    return (*(event for event in events if event.kind != "batch"), *batches)
