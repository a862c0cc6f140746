"""Several processes on this machine, one for each device, that take units from one queue.

Plain pipes and processes instead of a pool from the library: what has to be known is which units a process that died had in
hand, so that exactly those are done again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ..errors import RunError
from ..machine import usable_cores
from ..pipeline import Pipeline
from .devices import choose_device, decode_threads
from .dispatch import ATTEMPTS, Ended, Failure, failure_of, lost, retry
from .events import Event, Tell
from .jobs import Loaded
from .progress import Reporter
from .session import LANES, Session, Settled, Stopped, UnitReport
from .units import Task

SPAWN = multiprocessing.get_context("spawn")
"""A fork would inherit CUDA's state, which CUDA forbids, and locks held by other threads."""

TELL_EVERY_S = 0.5
"""Batches are told together, so that the display costs the workers nothing."""
JOIN_S = 30.0


@dataclass(frozen=True)
class Job:
    """What a worker process is started with."""

    pipeline: Pipeline
    device: str
    n_processes: int
    n_sharing: int
    """Processes on this same device."""


@dataclass
class _Worker:
    """One process, and the tasks it has in hand with the attempt each is at."""

    process: BaseProcess
    pipe: Connection
    device: str
    number: int
    held: dict[int, tuple[Task, int]] = field(default_factory=dict)
    alone: bool = False
    """Whether it has a task in hand that killed a process, or stood beside one that did: nothing else goes to it."""
    heard: bool = False
    """Whether it ever said anything, and so began."""


class Processes:
    """A runner (see `run.Runner`) with one process for each of `devices`; a device may be named several times.

    A process that dies costs what it had in hand: each of these is tried again in a process that does nothing else
    meanwhile, so that one poisonous clip cannot take its neighbours down with it.
    """

    def __init__(self, pipeline: Pipeline, devices: list[str], tell: Tell, stop: threading.Event) -> None:
        self.n_devices = len(devices)
        self.devices = tuple(devices)
        self._pipeline = pipeline
        self._tell = tell
        self._stop = stop
        self._ids = 0
        self._workers = [self._start(device, number) for number, device in enumerate(devices)]

    def memory_bytes(self) -> int:
        """Return what the weights of encoders may take in each process."""
        shares = [choose_device(name).memory_bytes // self.devices.count(name) for name in self.devices]
        return min(shares)

    def queue(self) -> str:
        """Say how many units the processes have in hand."""
        return f"{sum(len(worker.held) for worker in self._workers)} units in hand"

    def run(self, tasks: Iterable[Task]) -> Iterator[Ended]:
        """Carry out tasks; see `dispatch.run_here`."""
        source, again = iter(tasks), deque[tuple[Task, int]]()
        told_stop = False
        while True:
            if self._stop.is_set() and not told_stop:
                told_stop = True
                again.clear()
                for worker in self._workers:
                    with contextlib.suppress(OSError):
                        worker.pipe.send(None)
            if not self._stop.is_set():
                self._hand_out(source, again)
            if not any(worker.held for worker in self._workers) and (self._stop.is_set() or not again):
                return
            for worker in self._ready():
                yield from self._listen(worker, again)

    def close(self) -> None:
        """End the processes: those at work are given time to finish writing. None is left when this returns."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
        until = time.monotonic() + JOIN_S
        for worker in self._workers:
            worker.process.join(max(until - time.monotonic(), 0))
            worker.process.kill()  # the store's lock is let go of next, and a kill is harmless
            worker.process.join()
            worker.pipe.close()

    def abandon(self) -> None:
        """Kill the processes."""
        for worker in self._workers:
            worker.process.kill()

    def _start(self, device: str, number: int) -> _Worker:
        ours, theirs = SPAWN.Pipe()
        job = Job(self._pipeline, device, self.n_devices, self.devices.count(device))
        process = SPAWN.Process(target=serve, args=(theirs, job), name=f"voxcache-{number}", daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, device, number)

    def _hand_out(self, source: Iterator[Task], again: deque[tuple[Task, int]]) -> None:
        """Keep every worker busy: suspects alone first, then fresh tasks to whoever has fewest."""
        for worker in self._workers:
            if again and not worker.held:
                worker.alone = True
                self._give(worker, *again.popleft())
        while free := [worker for worker in self._workers if not worker.alone and len(worker.held) < LANES]:
            task = next(source, None)
            if task is None:
                return
            self._give(min(free, key=lambda worker: (len(worker.held), worker.number)), task, 1)

    def _give(self, worker: _Worker, task: Task, attempt: int) -> None:
        self._ids += 1
        worker.held[self._ids] = (task, attempt)
        with contextlib.suppress(OSError):  # it just died: noticed by `_listen`
            worker.pipe.send((self._ids, task))

    def _ready(self) -> list[_Worker]:
        """Return the workers that said something or ended."""
        by_handle = {worker.pipe: worker for worker in self._workers}
        return [by_handle[pipe] for pipe in wait(list(by_handle), timeout=1.0) if isinstance(pipe, Connection)]

    def _listen(self, worker: _Worker, again: deque[tuple[Task, int]]) -> Iterator[Ended]:
        try:
            what, number, content = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._bury(worker, again)
            return
        worker.heard = True
        if what == "event":
            self._tell(content)
            return
        if what == "failed" and content.fatal:
            raise content.error()
        task, attempt = worker.held.pop(number)
        worker.alone = worker.alone and bool(worker.held)
        if what == "done":
            yield task, content
        elif what == "failed":
            yield from self._again(task, attempt, content, again)

    def _again(self, task: Task, attempt: int, failure: Failure, again: deque[tuple[Task, int]]) -> Iterator[Ended]:
        if attempt < ATTEMPTS:
            self._tell(retry(task, attempt, failure))
            again.append((task, attempt + 1))
        else:
            yield task, lost(task, failure, self._tell)

    def _bury(self, worker: _Worker, again: deque[tuple[Task, int]]) -> Iterator[Ended]:
        """Replace a process that died, and take back what it had in hand."""
        worker.process.join()
        code = worker.process.exitcode
        how = f"signal {-code}" if code and code < 0 else f"exit code {code}"
        held = list(worker.held.values())
        facts = {"worker": worker.number, "device": worker.device, "how": how, "tasks": [task.text for task, _ in held]}
        self._tell(Event("worker_lost", facts))
        if not held and not worker.heard and not self._stop.is_set():
            raise RunError(
                f"worker {worker.number} on {worker.device}: its process ended by {how} before it began. What it printed "
                f"stands above; `voxcache doctor` shows what works here."
            )
        if self._stop.is_set():
            worker.held.clear()
            return
        self._workers[self._workers.index(worker)] = self._start(worker.device, worker.number)
        for task, attempt in held:
            failure = Failure(f"the process that did it ended by {how}, {attempt} times")
            yield from self._again(task, attempt, failure, again)


def serve(pipe: Connection, job: Job) -> None:
    """Be a worker process: take tasks from the pipe until it says None or closes, finishing what is in hand."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    speaker = _Speaker(pipe)
    try:
        session = _session(job, speaker.tell, stop)
    except Exception as error:  # such as a device that is not there
        speaker.say("failed", 0, replace(failure_of(error, job.pipeline.store), fatal=True))
        return
    with ThreadPoolExecutor(LANES, "lane") as lanes:
        while (message := _received(pipe)) is not None:
            lanes.submit(_carry_out, session, *message, job.pipeline.store, speaker)
        stop.set()


def _received(pipe: Connection) -> tuple[int, Task] | None:
    """Return the next task; None where there are no more, or where the process that started us is gone."""
    try:
        message: tuple[int, Task] | None = pipe.recv()
    except (EOFError, OSError):
        return None
    return message


def _session(job: Job, tell: Tell, stop: threading.Event) -> Session:
    if job.device == "cpu" or job.n_processes > 1:
        import torch

        torch.set_num_threads(max(1, usable_cores() // job.n_processes))
    settings = job.pipeline.extract
    workers = settings.workers or decode_threads(job.n_processes)
    pipeline = job.pipeline.model_copy(update={"extract": settings.model_copy(update={"workers": workers})})
    loaded = Loaded(job.device, Reporter(quiet=True), n_sharing=job.n_sharing)
    return Session(pipeline, tell=tell, loaded=loaded, stop=stop)


def _carry_out(session: Session, number: int, task: Task, store: str, speaker: _Speaker) -> None:
    result: UnitReport | Settled
    try:
        result = session.do(task)
    except Stopped:
        speaker.say("stopped", number, None)
    except BaseException as error:  # what goes wrong here is for the other process to judge
        speaker.say("failed", number, failure_of(error, store))
    else:
        speaker.say("done", number, result)


class _Speaker:
    """The worker's side of the pipe, shared by its lanes."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._batches: dict[str, dict[str, float]] = {}
        self._last = time.monotonic()

    def say(self, what: str, number: int, content: object) -> None:
        """Send one message; nobody listens any more where the other process is gone."""
        with self._lock, contextlib.suppress(OSError):
            self._flush()
            self._pipe.send((what, number, content))

    def tell(self, event: Event) -> None:
        """Pass an event on; batches are added up and told a few times a second."""
        if event.kind != "batch":
            self.say("event", 0, event)
            return
        with self._lock, contextlib.suppress(OSError):
            sums = self._batches.setdefault(str(event.facts["encoder"]), {"audio_s": 0.0, "busy_s": 0.0})
            sums["audio_s"] += event.facts["audio_s"]
            sums["busy_s"] += event.facts["busy_s"]
            if time.monotonic() - self._last > TELL_EVERY_S:
                self._flush()

    def _flush(self) -> None:
        for encoder, sums in self._batches.items():
            self._pipe.send(("event", 0, Event("batch", {"encoder": encoder, **sums})))
        self._batches.clear()
        self._last = time.monotonic()
