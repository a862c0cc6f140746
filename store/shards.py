"""Reading shards of a store on this machine straight from their files: several times faster than through the chunk machinery.

A shard is its chunks, each followed by a CRC-32C, in any order, then an index of (offset, size) pairs and the index's own
CRC-32C (the `sharding_indexed` codec of Zarr v3). Chunks here are raw little-endian values, so they are read in place: into the
rows of one result, and their checksums are computed while they are in the processor's cache. Anything unusual (another codec,
another kind of store) is left to zarr: `open_shards` returns None.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from crc32c import crc32c
from zarr.storage import LocalStore

from ..errors import IntegrityError
from . import guard
from .files import opened
from .mapped import Mapped
from .remote import RemoteStore
from .remote_shards import RemoteShards
from .remote_zip import RemoteZip
from .shard_index import damaged, read_index
from .zipped import Stretch, ZippedStore

READERS = min(4, os.cpu_count() or 1)
BLOCK_BYTES = 1 << 22
"""Read and checked at a time: stays in the processor's cache between the two, and is large beside a hand-over of threads."""


def open_shards(array: Any) -> Shards | RemoteShards | None:
    """Return a direct reader of a sharded, uncompressed array in a folder, a .zip or at a URL, or None."""
    store = array.store_path.store
    find = _finder(store)
    remote = isinstance(store, RemoteStore | RemoteZip)
    codecs = array.metadata.codecs
    if (find is None and not remote) or sys.byteorder != "little" or len(codecs) != 1 or not _plain(codecs[0]):
        return None
    shards, chunks, shape = array.shards, array.chunks, array.shape
    one_layer = len(shape) == 3 and chunks[0] == shards[0] and chunks[1] == 1 and shards[1] >= shape[1]
    if chunks[-1] != shape[-1] or not (one_layer or len(shape) == 2):
        return None
    return RemoteShards(array) if find is None else Shards(array, find)


def _plain(codec: Any) -> bool:
    """Return whether chunks are raw little-endian values with a checksum, by the codec's JSON, which the format defines."""
    described = codec.to_dict()
    settings = described.get("configuration", {})
    return bool(
        described["name"] == "sharding_indexed"
        and settings["index_location"] == "end"
        and all(
            [inner["name"] for inner in settings[part]] == ["bytes", "crc32c"] for part in ("codecs", "index_codecs")
        )
        and all(_little(settings[part][0]) for part in ("codecs", "index_codecs"))
    )


def _little(bytes_codec: dict[str, Any]) -> bool:
    order = bytes_codec.get("configuration", {}).get("endian", "little")  # a dtype of one byte has none
    return bool(order == "little")


def _finder(store: Any) -> Callable[[str], Stretch | None] | None:
    """Return what tells where an object lies, None for stores that are not on this machine."""
    if isinstance(store, ZippedStore):
        return store.stretch
    if not isinstance(store, LocalStore):
        return None

    def find(key: str) -> Stretch | None:
        path = Path(store.root, key)
        guard.own_file(store.root, path)
        try:
            return Stretch(path, 0, path.stat().st_size)
        except FileNotFoundError:
            return None

    return find


@dataclass(frozen=True)
class _Part:
    """Rows of one shard: `inside` it, ascending, and their `place` in the result. `whole` where it is all rows in order."""

    shard: int
    inside: np.ndarray
    place: slice | np.ndarray
    whole: bool = False

    def spot(self, mine: slice) -> slice | np.ndarray:
        """Return the place in the result of some of these rows."""
        if isinstance(self.place, slice):
            return slice(self.place.start + mine.start, self.place.start + mine.stop)
        return self.place[mine]


class Shards:
    """A sharded array whose first axis is cut by shards and by chunks. Not for writing."""

    def __init__(self, array: Any, find: Callable[[str], Stretch | None]) -> None:
        self.name = array.store_path.path
        self.dtype = np.dtype(array.dtype)
        self.shape = tuple(int(n) for n in array.shape)
        self.shard_rows, self.chunk_rows = int(array.shards[0]), int(array.chunks[0])
        self.n_chunks = int(np.prod([s // c for s, c in zip(array.shards, array.chunks, strict=True)]))
        self.row_bytes = self.shape[-1] * self.dtype.itemsize
        self.fill = array.fill_value
        self._array, self._find = array, find
        self._mapped = Mapped(self)

    def __reduce__(self) -> tuple[Any, ...]:  # a worker opens its own files
        return open_shards, (self._array,)

    def layers(self, layers: Sequence[int], rows: np.ndarray | None = None) -> np.ndarray:
        """Return [row, layer, feature] of an array whose chunks hold one layer each; every chunk's checksum is compared.

        Args:
            layers: positions along the second axis.
            rows: int64 [row], in any order, repeated or not; None for all.

        Raises:
            IntegrityError: a checksum does not match or bytes are missing.
        """
        n = self.shape[0] if rows is None else len(rows)
        out = np.empty((n, len(layers), self.shape[2]), dtype=self.dtype)
        parts = list(self._parts(rows))
        if len(parts) == 1:
            self._read(parts[0], layers, out)
            return out
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda part: self._read(part, layers, out), parts))
        return out

    def many(self, starts: Sequence[int], stops: Sequence[int]) -> list[np.ndarray]:
        """Return rows [start, stop) of a [row, feature] array for each pair; a chunk is checked when it is first read."""
        return self._mapped.many(starts, stops)

    def locate(self, shard: int) -> Stretch | None:
        """Return where a shard lies, None where it was never written."""
        key = self._array.metadata.encode_chunk_key((shard, *(0 for _ in self.shape[1:])))
        return self._find(f"{self.name}/{key}".lstrip("/"))

    def index(self, stretch: Stretch, file: BinaryIO) -> list[int | None]:
        """Return where each chunk lies in the file. Raises `IntegrityError` where the index is damaged."""
        return read_index(self.name, stretch, file, self.n_chunks, self.chunk_rows * self.row_bytes)

    def _parts(self, rows: np.ndarray | None) -> Iterator[_Part]:
        n_shards = -(-self.shape[0] // self.shard_rows)
        firsts = np.arange(n_shards + 1) * self.shard_rows
        if rows is None:
            ends = np.minimum(firsts, self.shape[0])
            for shard, (first, end) in enumerate(pairwise(ends.tolist())):
                yield _Part(shard, np.arange(end - first), slice(first, end), whole=True)
            return
        order = None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
        ascending = rows if order is None else rows[order]
        bounds = np.searchsorted(ascending, firsts)
        for shard in np.flatnonzero(np.diff(bounds)).tolist():
            span = slice(bounds[shard], bounds[shard + 1])
            yield _Part(shard, ascending[span] - firsts[shard], span if order is None else order[span])

    def _read(self, part: _Part, layers: Sequence[int], out: np.ndarray) -> None:
        stretch = self.locate(part.shard)
        if stretch is None:
            out[part.place] = self.fill
            return
        with opened(stretch.path) as file:
            index = self.index(stretch, file)
            for position, layer in enumerate(layers):
                place, target = index[layer], out[:, position]
                if place is None:
                    target[part.place] = self.fill
                    continue
                file.seek(place)
                direct = part.whole and target.flags.c_contiguous
                crc = self._whole(file, target[part.place]) if direct else self._some(file, part, target)
                if crc != int.from_bytes(file.read(4), "little"):
                    raise IntegrityError(damaged(self.name, stretch, f"chunk {layer} does not match its checksum"))

    def _whole(self, file: BinaryIO, target: np.ndarray) -> int:
        """Read a chunk into `target`, which may have fewer rows; return the checksum of all of it."""
        crc, step = 0, self._block_rows
        for first in range(0, len(target), step):
            crc = _pull(file, target[first : first + step], crc)
        rest = self.chunk_rows - len(target)
        return _pull(file, np.empty((rest, self.shape[-1]), self.dtype), crc) if rest else crc

    def _some(self, file: BinaryIO, part: _Part, target: np.ndarray) -> int:
        """Read a chunk block by block, keeping only some rows of it; return the checksum of all of it."""
        step = self._block_rows
        crc: int = 0
        direct = isinstance(part.place, slice) and target.flags.c_contiguous
        scratch = np.empty((step, self.shape[-1]), self.dtype)
        cuts = np.searchsorted(part.inside, np.arange(0, self.chunk_rows + step, step))
        for number, first in enumerate(range(0, self.chunk_rows, step)):
            block = scratch[: self.chunk_rows - first]
            crc = _pull(file, block, crc)
            mine = slice(cuts[number], cuts[number + 1])
            chosen = part.inside[mine] - first
            if direct:
                np.take(block, chosen, axis=0, out=target[part.spot(mine)], mode="clip")  # any other mode makes a copy
            else:
                target[part.spot(mine)] = np.take(block, chosen, axis=0)
        return crc

    @property
    def _block_rows(self) -> int:
        return max(1, min(int(self.chunk_rows), BLOCK_BYTES // int(self.row_bytes)))


def _pull(file: BinaryIO, block: np.ndarray, crc: int) -> int:
    """Fill `block` from the file and return the checksum continued over it; a short read shows as a wrong checksum."""
    view = memoryview(cast(Any, block)).cast("B")
    done = 0
    while done < len(view) and (n := cast(io.FileIO, file).readinto(view[done:])):
        done += n
    return int(crc32c(view, crc)) if done == len(view) else -1
