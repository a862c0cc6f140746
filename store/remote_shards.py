"""Reading shards over a network: the indices of all shards at once, then the wanted chunks of all shards at once.

Chunks that lie side by side are fetched in one piece. The format is that of `shards`; every checksum is compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from crc32c import crc32c
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ..errors import IntegrityError
from .remote import CONCURRENCY
from .shard_index import EMPTY, lost

T = TypeVar("T")
S = TypeVar("S")


class RemoteShards:
    """A sharded array whose first axis is cut by shards and by chunks, at a URL. Not for writing."""

    def __init__(self, array: Any) -> None:
        self.name = array.store_path.path
        self.dtype = np.dtype(array.dtype)
        self.shape = tuple(int(n) for n in array.shape)
        self.shard_rows, self.chunk_rows = int(array.shards[0]), int(array.chunks[0])
        self.n_chunks = int(np.prod([s // c for s, c in zip(array.shards, array.chunks, strict=True)]))
        self.chunk_bytes = self.chunk_rows * self.shape[-1] * self.dtype.itemsize
        self.fill = array.fill_value
        self._array = array
        self._indices: dict[int, list[int | None]] = {}

    def layers(self, layers: Sequence[int], rows: np.ndarray | None = None) -> np.ndarray:
        """Return [row, layer, feature] of an array whose chunks hold one layer each.

        Args:
            layers: positions along the second axis.
            rows: int64 [row], in any order, repeated or not; None for all.

        Raises:
            IntegrityError: a checksum does not match or bytes are missing.
        """
        rows = np.arange(self.shape[0]) if rows is None else rows
        out = np.full((len(rows), len(layers), self.shape[2]), self.fill, dtype=self.dtype)
        owners = rows // self.shard_rows
        shards = np.unique(owners).tolist()
        found = sync(self._chunks({(shard, layer) for shard in shards for layer in layers}))
        for shard in shards:
            mine = np.flatnonzero(owners == shard)
            inside = rows[mine] - shard * self.shard_rows
            for position, layer in enumerate(layers):
                if (shard, layer) in found:
                    out[mine, position] = found[shard, layer][inside]
        return out

    def many(self, starts: Sequence[int], stops: Sequence[int]) -> list[np.ndarray]:
        """Return rows [start, stop) of a [row, feature] array for each pair.

        Raises:
            IntegrityError: a chunk does not match its checksum, or is not there.
        """
        pairs = list(zip(starts, stops, strict=True))
        numbers = {n for start, stop in pairs for n in self._numbers(start, stop)}
        per_shard = self.shard_rows // self.chunk_rows
        found = sync(self._chunks({divmod(n, per_shard) for n in numbers}))
        return [self._cut(start, stop, found, per_shard) for start, stop in pairs]

    def _numbers(self, start: int, stop: int) -> range:
        return range(
            start // self.chunk_rows, -(-stop // self.chunk_rows) if stop > start else start // self.chunk_rows
        )

    def _cut(self, start: int, stop: int, found: dict[tuple[int, int], np.ndarray], per_shard: int) -> np.ndarray:
        out = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        for number in self._numbers(start, stop):
            shard, place = divmod(number, per_shard)
            if (shard, place) not in found:
                raise IntegrityError(lost(self.name, f"chunk {place} of shard {shard}"))
            begin = number * self.chunk_rows
            first, last = max(start, begin), min(stop, begin + self.chunk_rows)
            out[first - start : last - start] = found[shard, place][first - begin : last - begin]
        return out

    async def _chunks(self, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
        """Return chunks [row, feature] by shard and number; those that were never written are left out."""
        by_shard: dict[int, list[int]] = {}
        for shard, number in sorted(wanted):
            by_shard.setdefault(shard, []).append(number)
        new = [shard for shard in by_shard if shard not in self._indices]
        self._indices.update(zip(new, await _all(self._index, new), strict=True))
        runs = [run for shard, numbers in by_shard.items() for run in self._runs(shard, numbers)]
        found = {}
        for chunks in await _all(self._run, runs):
            found.update(chunks)
        return found

    def _runs(self, shard: int, numbers: Sequence[int]) -> list[tuple[int, list[tuple[int, int]]]]:
        """Return (shard, [(offset, number)]) for every stretch of chunks that lie side by side."""
        index = self._indices[shard]
        places = sorted((offset, number) for number in numbers if (offset := index[number]) is not None)
        runs = [places[:1]] if places else []
        for before, place in pairwise(places):
            if place[0] == before[0] + self.chunk_bytes + 4:
                runs[-1].append(place)
            else:
                runs.append([place])
        return [(shard, run) for run in runs]

    async def _run(self, job: tuple[int, list[tuple[int, int]]]) -> dict[tuple[int, int], np.ndarray]:
        shard, run = job
        size = self.chunk_bytes + 4
        data = await self._get(shard, RangeByteRequest(run[0][0], run[-1][0] + size))
        if data is None or len(data) != len(run) * size:
            raise self._damaged(shard, "it is shorter than its index says")
        found = {}
        for i, (_, number) in enumerate(run):
            raw = data[i * size : (i + 1) * size]
            if crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
                raise self._damaged(shard, f"chunk {number} does not match its checksum")
            found[shard, number] = np.frombuffer(raw[:-4], self.dtype).reshape(self.chunk_rows, -1)
        return found

    async def _index(self, shard: int) -> list[int | None]:
        n_bytes = self.n_chunks * 16 + 4
        raw = await self._get(shard, SuffixByteRequest(n_bytes))
        if raw is None:
            return [None] * self.n_chunks
        if len(raw) != n_bytes or crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
            raise self._damaged(shard, "its index does not match its checksum")
        places = np.frombuffer(raw[:-4], "<u8").reshape(self.n_chunks, 2).tolist()
        if any(offset != EMPTY and size != self.chunk_bytes + 4 for offset, size in places):
            raise self._damaged(shard, "its index tells of chunks of another size")
        return [None if offset == EMPTY else offset for offset, _ in places]

    async def _get(self, shard: int, part: RangeByteRequest | SuffixByteRequest) -> memoryview | None:
        key = self._array.metadata.encode_chunk_key((shard, *(0 for _ in self.shape[1:])))
        store = self._array.store_path.store
        found = await store.get(f"{self.name}/{key}".lstrip("/"), default_buffer_prototype(), part)
        return None if found is None else memoryview(found.as_buffer_like()).cast("B")

    def _damaged(self, shard: int, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self.name}, shard {shard}: damaged ({why}). `voxcache store verify` names the units and clips, with `--repair` "
            f"they are computed again."
        )


async def _all(work: Callable[[S], Awaitable[T]], jobs: Sequence[S]) -> list[T]:
    """Do all jobs, `CONCURRENCY` at once; results in order."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(job: S) -> T:
        async with gate:
            return await work(job)

    return list(await asyncio.gather(*(one(job) for job in jobs)))
