"""Rows of many clips out of mapped shards: what a random batch of frames costs is one copy of what it holds.

Reading 32 random clips with `read` copies whole chunks to compare their checksums; a mapped chunk is compared where it lies,
once, right before its rows are copied.
"""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from crc32c import crc32c

from ..errors import IntegrityError
from .files import opened
from .shard_index import damaged, lost

if TYPE_CHECKING:
    from .shards import Shards

SHARDS = 128
"""Kept mapped at a time: each holds a file descriptor, of which a process has 1,024 by default."""
FEW_CHUNKS = 8
"""New chunks up to which a second thread costs more than it saves."""


@cache
def _helper() -> ThreadPoolExecutor:
    """Return a thread that stays: starting one for every batch costs as much as it saves."""
    return ThreadPoolExecutor(1, thread_name_prefix="voxcache-checksums")


if hasattr(os, "register_at_fork"):  # a child has no threads of its parent's
    os.register_at_fork(after_in_child=_helper.cache_clear)


class _Piece(NamedTuple):
    """Rows `first` to `last` of a chunk, which go to `into` of the result of one clip."""

    clip: int
    into: int
    shard: int
    chunk: int
    first: int
    last: int


class Mapped:
    """The shards of one array in memory, as the kernel has them. May be used by several threads."""

    def __init__(self, shards: Shards) -> None:
        self.of = shards
        self._open: OrderedDict[int, _Shard] = OrderedDict()
        self._lock = Lock()

    def many(self, starts: Sequence[int], stops: Sequence[int]) -> list[np.ndarray]:
        """Return rows [start, stop) for each pair.

        Raises:
            IntegrityError: a chunk does not match its checksum, or is not there.
        """
        of = self.of
        spans = list(zip(starts, stops, strict=True))
        found = [np.empty((stop - start, of.shape[1]), of.dtype) for start, stop in spans]
        chunks: dict[tuple[int, int], list[_Piece]] = {}
        for clip, (start, stop) in enumerate(spans):
            for piece in self._pieces(clip, start, stop):
                chunks.setdefault((piece.shard, piece.chunk), []).append(piece)
        shards = self._shards({shard for shard, _ in chunks})

        def copy(part: list[tuple[tuple[int, int], list[_Piece]]]) -> None:
            for (shard, number), pieces in part:
                chunk = shards[shard].chunk(number)  # compared and copied while it is in the processor's cache
                for clip, into, *_, first, last in pieces:
                    found[clip][into : into + last - first] = chunk[first:last]

        work = list(chunks.items())
        if sum(number not in shards[shard].checked for shard, number in chunks) <= FEW_CHUNKS:
            copy(work)
        else:
            half = _helper().submit(copy, work[: len(work) // 2])
            copy(work[len(work) // 2 :])
            half.result()
        return found

    def _pieces(self, clip: int, start: int, stop: int) -> Iterator[_Piece]:
        into = 0
        while start < stop:
            shard, inside = divmod(start, self.of.shard_rows)
            chunk, first = divmod(inside, self.of.chunk_rows)
            n = min(stop - start, self.of.chunk_rows - first)
            yield _Piece(clip, into, shard, chunk, first, first + n)
            start, into = start + n, into + n

    def _shards(self, numbers: set[int]) -> dict[int, _Shard]:
        with self._lock:
            shards = {number: self._shard(number) for number in sorted(numbers)}
            while len(self._open) > SHARDS:
                self._open.popitem(last=False)
        return shards

    def _shard(self, number: int) -> _Shard:
        if number not in self._open:
            stretch = self.of.locate(number)
            if stretch is None:
                raise IntegrityError(lost(self.of.name, f"shard {number}"))
            self._open[number] = _Shard(self.of, stretch)
        self._open.move_to_end(number)
        return self._open[number]


class _Shard:
    """One mapped shard; `checked` holds the chunks that matched their checksums, [row, feature] each."""

    def __init__(self, of: Shards, stretch: Any) -> None:
        self.of, self.stretch = of, stretch
        self.checked: dict[int, np.ndarray] = {}
        self.base = stretch.offset - stretch.offset % mmap.ALLOCATIONGRANULARITY
        with opened(stretch.path) as file:
            self.index = of.index(stretch, file)
            n_bytes = stretch.offset - self.base + stretch.n_bytes
            self.data = mmap.mmap(file.fileno(), n_bytes, access=mmap.ACCESS_READ, offset=self.base)

    def chunk(self, chunk: int) -> np.ndarray:
        """Return a chunk, [row, feature]; the first time it is compared with its checksum."""
        if chunk not in self.checked:
            self.checked[chunk] = self._check(chunk)
        return self.checked[chunk]

    def _check(self, chunk: int) -> np.ndarray:
        place = self.index[chunk]
        if place is None:
            raise IntegrityError(lost(self.of.name, f"chunk {chunk} of {self.stretch.path.name}"))
        n_bytes = self.of.chunk_rows * self.of.row_bytes
        raw = np.frombuffer(self.data, np.uint8, n_bytes + 4, place - self.base)
        if crc32c(cast(Any, raw[:-4])) != int.from_bytes(raw[-4:].tobytes(), "little"):
            raise IntegrityError(damaged(self.of.name, self.stretch, f"chunk {chunk} does not match its checksum"))
        found: np.ndarray = raw[:-4].view(self.of.dtype).reshape(self.of.chunk_rows, -1)
        return found
