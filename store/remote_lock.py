"""Who may write to a store in a bucket now: an object beside the store, put only if it is not there.

`.name.zarr.lock` holds who writes, and its writer puts it anew every minute. It is taken over where its writer ran on this machine
and is gone, or where it has not been renewed for ten minutes; a writer that finds its lock taken over stops. Times are compared
with this machine's clock, which S3 requires to be right within 15 minutes anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zarr.core.sync import sync

from ..errors import StoreBusy, StoreError, StoreUnreachable
from .buckets import Bucket, Fetched, open_bucket
from .location import Url
from .remote import lost_locks

RENEW_S = 60.0
STALE_S = 600.0


@contextlib.contextmanager
def remote_lock(url: Url) -> Iterator[None]:
    """Hold the store at `url` for writing.

    Raises:
        StoreBusy: another process holds it; the message says which, and how to go on if it is gone.
        StoreError: the place cannot be written to.
    """
    bucket = open_bucket(url)
    if not bucket.writable:
        raise StoreError(f"store {url}: {url.scheme}:// can be read, not written to. Write to a folder or to a bucket.")
    lock = _Lock(url, bucket)
    lock.take()
    stop = threading.Event()
    renewing = threading.Thread(target=lock.renew_until, args=(stop,), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        stop.set()
        renewing.join()
        lock.release()


def unlock(url: Url) -> str | None:
    """Remove the lock of a store whose writer is gone; return who held it, None where nobody did."""
    bucket = open_bucket(url)
    found = sync(bucket.get(lock_key(url)))
    if found is None:
        return None
    sync(bucket.delete(lock_key(url)))
    return str(_Holder.read(found))


def lock_key(url: Url) -> str:
    """Return the key of the lock: beside the store, so that no reader meets it."""
    folder, _, name = url.path.rpartition("/")
    return "/".join(filter(None, (folder, f".{name}.lock")))


@dataclass(frozen=True)
class _Holder:
    """Who wrote a lock, and when it was renewed, in seconds ago."""

    host: str
    pid: int
    started: str
    mark: str
    age_s: float

    @staticmethod
    def read(fetched: Fetched) -> _Holder:
        """Return the holder that a lock object names; unknown where it is no lock of ours."""
        try:
            said = json.loads(fetched.data)
            host, pid, started, mark = str(said["host"]), int(said["pid"]), str(said["started"]), str(said["mark"])
        except (ValueError, KeyError, TypeError):
            host, pid, started, mark = "unknown", 0, "unknown", ""
        return _Holder(host, pid, started, mark, time.time() - fetched.version.modified_s)

    @property
    def gone(self) -> bool:
        """Whether its writer is known to be gone, or has been silent for too long."""
        return self.age_s > STALE_S or (self.host == socket.gethostname() and not _runs(self.pid))

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.started}"


class _Lock:
    def __init__(self, url: Url, bucket: Bucket) -> None:
        self.url, self.bucket, self.key = url, bucket, lock_key(url)
        self.mark = uuid.uuid4().hex
        self.started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self.token: Any = None

    def take(self) -> None:
        """Put the lock where none is, or in place of one whose writer is gone."""
        found = sync(self.bucket.get(self.key))
        holder = None if found is None else _Holder.read(found)
        if holder is not None and not holder.gone:
            raise self._busy(holder)
        token = None if found is None else found.token
        self.token = sync(self.bucket.put(self.key, self._said(), instead_of=token, new=found is None))
        if not self._is_mine():
            now = sync(self.bucket.get(self.key))
            raise self._busy(None if now is None else _Holder.read(now))
        lost_locks.discard(self.url.shown)

    def renew_until(self, stop: threading.Event) -> None:
        """Renew the lock every minute; where another has taken it over, let every further write fail."""
        while not stop.wait(RENEW_S):
            with contextlib.suppress(StoreUnreachable):
                self.token = sync(self.bucket.put(self.key, self._said(), instead_of=self.token))
                if self.token is None and not self._is_mine():
                    lost_locks.add(self.url.shown)
                    return

    def release(self) -> None:
        """Remove the lock if it is still this one's; where the store does not answer it will count as gone in ten minutes."""
        with contextlib.suppress(StoreError):
            if self._is_mine():
                sync(self.bucket.delete(self.key))

    def _is_mine(self) -> bool:
        found = sync(self.bucket.get(self.key))
        if found is None or _Holder.read(found).mark != self.mark:
            return False
        self.token = found.token
        return True

    def _said(self) -> bytes:
        said = {"host": socket.gethostname(), "pid": os.getpid(), "started": self.started, "mark": self.mark}
        return json.dumps({**said, "renewed": time.time()}).encode()

    def _busy(self, holder: _Holder | None) -> StoreBusy:
        return StoreBusy(
            f"store {self.url}: another process is writing to it ({holder or 'unknown'}). Wait for it, or stop it; nothing it "
            f"has finished will be done again. If it is gone, its lock is taken over after {STALE_S / 60:.0f} minutes, or at "
            f"once after `voxcache store unlock`."
        )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
