"""Who may write to a store now. The kernel holds the locks, so a process that ends lets go of them, however it ends.

Beside the store `s.zarr` lie
    .s.zarr.lock                  exclusive for one plain writer, shared by workers that commit units
    .s.zarr.register.lock         exclusive for whoever changes what all share: groups, columns, attributes
    .s.zarr.worker-2-of-3.lock    exclusive for that worker, so that no part of the work is done twice
    .holder.<any of these>        who holds it, in words

Readers take none: what they can see is whole at every moment (see `write`).
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import ConfigError, StoreBusy, StoreError
from .location import Url
from .location import place as located
from .lockfile import holder, myself, open_lock, removed_after, shared_instead, signed_by, take, try_lock

REGISTERING_S = 600.0
"""How long a worker waits for others to register; 100,000 clips and three encoders take less than a minute."""
PATIENCE_S = 3.0
"""A wait shorter than this is not mentioned."""
PROBE_S = 0.5
"""Others touch a worker's lock file for an instant, to see whether it is held; a worker lasts longer."""

if TYPE_CHECKING:
    from .remote_lock import RemoteWorker

Say = Callable[[str], None]
_registering: set[tuple[Path, int, int]] = set()
"""Store, process and thread of those that hold the registration lock here, so that it may be nested."""


@contextlib.contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the store at `path` for this process alone: no other writer and no worker is there.

    Raises:
        StoreBusy: others are writing; the message says who.
        StoreError: the place cannot be written to.
    """
    where = located(path)
    if isinstance(where, Url):
        from .remote_lock import remote_lock

        with remote_lock(where):
            yield
        return
    _require_writable(where)
    place = _beside(where, "lock")
    with open_lock(place) as file:
        if not try_lock(file, exclusive=True):
            raise _busy(where)
        with signed_by(place, myself()):
            yield


class WorkerLock:
    """One worker's hold on a store. `alone` is True where no other worker is committing units."""

    def __init__(self, path: Path, writing: IO[bytes], registering: contextlib.ExitStack, *, alone: bool) -> None:
        self.alone = alone
        self._path = path
        self._writing = writing
        self._registering = registering
        self._registered = False

    def registered(self) -> None:
        """Let the next worker register, and hold the store only against plain writers. Call it before the first unit.

        Raises:
            StoreBusy: another process took the store at this very moment.
        """
        if self._registered:
            return
        if self.alone and not shared_instead(self._writing):
            raise _busy(self._path)
        self._registered = True
        self._registering.close()


@contextlib.contextmanager
def worker_lock(
    path: Path, index: int, count: int, *, say: Say | None = None, wait_s: float = REGISTERING_S
) -> Iterator[WorkerLock | RemoteWorker]:
    """Hold the store at `path` as worker `index` of `count`, beside the other workers of the same job.

        with worker_lock(path, 2, 3, say=report.say) as lock:
            ...            # register: no one else does, others may commit units unless lock.alone
            lock.registered()
            ...            # commit units that are this worker's only

    Args:
        index: 1 to `count`.
        say: told, in a sentence, when registering has to wait for another worker.

    Raises:
        StoreBusy: that worker runs already, workers of another count do, a plain writer does, or others registered
            for longer than `wait_s`.
        StoreError: the place cannot be written to.
    """
    where = located(path)
    if isinstance(where, Url):
        from .remote_lock import remote_worker_lock

        with remote_worker_lock(where, index, count, say=say, wait_s=wait_s) as remote:
            yield remote
        return
    if not 1 <= index <= count:
        raise ConfigError(f"worker {index}/{count}: expected a number from 1 to {count}, then the number of workers.")
    _require_writable(where)
    with contextlib.ExitStack() as stack:
        place = _beside(where, f"worker-{index}-of-{count}.lock")
        mine = stack.enter_context(removed_after(place, take(place, PROBE_S)))
        if mine is None:
            raise StoreBusy(f"store {where.name}: {holder(place)} runs already. Start each worker once.")
        stack.enter_context(signed_by(place, f"worker {index} of {count}, {myself()}"))
        _require_one_count(where, count)
        registering = stack.enter_context(contextlib.ExitStack())
        registering.enter_context(registration_lock(where, say=say, wait_s=wait_s))
        writing = stack.enter_context(open_lock(_beside(where, "lock")))
        alone = try_lock(writing, exclusive=True)
        if not alone and not try_lock(writing, exclusive=False):
            raise _busy(where, me=place)
        yield WorkerLock(where, writing, registering, alone=alone)


@contextlib.contextmanager
def registration_lock(path: Path | Url, *, say: Say | None = None, wait_s: float = REGISTERING_S) -> Iterator[None]:
    """Hold the right to change groups, columns and attributes, beside workers that commit units. May be nested.

    Raises:
        StoreBusy: another process kept it for longer than `wait_s`.
    """
    where = located(path)
    if isinstance(where, Url):
        from .remote_lock import remote_registration_lock

        with remote_registration_lock(where, say=say, wait_s=wait_s):
            yield
        return
    me = (where.absolute(), os.getpid(), threading.get_ident())
    if me in _registering:
        yield
        return
    place = _beside(where, "register.lock")
    file = take(place, min(PATIENCE_S, wait_s))
    if file is None:
        if say is not None:
            say(f"waiting for another worker to register its clips ({holder(place)})")
        file = take(place, wait_s)
    with removed_after(place, file):
        if file is None:
            raise StoreBusy(
                f"store {where.name}: another process has been registering for {wait_s:.0f} s ({holder(place)}). See what "
                f"it does; then run the same command again."
            )
        _registering.add(me)
        try:
            with signed_by(place, myself()):
                yield
        finally:
            _registering.discard(me)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")


def _require_writable(path: Path) -> None:
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(
            f"store {path}: cannot be written to: no permission, or a read-only file system. Reading works; to change it, "
            f"copy it to a place of your own."
        )


def _held_workers(path: Path) -> list[Path]:
    """Return the lock files of workers that run now."""
    held = []
    for place in sorted(path.parent.glob(f".{glob.escape(path.name)}.worker-*-of-*.lock")):
        with contextlib.suppress(FileNotFoundError), place.open("rb") as file:
            if not try_lock(file, exclusive=False):
                held.append(place)
    return held


def _require_one_count(path: Path, count: int) -> None:
    others = [place for place in _held_workers(path) if not re.search(rf"-of-{count}\.lock$", place.name)]
    if others:
        raise StoreBusy(
            f"store {path.name}: expected workers of one count, but {holder(others[0])} runs and this would be one of "
            f"{count}. Wait for it, or stop it."
        )


def _busy(path: Path, me: Path | None = None) -> StoreBusy:
    workers = "; ".join(holder(place) for place in _held_workers(path) if place != me)
    return StoreBusy(
        f"store {path.name}: another process is writing to it ({workers or holder(_beside(path, 'lock'))}). Wait for it, or "
        f"stop it; nothing it has finished will be done again."
    )
