"""Where a store lies: a local directory whose writes survive a power cut; `locks` keeps writers apart."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest
from zarr.storage import LocalStore

from . import guard
from .files import move, patiently, patiently_async, to_disk
from .location import Url, place
from .locks import writer_lock as writer_lock

SYNC_THREADS = 8
_GROUP: ContextVar[Group | None] = ContextVar("objects written together", default=None)
"""zarr runs its input and output on threads of its own, in the context of the caller."""


class DurableStore(LocalStore):
    """zarr's local store, with every object on the disk before the next is begun.

    zarr writes to a temporary file and renames it, so that no object is ever torn; without fsync a power cut can still
    keep the rename and lose the bytes, or keep a marker and lose what it marks.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object whole and wait until the disk has it, at the end of the group where there is one."""
        self._check_writable()
        await asyncio.to_thread(self._write, key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one object unless it is there; only the process that holds the writer lock creates objects."""
        if not await self.exists(key):
            await self.set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one object whole and wait until the disk has it, at the end of the group where there is one."""
        self._check_writable()
        self._write(key, value)

    def _write(self, key: str, value: Buffer) -> None:
        group = _GROUP.get()
        if group is not None and not group.finished:
            group.add(self.root / key, value)
            return
        with together():
            self._write(key, value)

    def _shown(self, key: str) -> None:
        group = _GROUP.get()
        if group is not None and self.root / key in group.waiting:
            group.show()

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object, part of it on request; None where there is none."""
        self._shown(key)
        guard.own_file(self.root, self.root / key)
        read = super().get
        found = await patiently_async(lambda: read(key, prototype, byte_range), self.root / key)
        return guard.checked(key, found, byte_range)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object, part of it on request; None where there is none."""
        self._shown(key)
        guard.own_file(self.root, self.root / key)
        read = super().get_sync
        found = patiently(lambda: read(key, prototype=prototype, byte_range=byte_range), self.root / key)
        return guard.checked(key, found, byte_range)

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        self._shown(key)
        return await super().exists(key)

    async def delete(self, key: str) -> None:
        """Remove an object."""
        self._shown(key)
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        show()
        await super().delete_dir(prefix)

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the objects below a prefix."""
        show()
        async for key in super().list_prefix(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield what lies directly below a prefix."""
        show()
        async for key in super().list_dir(prefix):
            yield key


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Let the objects that this thread writes to local stores inside appear together at the end, all on the disk by then.

    It is for objects whose order among themselves does not matter, but that the zarr.json of a node comes after its chunks:
    what has to come after them is written after the group. Reading one shows all so far. After an error those not yet
    shown are gone. To a remote store every object is written at once.
    """
    outer = _GROUP.get()
    if outer is not None and not outer.finished:
        yield
        return
    group = Group()
    token = _GROUP.set(group)
    try:
        yield
        group.show()
        group.finished = True
    finally:
        _GROUP.reset(token)
        group.forget()


def show() -> None:
    """Let the objects written together so far appear before what is written next."""
    group = _GROUP.get()
    if group is not None:
        group.show()


class Group:
    """Objects written to temporary files, to be made durable and shown under their names at once."""

    def __init__(self) -> None:
        self.waiting: dict[Path, Path] = {}
        self._new_dirs: set[Path] = set()
        self.finished = False
        self._given_up = False
        self._one_at_a_time = threading.Lock()

    def add(self, path: Path, value: Buffer) -> None:
        """Write an object beside its place."""
        with self._one_at_a_time:
            if self._given_up:  # a chunk that zarr was writing beside one that failed
                return
            self._make_dirs(path.parent)
            partial = self.waiting.setdefault(path, path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial"))
            _fill(partial, value)

    def show(self) -> None:
        """Wait until the disk has all objects, give each its name, node documents last, and wait for the names."""
        with self._one_at_a_time:
            _sync_all(self.waiting.values())
            folders = {path.parent for path in self.waiting} | self._new_dirs
            for path in sorted(self.waiting, key=_turn):
                _appear(self.waiting[path], path)
                del self.waiting[path]
            _sync_all(folders)
            self._new_dirs.clear()

    def forget(self) -> None:
        """Remove what was not shown, and take no more unless all was."""
        with self._one_at_a_time:
            self._given_up = not self.finished
            for partial in self.waiting.values():
                partial.unlink(missing_ok=True)
            self.waiting.clear()

    def _make_dirs(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make_dirs(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        self._new_dirs.add(path.parent)


def _fill(partial: Path, value: Buffer) -> None:
    with partial.open("wb") as file:
        file.write(value.as_buffer_like())


def _turn(path: Path) -> tuple[bool, int]:
    """Chunks first; then documents, a group's before those of what is in it, else a kill leaves what no group lists."""
    is_document = path.name == "zarr.json"
    return is_document, len(path.parts) if is_document else 0


def _appear(partial: Path, path: Path) -> None:
    move(partial, path)


def _sync_all(paths: Iterable[Path]) -> None:
    """Wait until the disk has these files and folders; several at once, because a disk takes them together."""
    paths = list(paths)
    if len(paths) < 2:
        for path in paths:
            to_disk(path)
        return
    with ThreadPoolExecutor(min(len(paths), SYNC_THREADS)) as pool:
        list(pool.map(to_disk, paths))


def remove_partials(path: str | Path) -> int:
    """Delete the temporary files that killed writers left; return how many (none at a URL). Only under the lock."""
    where = place(path)
    if isinstance(where, Url):
        return 0
    partials = list(where.rglob("*.partial"))
    for partial in partials:
        partial.unlink(missing_ok=True)
    return len(partials)
