"""Rows of many clips out of mapped shards: what a random batch of frames costs is one copy of what it holds.

Reading 32 random clips with `read` copies whole chunks to compare their checksums; a mapped chunk is compared where it lies.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from crc32c import crc32c

from ..errors import IntegrityError
from .shard_index import damaged, lost

if TYPE_CHECKING:
    from .shards import Shards

SHARDS = 128
"""Kept mapped at a time: each holds a file descriptor, of which a process has 1,024 by default."""
CHECKERS = 2
FEW_CHUNKS = 8
"""Up to here a thread costs more than it saves."""


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
        pieces = [piece for clip, (start, stop) in enumerate(spans) for piece in self._pieces(clip, start, stop)]
        chunks = self._chunks({(piece.shard, piece.chunk) for piece in pieces})
        for clip, into, shard, chunk, first, last in pieces:
            found[clip][into : into + last - first] = chunks[shard, chunk][first:last]
        return found

    def _pieces(self, clip: int, start: int, stop: int) -> Iterator[_Piece]:
        into = 0
        while start < stop:
            shard, inside = divmod(start, self.of.shard_rows)
            chunk, first = divmod(inside, self.of.chunk_rows)
            n = min(stop - start, self.of.chunk_rows - first)
            yield _Piece(clip, into, shard, chunk, first, first + n)
            start, into = start + n, into + n

    def _chunks(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
        """Return each chunk as [row, feature]."""
        with self._lock:
            shards = {number: self._shard(number) for number in sorted({shard for shard, _ in wanted})}
            while len(self._open) > SHARDS:
                self._open.popitem(last=False)
        new = [(shards[shard], chunk) for shard, chunk in wanted if chunk not in shards[shard].checked]
        if len(new) > FEW_CHUNKS:
            with ThreadPoolExecutor(CHECKERS) as pool:
                list(pool.map(lambda pair: pair[0].check(pair[1]), new))
        else:
            for shard, chunk in new:
                shard.check(chunk)
        return {(shard, chunk): shards[shard].checked[chunk] for shard, chunk in wanted}

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
        with stretch.path.open("rb", buffering=0) as file:
            self.index = of.index(stretch, file)
            n_bytes = stretch.offset - self.base + stretch.n_bytes
            self.data = mmap.mmap(file.fileno(), n_bytes, access=mmap.ACCESS_READ, offset=self.base)

    def check(self, chunk: int) -> None:
        """Compare a chunk with its checksum and keep it."""
        place = self.index[chunk]
        if place is None:
            raise IntegrityError(lost(self.of.name, f"chunk {chunk} of {self.stretch.path.name}"))
        n_bytes = self.of.chunk_rows * self.of.row_bytes
        raw = np.frombuffer(self.data, np.uint8, n_bytes + 4, place - self.base)
        if crc32c(cast(Any, raw[:-4])) != int.from_bytes(raw[-4:].tobytes(), "little"):
            raise IntegrityError(damaged(self.of.name, self.stretch, f"chunk {chunk} does not match its checksum"))
        self.checked[chunk] = raw[:-4].view(self.of.dtype).reshape(self.of.chunk_rows, -1)
