"""Who may write to a store in a bucket now: objects beside the store, put only if they are not there.

    .s.zarr.lock                  one plain writer
    .s.zarr.worker-2-of-3.lock    that worker, beside the others of its job
    .s.zarr.register.lock         the worker that is registering what all share

A writer puts its object anew every minute. It is taken over where its writer ran on this machine and is gone, or where it has not
been renewed for ten minutes; a writer that finds its own taken over stops. Each puts its own object before it looks for others,
so that of two at once at least one gives way. Times are compared with this machine's clock, which S3 wants right within 15
minutes anyway.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from zarr.core.sync import sync

from ..errors import ConfigError, StoreBusy, StoreError
from ..machine import is_running
from .buckets import Bucket, Fetched, open_bucket
from .location import Url
from .remote import lost_locks

log = logging.getLogger(__name__)

RENEW_S = 60.0
STALE_S = 600.0
POLL_S = 0.5

Say = Callable[[str], None]
_registering: set[tuple[str, int, int]] = set()
"""Store, process and thread of those that hold the registration lock here, so that it may be nested."""


@contextlib.contextmanager
def remote_lock(url: Url) -> Iterator[None]:
    """Hold the store at `url` for this process alone.

    Raises:
        StoreBusy: others are writing; the message says who, and how to go on if they are gone.
        StoreError: the place cannot be written to.
    """
    bucket = _writable(url)
    with _Lock(url, bucket, "lock").held():
        lost_locks.discard(url.shown)
        workers = _live(url, bucket, "worker-")
        if workers:
            raise _busy(url, workers[0])
        yield


class RemoteWorker:
    """One worker's hold on a store in a bucket. `alone` is True where no other worker is committing units."""

    def __init__(self, registering: contextlib.ExitStack, *, alone: bool) -> None:
        self.alone = alone
        self._registering = registering

    def registered(self) -> None:
        """Let the next worker register. Call it before the first unit."""
        self._registering.close()


@contextlib.contextmanager
def remote_worker_lock(
    url: Url, index: int, count: int, *, say: Say | None = None, wait_s: float = STALE_S
) -> Iterator[RemoteWorker]:
    """Hold the store at `url` as worker `index` of `count`, beside the other workers of the same job.

    Raises:
        StoreBusy: that worker runs already, workers of another count do, a plain writer does, or others registered
            for longer than `wait_s`.
    """
    if not 1 <= index <= count:
        raise ConfigError(f"worker {index}/{count}: expected a number from 1 to {count}, then the number of workers.")
    bucket = _writable(url)
    with _Lock(url, bucket, f"worker-{index}-of-{count}.lock").held(), contextlib.ExitStack() as registering:
        lost_locks.discard(url.shown)
        registering.enter_context(_registration(url, bucket, say, wait_s))
        for holder in (*_live(url, bucket, "lock"), *_live(url, bucket, "worker-")):
            if not holder.name.endswith((f"-of-{count}.lock", ".register.lock")):
                raise _busy(url, holder)
        others = [holder for holder in _live(url, bucket, "worker-") if f"worker-{index}-of-" not in holder.name]
        yield RemoteWorker(registering, alone=not others)


@contextlib.contextmanager
def remote_registration_lock(url: Url, *, say: Say | None = None, wait_s: float = STALE_S) -> Iterator[None]:
    """Hold the right to change groups, columns and attributes of the store at `url`. May be nested.

    Raises:
        StoreBusy: another kept it for longer than `wait_s`.
    """
    if (url.shown, os.getpid(), threading.get_ident()) in _registering:
        yield
        return
    with _registration(url, _writable(url), say, wait_s):
        yield


@contextlib.contextmanager
def _registration(url: Url, bucket: Bucket, say: Say | None, wait_s: float) -> Iterator[None]:
    me = (url.shown, os.getpid(), threading.get_ident())
    with _waited(_Lock(url, bucket, "register.lock"), say, wait_s):
        _registering.add(me)
        try:
            yield
        finally:
            _registering.discard(me)


@contextlib.contextmanager
def _waited(lock: _Lock, say: Say | None, wait_s: float) -> Iterator[None]:
    until, said = time.monotonic() + wait_s, False
    while True:
        try:
            with lock.held():
                yield
                return
        except StoreBusy:
            if lock.token is not None or time.monotonic() > until:
                raise
        if say is not None and not said:
            said = True
            say("waiting for another worker to register its clips")
        time.sleep(POLL_S)


def locked_by(url: Url) -> list[str]:
    """Return who holds a store in a bucket, gone or not, one text each."""
    return [str(holder) for holder in _holders(url, open_bucket(url))]


def unlock(url: Url) -> None:
    """Remove all locks of a store in a bucket. Its writers must be gone."""
    bucket = _writable(url)
    for holder in _holders(url, bucket):
        sync(bucket.delete(holder.name))


def _writable(url: Url) -> Bucket:
    bucket = open_bucket(url)
    if not bucket.writable:
        raise StoreError(
            f"store {url}: {url.scheme}:// can be read, not written to. Write to a folder or to a bucket (s3://, gs://, az://)."
        )
    return bucket


def _beside(url: Url, ending: str) -> str:
    folder, _, name = url.path.rpartition("/")
    return "/".join(filter(None, (folder, f".{name}.{ending}")))


def _holders(url: Url, bucket: Bucket) -> list[_Holder]:
    folder = url.path.rpartition("/")[0]
    names = sync(bucket.within(folder))[0]
    mine = re.compile(re.escape(_beside(url, "")) + r"(lock|register\.lock|worker-\d+-of-\d+\.lock)")
    found = {name: sync(bucket.get(name)) for name in sorted(names) if mine.fullmatch(name)}
    return [_Holder.read(name, fetched) for name, fetched in found.items() if fetched is not None]


def _live(url: Url, bucket: Bucket, kind: str) -> list[_Holder]:
    return [
        holder for holder in _holders(url, bucket) if holder.name.startswith(_beside(url, kind)) and not holder.gone
    ]


@dataclass(frozen=True)
class _Holder:
    """Who put the lock called `name`, and how many seconds ago it was renewed."""

    name: str
    host: str
    pid: int
    started: str
    mark: str
    age_s: float

    @staticmethod
    def read(name: str, fetched: Fetched) -> _Holder:
        """Return the holder that a lock object names; unknown where it is no lock of ours."""
        try:
            said = json.loads(fetched.data)
            host, pid, started, mark = str(said["host"]), int(said["pid"]), str(said["started"]), str(said["mark"])
        except (ValueError, KeyError, TypeError):
            host, pid, started, mark = "unknown", 0, "unknown", ""
        return _Holder(name, host, pid, started, mark, time.time() - fetched.version.modified_s)

    @property
    def gone(self) -> bool:
        """Whether its writer is known to be gone, or has been silent for too long."""
        return self.age_s > STALE_S or (self.host == socket.gethostname() and not is_running(self.pid))

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.started}"


class _Lock:
    def __init__(self, url: Url, bucket: Bucket, ending: str) -> None:
        self.url, self.bucket, self.key = url, bucket, _beside(url, ending)
        self.mark = uuid.uuid4().hex
        self.started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self.token: Any = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it, renewing it every minute, and remove it afterwards."""
        self._take()
        stop = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(stop,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            stop.set()
            renewing.join()
            self._release()

    def _take(self) -> None:
        found = sync(self.bucket.get(self.key))
        holder = None if found is None else _Holder.read(self.key, found)
        if holder is not None and not holder.gone:
            raise _busy(self.url, holder)
        instead = None if found is None else found.token
        sync(self.bucket.put(self.key, self._said(), instead_of=instead, new=found is None))
        if not self._is_mine():
            now = sync(self.bucket.get(self.key))
            raise _busy(self.url, None if now is None else _Holder.read(self.key, now))

    def _renew_until(self, stop: threading.Event) -> None:
        """Renew it every minute; where another has taken it over, let every further write fail."""
        while not stop.wait(RENEW_S):
            try:
                token = sync(self.bucket.put(self.key, self._said(), instead_of=self.token))
                if token is not None:
                    self.token = token
                elif not self._is_mine():
                    lost_locks.add(self.url.shown)
                    return
            except StoreError as error:  # a refusal may pass too, and a lock that is not renewed is soon another's
                log.warning("%s Its lock was not renewed; trying again in %.0f s.", error, RENEW_S)

    def _release(self) -> None:
        """Remove it if it is still this one's; where the store does not answer, it counts as gone in ten minutes."""
        with contextlib.suppress(StoreError):
            if self._is_mine():
                sync(self.bucket.delete(self.key))

    def _is_mine(self) -> bool:
        found = sync(self.bucket.get(self.key))
        if found is None or _Holder.read(self.key, found).mark != self.mark:
            return False
        self.token = found.token
        return True

    def _said(self) -> bytes:
        said = {"host": socket.gethostname(), "pid": os.getpid(), "started": self.started, "mark": self.mark}
        return json.dumps({**said, "renewed": time.time()}).encode()


def _busy(url: Url, holder: _Holder | None) -> StoreBusy:
    return StoreBusy(
        f"store {url}: another process is writing to it ({holder or 'unknown'}). Wait for it, or stop it; nothing it has "
        f"finished will be done again. If it is gone, its lock is taken over after {STALE_S / 60:.0f} minutes, or at once after "
        f"`voxcache store unlock {url}`."
    )
