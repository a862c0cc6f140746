"""A store in one .h5: the same groups, arrays and attributes, so that h5py alone reads it.

Every group and dataset also keeps its Zarr document as the attribute `zarr.json`. With it the file can stand for the store it
was packed from: `H5Store` gives each object with its values, made again from the dataset when it is asked for. It is not
always the same bytes (a chunk of fill values may be left out of an object or not), so an .h5 has no manifest: its values have
their digests, and the file has its SHA-256 beside it.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
import zarr
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from ..errors import SchemaError
from . import guard
from .document import document
from .extras import package
from .files import move, to_disk
from .zipped import byte_bounds

DOCUMENT = "zarr.json"
KEPT_OBJECTS = 4
"""Objects made last that are kept: a shard is asked for its index first, then for a chunk."""


def need_h5py() -> Any:
    """Return h5py. Raises `ConfigError` that says what to install."""
    return package("h5py", ".h5 files")


def write_h5(folder: Path, path: Path) -> None:
    """Put a store's folder into one .h5 and wait until the disk has it; `path` appears whole or not at all."""
    h5py = need_h5py()
    partial = path.with_name(f".{path.name}.partial")
    try:
        # attributes above 64 KiB, such as a long citation list, need the newer layout of attributes
        with h5py.File(partial, "w", libver=("v108", "v110")) as file:
            _write_group(h5py, zarr.open_group(folder, mode="r"), file, folder)
        to_disk(partial)
        move(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_group(h5py: Any, group: zarr.Group, target: Any, folder: Path) -> None:
    target.attrs[DOCUMENT] = (folder / group.path / DOCUMENT).read_text(encoding="utf-8")
    for name, value in group.attrs.items():
        target.attrs[name] = json.dumps(value, ensure_ascii=False)
    for name, array in sorted(group.arrays()):
        dataset = _write_array(h5py, array, target, name)
        dataset.attrs[DOCUMENT] = (folder / array.path / DOCUMENT).read_text(encoding="utf-8")
    for name, child in sorted(group.groups()):
        _write_group(h5py, child, target.create_group(name), folder)


def _write_array(h5py: Any, array: Any, target: Any, name: str) -> Any:
    text = array.metadata.data_type.to_native_dtype().kind not in "fiu"
    empty = 0 in array.shape
    dataset = target.create_dataset(
        name,
        shape=array.shape,
        dtype=h5py.string_dtype() if text else array.dtype,
        chunks=None if empty else tuple(min(pair) for pair in zip(array.chunks, array.shape, strict=True)),
        fletcher32=not (empty or text),
        track_times=False,
    )
    for axis, label in enumerate(array.metadata.dimension_names or ()):
        dataset.dims[axis].label = label or ""
    for key, value in array.attrs.items():
        dataset.attrs[key] = value
    rows = (array.shards or array.chunks)[0]
    for start in range(0, array.shape[0], rows):
        block = array[start : start + rows]
        dataset[start : start + rows] = np.asarray(block, dtype=object) if text else block
    return dataset


def h5_root(path: str | Path) -> zarr.Group:
    """Return the root group of a store in an .h5, for reading.

    Raises:
        ConfigError: h5py is not installed.
        SchemaError: not an .h5, not a packed store, or one with links, filters or storage outside of it.
    """
    h5py = need_h5py()
    if not h5py.is_hdf5(path):
        raise SchemaError(
            f"store {path}: expected an .h5 made with `voxcache store pack`, got no HDF5 file. Ask for it again."
        )
    try:
        file = h5py.File(path, "r", locking=False)  # a store on a read-only share is fine
        documents = {name: _document(item, name) for name, item in _items(h5py, file)}
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, RecursionError) as error:
        raise SchemaError(
            f"store {path}: expected an .h5 made with `voxcache store pack`, got something else ({error}). Ask for it again."
        ) from error
    return zarr.open_group(H5Store(file, documents), mode="r", zarr_format=3)


def _items(h5py: Any, group: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every group and dataset by path; only hard links are followed, and only as deep as a store goes."""
    yield prefix, group
    for name in group:
        if depth > 4 or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{prefix}/{name[:80]}: a link, or nested deeper than a store")
        item = group[name]
        path = f"{prefix}/{name}".lstrip("/")
        if isinstance(item, h5py.Group):
            yield from _items(h5py, item, path, depth + 1)
        else:
            yield path, item


def _document(item: Any, name: str) -> bytes:
    """Return the Zarr document of a node, after a look at what HDF5 could do beyond what a pack does."""
    text = str(item.attrs[DOCUMENT])
    document(f"{name}/{DOCUMENT}".lstrip("/"), text.encode())
    stated = json.loads(text)
    if hasattr(item, "shape"):
        filters = {item.compression} - {None}
        if filters or item.scaleoffset is not None or item.is_virtual or item.external or item.maxshape != item.shape:
            raise ValueError(f"{name}: compressed, virtual, external or resizable, which a pack never is")
        if item.id.get_storage_size() < item.size * item.dtype.itemsize:
            raise ValueError(f"{name}: its shape is larger than what the file holds of it")
        if stated.get("node_type") != "array" or list(item.shape) != stated.get("shape"):
            raise ValueError(f"{name}: its shape is not that of its document")
    elif stated.get("node_type") != "group":
        raise ValueError(f"{name}: its document is not that of a group")
    return text.encode()


class H5Store(Store):
    """A zarr store, for reading only, over an .h5 that `write_h5` made."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, file: Any, documents: dict[str, bytes]) -> None:
        super().__init__(read_only=True)
        self._file = file
        self._documents = documents
        self._made: OrderedDict[str, bytes | None] = OrderedDict()
        self._lock = Lock()
        self._is_open = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, H5Store) and self._file == other._file

    def __hash__(self) -> int:
        return id(self)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return one object, or a part of it; None where there is none."""
        data = await asyncio.to_thread(self._object, key)
        if data is None:
            return None
        first, last = byte_bounds(byte_range, len(data))
        return guard.checked(key, prototype.buffer.from_bytes(data[first:last]), byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several objects."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        return await asyncio.to_thread(self._object, key) is not None

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the bytes of all documents and of what the file holds of all datasets below a prefix."""
        below = [path for path in self._documents if f"{path}/".startswith(prefix)]
        return sum(self._held_bytes(path) for path in below)

    def _held_bytes(self, path: str) -> int:
        node = self._file[path or "/"]
        return len(self._documents[path]) + (int(node.id.get_storage_size()) if hasattr(node, "shape") else 0)

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: a packed file is read only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse: a packed file is read only."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Yield the keys of all documents."""
        for path in self._documents:
            yield f"{path}/{DOCUMENT}".lstrip("/")

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys of documents below a prefix."""
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of a group's members, and of its document."""
        base = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        names = {key.removeprefix(base).split("/")[0] async for key in self.list() if key.startswith(base)}
        for name in sorted(names):
            yield name

    def _object(self, key: str) -> bytes | None:
        parent, _, last = f"/{key}".rpartition("/")
        if last == DOCUMENT:
            return self._documents.get(parent.lstrip("/"))
        path, _, place = key.partition("/c/")
        document = self._documents.get(path)
        if document is None or not hasattr(self._file[path or "/"], "shape"):
            return None
        if not all(part.isascii() and part.isdigit() for part in place.split("/")):
            return None
        with self._lock:
            if key not in self._made:
                self._made[key] = _encode(self._file[path], document, f"c/{place}")
                while len(self._made) > KEPT_OBJECTS:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]


def _encode(dataset: Any, document: bytes, key: str) -> bytes | None:
    """Return the object that zarr writes for one shard or chunk of these values; None where it writes none."""
    memory = MemoryStore()
    prototype = default_buffer_prototype()
    sync(memory.set(DOCUMENT, prototype.buffer.from_bytes(document)))
    text = dataset.dtype.kind == "O"
    array = cast(Any, zarr.open_array(memory, mode="r+")).with_config({"write_empty_chunks": True})
    outer = array.shards or array.chunks
    place = [int(part) for part in key.split("/")[1:]]
    region = tuple(slice(i * n, min((i + 1) * n, end)) for i, n, end in zip(place, outer, array.shape, strict=False))
    if len(place) != len(outer) or any(part.start >= part.stop for part in region):
        return None
    values = dataset.asstr()[region] if text else dataset[region]
    array[region] = np.asarray(values, dtype=object) if text else values
    found = sync(memory.get(key, prototype))
    return None if found is None else found.to_bytes()
