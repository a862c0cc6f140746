"""Reading shards of a local store straight from their files: several times faster than through the chunk machinery.

A shard is its chunks, each followed by a CRC-32C, in any order, then an index of (offset, size) pairs and the index's own
CRC-32C (the `sharding_indexed` codec of Zarr v3). Chunks here are raw little-endian values, so a chunk is read in place.
Every chunk's checksum is compared the first time a process reads from it. Anything unusual (another codec, another
kind of store) is left to zarr: `open_shards` returns None.
"""

from __future__ import annotations

import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.storage import LocalStore

from ..errors import IntegrityError

EMPTY = 2**64 - 1
READERS = min(4, os.cpu_count() or 1)


def open_shards(array: Any) -> Shards | None:
    """Return a direct reader of a sharded, uncompressed array in a local store, or None."""
    codecs = array.metadata.codecs
    store = array.store_path.store
    if sys.byteorder != "little" or not hasattr(os, "preadv") or not isinstance(store, LocalStore) or len(codecs) != 1:
        return None
    sharding = codecs[0]
    if not isinstance(sharding, ShardingCodec) or sharding.index_location.value != "end":
        return None
    if [type(codec) for codec in sharding.codecs] != [BytesCodec, Crc32cCodec]:
        return None
    if [type(codec) for codec in sharding.index_codecs] != [BytesCodec, Crc32cCodec]:
        return None
    return Shards(array, store.root / array.store_path.path)


class Shards:
    """A sharded array whose first axis is cut by shards and by chunks. Not for writing."""

    def __init__(self, array: Any, folder: Path) -> None:
        self.name = array.store_path.path
        self.dtype = np.dtype(array.dtype)
        self.shape = tuple(array.shape)
        self.shard_rows = int(array.shards[0])
        self.chunk = tuple(int(n) for n in array.chunks)
        self.per_shard = tuple(s // c for s, c in zip(array.shards, array.chunks, strict=True))
        self.fill = array.fill_value
        self.folder = folder
        self._maps: dict[int, _Shard | None] = {}

    def layer(self, layer: int) -> np.ndarray:
        """Return [row, feature] of one layer of a [row, layer, feature] array whose chunks hold one layer each."""
        n_shards = -(-self.shape[0] // self.shard_rows)
        out = np.empty((n_shards * self.shard_rows, self.shape[2]), dtype=self.dtype)

        def read(shard: int) -> None:
            place = out[shard * self.shard_rows : (shard + 1) * self.shard_rows]
            found = self._open(shard)
            if found is None or not found.read_into(layer, place):
                place[:] = self.fill

        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(read, range(n_shards)))
        return out[: self.shape[0]]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows [start, stop) of a [row, feature] array."""
        parts = []
        while start < stop:
            shard, inside = divmod(start, self.shard_rows)
            chunk, offset = divmod(inside, self.chunk[0])
            n = min(stop - start, self.chunk[0] - offset)
            found = self._open(shard)
            values = None if found is None else found.chunk(chunk)
            empty = (
                np.full((n, *self.shape[1:]), self.fill, self.dtype) if values is None else values[offset : offset + n]
            )
            parts.append(empty)
            start += n
        return np.concatenate(parts) if len(parts) != 1 else parts[0].copy()

    def _open(self, shard: int) -> _Shard | None:
        if shard not in self._maps:
            path = self.folder.joinpath("c", str(shard), *("0" for _ in self.shape[1:]))
            try:
                self._maps[shard] = _Shard(path, self.chunk, self.per_shard, self.dtype)
            except FileNotFoundError:
                self._maps[shard] = None
            except (ValueError, struct.error) as error:
                raise IntegrityError(_damaged(self.name, path, str(error))) from error
        return self._maps[shard]


class _Shard:
    """One mapped shard file with its index."""

    def __init__(self, path: Path, chunk: tuple[int, ...], per_shard: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        n_chunks = int(np.prod(per_shard))
        self.path, self.chunk_shape, self.dtype = path, chunk, dtype
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        tail = self.data[len(self.data) - n_chunks * 16 - 4 :]
        if len(tail) != n_chunks * 16 + 4 or _crc(tail[:-4]) != int(tail[-4:].view("<u4")[0]):
            raise ValueError("its index does not match its checksum")
        self.index = np.array(tail[:-4]).view("<u8").reshape(n_chunks, 2)
        self.checked = np.zeros(n_chunks, dtype=bool)

    def read_into(self, number: int, out: np.ndarray) -> bool:
        """Read one chunk into `out` and compare its checksum; False where it was never written."""
        offset, size = (int(n) for n in self.index[number])
        if offset == EMPTY:
            return False
        crc = np.empty(4, np.uint8)
        with self.path.open("rb", buffering=0) as file:
            n_read = os.preadv(file.fileno(), [out.reshape(-1).view(np.uint8).data, crc.data], offset)
        if n_read != size or _crc(out) != int(crc.view("<u4")[0]):
            raise IntegrityError(_damaged(self.path.name, self.path, f"chunk {number} does not match its checksum"))
        return True

    def chunk(self, number: int) -> np.ndarray:
        """Return one chunk, its checksum compared the first time; broadcast NaN where it was never written."""
        offset, size = (int(n) for n in self.index[number])
        if offset == EMPTY:
            return np.broadcast_to(np.array(np.nan, self.dtype), self.chunk_shape[:1] + self.chunk_shape[-1:])
        raw = self.data[offset : offset + size]
        if not self.checked[number]:
            if len(raw) != size or _crc(raw[:-4]) != int(raw[-4:].view("<u4")[0]):
                raise IntegrityError(_damaged(self.path.name, self.path, f"chunk {number} does not match its checksum"))
            self.checked[number] = True
        return raw[:-4].view(self.dtype).reshape(self.chunk_shape[0], self.chunk_shape[-1])


def _crc(data: np.ndarray) -> int:
    return int(google_crc32c.value(np.ascontiguousarray(data)))


def _damaged(name: str, path: Path, why: str) -> str:
    where = "/".join(path.parts[-4:])
    return (
        f"{name}, {where}: damaged ({why}). `voxcache store verify` names the units and clips, with `--repair` they are "
        f"computed again."
    )
