"""What may be tried again and what ends a run; the plainest way to carry out tasks: in this process."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ..errors import KeyMismatch, RunError, SchemaError, StoreBusy, StoreError, StoreUnreachable, VoxcacheError
from ..store.location import redacted
from .events import Event, Tell
from .session import LANES, Session, Settled, Stopped, UnitReport
from .units import Task

ATTEMPTS = 3
"""How often a unit is tried before it is given up and named."""

ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "the quota is used up. Free some space",
    errno.EROFS: "the file system is read-only. Choose another place for `store:`",
    errno.EACCES: "writing is not permitted. Change the permissions or the place of `store:`",
    errno.EPERM: "writing is not permitted. Change the permissions or the place of `store:`",
}
"""Errors of the disk that trying again does not cure, and what does."""


@dataclass(frozen=True)
class Failure:
    """Why a task failed, as text that any process can read. `fatal`: the same would happen to every other task."""

    why: str
    detail: str = ""
    fatal: bool = False
    exit_code: int = 1

    def error(self) -> VoxcacheError:
        """Return it as the exception that ends the run."""
        found = RunError(self.why)
        found.exit_code = self.exit_code
        return found


@dataclass(frozen=True)
class Lost:
    """A task that failed `ATTEMPTS` times, or whose process died as often."""

    why: str


Ended = tuple[Task, UnitReport | Settled | Lost]


def failure_of(error: BaseException, store: str) -> Failure:
    """Return what an exception means for the run."""
    detail = "".join(traceback.format_exception(error))
    if isinstance(error, OSError) and error.errno in ADVICE:
        return Failure(explain(error, store), detail, fatal=True, exit_code=StoreError.exit_code)
    final = KeyMismatch | SchemaError | StoreBusy | StoreUnreachable  # the last was waited for already
    again = isinstance(error, StoreError) and not isinstance(error, final)
    if isinstance(error, VoxcacheError):
        return Failure(str(error), detail, fatal=not again, exit_code=error.exit_code)
    return Failure(f"{type(error).__name__}: {error}", detail)


def explain(error: OSError, store: str) -> str:
    """Return what to do about an error of the disk."""
    return (
        f"store {redacted(store)}: {ADVICE[error.errno or 0]}, then run the same command again; what is written is whole "
        f"and is not done again."
    )


def run_here(session: Session, tasks: Iterable[Task], *, store: str, tell: Tell) -> Iterator[Ended]:
    """Carry out tasks in lanes of this process, a few at a time, and yield them as they end.

    A failing one is tried again, `ATTEMPTS` times in all. Ends early, without a word, where the session was asked to stop.

    Raises:
        VoxcacheError, OSError: what would fail every other task as well; nothing more is begun.
    """
    waiting: dict[Future[UnitReport | Settled], tuple[Task, int]] = {}
    source = iter(tasks)
    with ThreadPoolExecutor(LANES, "lane") as lanes, session.ending_with_its_caller():
        while True:
            while len(waiting) < LANES and not session.stop.is_set() and (task := next(source, None)) is not None:
                waiting[lanes.submit(session.do, task)] = (task, 1)
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                task, attempt = waiting.pop(future)
                error = future.exception()
                if error is None:
                    yield task, future.result()
                elif isinstance(error, Stopped):
                    continue
                elif (failure := failure_of(error, store)).fatal:
                    raise error
                elif attempt < ATTEMPTS:
                    tell(retry(task, attempt, failure))
                    waiting[lanes.submit(session.do, task)] = (task, attempt + 1)
                else:
                    yield task, lost(task, failure, tell)


def retry(task: Task, attempt: int, failure: Failure) -> Event:
    """Return the event that a task is tried again."""
    return Event("retry", {"task": task.text, "attempt": attempt, "why": failure.why, "detail": failure.detail})


def lost(task: Task, failure: Failure, tell: Tell) -> Lost:
    """Tell that a task is given up, and return it as lost."""
    tell(Event("unit_lost", {"task": task.text, "attempts": ATTEMPTS, "why": failure.why, "detail": failure.detail}))
    return Lost(failure.why)
