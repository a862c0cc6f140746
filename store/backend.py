"""Where a store lies: a local directory whose writes survive a power cut, and the lock that keeps writers apart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from ..errors import StoreBusy, StoreError


class DurableStore(LocalStore):
    """zarr's local store, with every object on the disk before the next is begun.

    zarr writes to a temporary file and renames it, so that no object is ever torn; without fsync a power cut can still
    keep the rename and lose the bytes, or keep a marker and lose what it marks.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object whole and wait until the disk has it."""
        self._check_writable()
        await asyncio.to_thread(_write_durably, self.root / key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one object unless it is there; only the process that holds the writer lock creates objects."""
        if not await self.exists(key):
            await self.set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one object whole and wait until the disk has it."""
        self._check_writable()
        _write_durably(self.root / key, value)


def _write_durably(path: Path, value: Buffer) -> None:
    _make_durable_dirs(path.parent)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(value.as_buffer_like())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_dir(path.parent)


def _make_durable_dirs(path: Path) -> None:
    if path.is_dir():
        return
    _make_durable_dirs(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    _sync_dir(path.parent)


def _sync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(root: Path) -> int:
    """Delete the temporary files that killed writers left; return how many. Only under the lock."""
    partials = list(root.rglob("*.partial"))
    for path in partials:
        path.unlink(missing_ok=True)
    return len(partials)


@contextlib.contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the store at `path` for writing; the kernel lets go when the process ends, however it ends.

    Raises:
        StoreBusy: another process holds it; the message says which.
    """
    try:
        import fcntl
    except ImportError:
        raise StoreError("writing a store needs a Unix-like system; reading works everywhere. Extract there.") from None
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreBusy(
                f"store {path.name}: another process is writing to it ({holder}). Wait for it, or stop it; nothing it "
                f"has finished will be done again."
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
