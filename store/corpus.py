"""A corpus in a store: clips, label columns, encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import zarr

from . import convert, guard
from .encoder import EncoderGroup
from .listing import Listing
from .node import Node
from .schema import LISTING, Role
from .xy import XY, labelled

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Column:
    """One fact about every clip: str, or float64 for continuous ones. "" and NaN mean not given."""

    name: str
    role: Role
    description: str
    values: np.ndarray


class Corpus(Node):
    """A named set of clips with their labels: arrays [clip] and, in it, one group per encoder."""

    _look = staticmethod(guard.column)

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
    def listing(self) -> Listing:
        """Which clips are in use; all, where no listing was kept."""
        if "listing" not in self.attrs:
            return Listing.everything(self.n_clips)
        state = self._read(LISTING, slice(self.n_clips))
        return Listing(guard.all_rows(state, self.n_clips, f"{self.path}/{LISTING}"))

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Label columns by name; each is read when it is taken."""
        return _Columns(self)

    @property
    def roles(self) -> dict[str, Role]:
        """What each label column is for, without reading it."""
        return {name: self._array(name).attrs.get("role", "meta") for name in self.attrs["columns"]}

    def _column(self, name: str) -> Column:
        array = self._array(name)
        values = guard.all_rows(self._read(name, slice(self.n_clips)), self.n_clips, f"{self.path}/{name}")
        if values.dtype.kind != "f":
            values = np.asarray(values, dtype=object)
        about = dict(array.attrs)
        return Column(name, about.get("role", "meta"), about.get("description", ""), values)

    @cached_property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders whose embeddings it holds."""
        return self._groups("encoder")

    def encoder(self, name: str) -> EncoderGroup:
        """Return one encoder's embeddings. Raises `StoreError` with the names there are."""
        return EncoderGroup(self._child("encoder", name, self.encoders), f"{self.path}/{name}", name, self)

    def xy(self, encoder: str, *, layer: int = -1, target: str = "label") -> XY:
        """Return features and labels of the clips in use that have a label and an embedding, and how many have not.

        `found = corpus.xy("wavlm-base"); LogisticRegression().fit(found.x, found.y); print(found)` also says what was left out.

        Args:
            layer: as in `EncoderGroup.pooled`.
            target: the column to predict.

        Raises:
            StoreError: no such encoder, layer or column.
        """
        return labelled(self, encoder, layer=layer, target=target)

    def to_xarray(self) -> xarray.DataTree:
        """Return a DataTree: clips and label columns at its root, one Dataset an encoder (see `EncoderGroup.to_xarray`).

        Raises:
            ConfigError: xarray or dask is not installed.
        """
        tree: xarray.DataTree = convert.corpus_tree(self)
        return tree

    def _strings(self, name: str) -> np.ndarray:
        values = guard.all_rows(self._read(name, slice(self.n_clips)), self.n_clips, f"{self.path}/{name}")
        return np.asarray(values, dtype=object)


class _Columns(Mapping[str, Column]):
    """The label columns of a corpus; read one by one, once: a hundred thousand texts are not needed to list their names."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._read: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = self._corpus._column(name)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._corpus.attrs["columns"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._corpus.attrs["columns"])

    def __len__(self) -> int:
        return len(self._corpus.attrs["columns"])
