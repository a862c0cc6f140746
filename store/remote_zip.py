"""A store in one .zip at a URL: its table of contents is read once, then parts of entries by their offsets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

import zarr
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.sync import sync

from ..errors import IntegrityError, SchemaError
from . import guard
from .archive import entry_problem
from .buckets import open_bucket
from .cache import open_cache
from .location import Url
from .remote import CONCURRENCY, Reader
from .zipped import HEADER, ZipEntries, byte_bounds, header_bytes

TAIL_BYTES = 1 << 18
"""First guess at where the table of contents begins, from the end; 2,000 entries fit."""
SMALL_BYTES = 1 << 16
"""Entries up to here are fetched together with the header before them."""
SLACK = 256


def zip_root(url: Url) -> zarr.Group:
    """Return the root group of a store in a .zip at a URL, for reading.

    Raises:
        SchemaError: nothing there, not a zip, entries that are compressed or lie outside, no Zarr group.
    """
    reader = Reader(url, open_bucket(url), open_cache(), listed=False)
    version = sync(reader.version(""))
    if version is None:
        raise SchemaError(f"store {url}: expected a .zip there, found none. Check the address.")
    if zarr.config.get("async.concurrency") < CONCURRENCY:
        zarr.config.set({"async.concurrency": CONCURRENCY})
    try:
        entries = _entries(reader, version.size)
        problem = next((text for text in map(entry_problem, entries) if text), None)
        if problem is None:
            table = [(entry.filename, entry.header_offset, entry.file_size) for entry in entries]
            guard.entries(table, version.size, f"store {url}")
            return zarr.open_group(RemoteZip(reader, entries, version.size), mode="r", zarr_format=3)
    except (zipfile.BadZipFile, FileNotFoundError, ValueError, KeyError, NotImplementedError) as error:
        raise SchemaError(
            f"store {url}: expected a .zip with a Zarr group at its top, got something else ({error}). Ask for it again, made "
            f"with `voxcache store pack`."
        ) from None
    raise SchemaError(f"store {url}: {problem} Unzip it only if you trust it; a packed store has no such entry.")


def _entries(reader: Reader, size: int) -> list[zipfile.ZipInfo]:
    start = max(0, size - TAIL_BYTES)
    while True:
        data = sync(reader.get("", RangeByteRequest(start, size) if start else None)) or b""
        try:
            with zipfile.ZipFile(_Tail(data, start)) as archive:
                return archive.infolist()
        except _Before as before:
            start = before.offset


class _Before(Exception):
    """The table of contents begins before what was fetched."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


class _Tail(io.RawIOBase):
    """The end of a file, at its place."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.start, self.position = data, start, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the place in the whole file."""
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the whole file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.start + len(self.data)}[whence]
        self.position = max(0, base + offset)
        return self.position

    def read(self, size: int = -1) -> bytes:
        """Return bytes from here. Raises `_Before` where they were not fetched."""
        if self.position < self.start:
            raise _Before(self.position)
        first = self.position - self.start
        data = self.data[first:] if size < 0 else self.data[first : first + size]
        self.position += len(data)
        return data


class RemoteZip(ZipEntries):
    """The entries of a .zip at a URL."""

    far = True

    def __init__(self, reader: Reader, entries: Iterable[zipfile.ZipInfo], size: int) -> None:
        super().__init__(entries)
        self.reader, self.size = reader, size
        self._begins: dict[str, int] = {}

    def __eq__(self, value: object) -> bool:
        return isinstance(value, RemoteZip) and value.reader.url == self.reader.url

    def __str__(self) -> str:
        return self.reader.url.shown

    def __repr__(self) -> str:
        return f"RemoteZip({self.reader.url.shown!r})"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an entry or a range of it, None where it is not there."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        first, last = byte_bounds(byte_range, entry.file_size)
        if key not in self._begins and entry.file_size <= SMALL_BYTES:
            data = (await self._with_header(entry))[first:last]
        else:
            begin = await self._begin(entry)
            data = await self._fetch(begin + first, begin + last) if last > first else b""
        return guard.checked(key, prototype.buffer.from_bytes(data), byte_range)

    async def _with_header(self, entry: zipfile.ZipInfo) -> bytes:
        """Fetch header and data of a small entry in one piece, and the rest if the header is longer than expected."""
        start = entry.header_offset
        stop = start + HEADER.size + len(entry.filename.encode()) + SLACK + entry.file_size
        raw = await self._fetch(start, min(stop, self.size))
        begin = self._begins[entry.filename] = start + header_bytes(entry.filename, raw)
        if begin + entry.file_size > stop:
            return await self._fetch(begin, begin + entry.file_size)
        return raw[begin - start : begin - start + entry.file_size]

    async def _begin(self, entry: zipfile.ZipInfo) -> int:
        if entry.filename not in self._begins:
            raw = await self._fetch(entry.header_offset, entry.header_offset + HEADER.size)
            self._begins[entry.filename] = entry.header_offset + header_bytes(entry.filename, raw)
        return self._begins[entry.filename]

    async def _fetch(self, start: int, stop: int) -> bytes:
        data = await self.reader.get("", RangeByteRequest(start, stop))
        if data is None or len(data) < stop - start:
            raise IntegrityError(
                f"store {self}: it ends before its table of contents says, or was replaced. Open it again."
            )
        return data
