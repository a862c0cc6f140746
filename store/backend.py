"""Where a store lies: a local directory whose writes survive a power cut; `locks` keeps writers apart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from .locks import writer_lock as writer_lock


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
