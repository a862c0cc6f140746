"""A corpus in a store: clips, label columns, encoders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zarr

from . import guard
from .encoder import EncoderGroup
from .node import Node
from .schema import Role


@dataclass(frozen=True)
class Column:
    """One fact about every clip: str, or float64 for continuous ones. "" and NaN mean not given."""

    name: str
    role: Role
    description: str
    values: np.ndarray


class Corpus(Node):
    """A named set of clips with their labels: arrays [clip] and, in it, one group per encoder."""

    def __init__(self, group: zarr.Group, path: str, name: str) -> None:
        super().__init__(group, path)
        self.name = name

    @cached_property
    def n_clips(self) -> int:
        """Clips registered; arrays may be longer after an interrupted registration."""
        n_clips = int(self.attrs["n_clips"])
        guard.backed(self._array("clip"), 0, n_clips, f"{self.path}/clip", row_bytes=guard.CLIP_BYTES)
        return n_clips

    @property
    def unit_rows(self) -> int:
        """Clips a unit of work."""
        return int(self.attrs["unit_rows"])

    @cached_property
    def clip(self) -> np.ndarray:
        """Clip ids, str [clip]."""
        return self._strings("clip")

    @cached_property
    def sha256(self) -> np.ndarray:
        """Content hash of each clip's audio, str [clip]; "" where the file could not be read."""
        return self._strings("sha256")

    @cached_property
    def n_samples(self) -> np.ndarray:
        """Length of each clip in samples at 16 kHz, int64 [clip]; 0 where the file could not be read."""
        return guard.all_rows(self._read("n_samples", slice(self.n_clips)), self.n_clips, f"{self.path}/n_samples")

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Label columns by name."""
        columns = {}
        for name in self.attrs["columns"]:
            array = self._array(name)
            values = guard.all_rows(self._read(name, slice(self.n_clips)), self.n_clips, f"{self.path}/{name}")
            if values.dtype.kind != "f":
                values = np.asarray(values, dtype=object)
            about = dict(array.attrs)
            columns[name] = Column(name, about.get("role", "meta"), about.get("description", ""), values)
        return columns

    @cached_property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders whose embeddings it holds."""
        return self._groups("encoder")

    def encoder(self, name: str) -> EncoderGroup:
        """Return one encoder's embeddings. Raises `StoreError` with the names there are."""
        return EncoderGroup(self._child("encoder", name, self.encoders), f"{self.path}/{name}", name, self)

    def _strings(self, name: str) -> np.ndarray:
        values = guard.all_rows(self._read(name, slice(self.n_clips)), self.n_clips, f"{self.path}/{name}")
        return np.asarray(values, dtype=object)
