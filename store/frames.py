"""Frames of clips, one after another in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import IntegrityError
from .convert import tensor
from .remote_shards import RemoteShards
from .shard_index import lost
from .shards import Shards, open_shards

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Frames:
    """Frames of one layer. `length` int64 [clip] counts each clip's own; 0 where there are none."""

    values: Any
    start: np.ndarray
    length: np.ndarray

    @cached_property
    def _shards(self) -> Shards | RemoteShards | None:
        return open_shards(self.values)

    def read(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return each clip's frames, [frame, feature] each, in the order of `rows`.

        Raises:
            IntegrityError: a checksum does not match, or frames that the ledger counts are not there.
        """
        rows = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.start[rows], self.length[rows]
        stops = (starts + lengths).tolist()
        if self._shards is not None:
            return self._shards.many(starts.tolist(), stops)
        return [self._one(start, stop) for start, stop in zip(starts.tolist(), stops, strict=True)]

    def to_torch(self, rows: Sequence[int] | np.ndarray) -> list[torch.Tensor]:
        """Return `read` as tensors, without a copy. Raises `ConfigError` without torch."""
        return [tensor(values) for values in self.read(rows)]

    def _one(self, start: int, stop: int) -> np.ndarray:
        values = np.asarray(self.values[start:stop])
        if len(values) and np.isnan(values[0]).all():
            raise IntegrityError(lost(str(self.values.path), f"frames {start} to {stop}"))
        return values
