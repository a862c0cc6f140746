"""The embeddings of one corpus by one encoder: what they are, how every clip ended, and the numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import zarr

from ..errors import StoreError
from . import convert, guard, schema
from .digest import strings_digest, values_digest
from .frames import Frames
from .ledger import Ledger
from .node import Node, at_once
from .pooled import Rows, read_pooled
from .schema import MISSING, OK, STALE, Products

if TYPE_CHECKING:
    import dask.array
    import torch
    import xarray

    from .corpus import Corpus


class EncoderGroup(Node):
    """The embeddings of one corpus by one encoder."""

    def __init__(self, group: zarr.Group, path: str, name: str, corpus: Corpus) -> None:
        super().__init__(group, path)
        self.name = name
        self.corpus = corpus

    @property
    def _lengths(self) -> dict[str, int]:
        n_clips = self.corpus.n_clips
        units = schema.n_units(n_clips, self.corpus.unit_rows)
        return {"clip": n_clips, "layer": len(self.layers), "feature": self.dim, "unit": units}

    @property
    def card(self) -> dict[str, Any]:
        """Facts about the encoder: family, source, licence, citation, pretraining, dim, n_layers, ..."""
        return dict(self.attrs["card"])

    @property
    def key(self) -> dict[str, Any]:
        """What the embeddings were made from, the audio apart."""
        return dict(self.attrs["key"])

    @property
    def key_hash(self) -> str:
        """Sha256 of `key`."""
        return str(self.attrs["key_hash"])

    @property
    def weights_origin(self) -> str:
        """Where the weights came from, such as "hub:microsoft/wavlm-base@…" or "random(seed=0)"."""
        return str(self.attrs["weights_origin"])

    @property
    def is_random(self) -> bool:
        """True where the weights were never trained: good for tests and demonstrations only."""
        return self.weights_origin.startswith("random")

    @property
    def n_layers(self) -> int:
        """Layers held, layer 0 (input to the first block) included."""
        return int(self.attrs["n_layers"])

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers held, 0 to n_layers - 1: all, unless a pack was cut down to some."""
        return tuple(int(layer) for layer in self.attrs.get("layers") or range(self.n_layers))

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return int(self.attrs["dim"])

    @property
    def has_std(self) -> bool:
        """True where standard deviations over frames are held too."""
        return "pooled_std" in self.attrs["products"]

    @property
    def frame_layers(self) -> tuple[int, ...]:
        """Layers whose frames are held."""
        return Products.from_names(self.attrs["products"]).frames

    @cached_property
    def products(self) -> Products:
        """What is kept of every clip."""
        layers = self.frame_layers
        dtype = str(self._array(f"frames/{schema.frame_name(layers[0])}").dtype) if layers else "float16"
        return Products(self.has_std, layers, cast(schema.FrameDtype, dtype))

    def done(self, product: str = "pooled") -> np.ndarray:
        """Return the committed rows of each unit, int32 [unit]."""
        return self._read(f"done/{product}")

    @cached_property
    def _ledger(self) -> Ledger:
        return self._read_ledger("pooled")

    def ledger(self, product: str = "pooled") -> Ledger:
        """Return how every clip ended; a row is ok only if it was committed and its audio is the registered one."""
        return self._ledger if product == "pooled" else self._read_ledger(product)

    def _read_ledger(self, product: str) -> Ledger:
        n = self.corpus.n_clips
        status = np.full(n, MISSING, dtype=np.uint8)
        reason = np.full(n, "", dtype=object)
        embedded = np.full(n, "", dtype=object)
        names = ("status", "reason", "sha256")
        reads: list[Callable[[], np.ndarray]] = [partial(self._read, name, slice(n)) for name in names]
        reads += [partial(self.done, product), lambda: self.corpus.sha256]
        *kept, stored, registered = at_once(self.group, reads)
        held = len(kept[0])
        for column, values in zip((status, reason, embedded), kept, strict=True):
            column[:held] = values[:held]
        unit_rows = self.corpus.unit_rows
        rows = np.arange(n)
        done = np.zeros(schema.n_units(n, unit_rows), dtype=np.int32)
        stored = stored[: len(done)]
        done[: len(stored)] = stored
        committed = np.zeros(n, dtype=bool)
        committed[:held] = (rows % unit_rows)[:held] < done[(rows // unit_rows)[:held]]
        status[~committed] = MISSING
        status[(status != MISSING) & (embedded != registered)] = STALE
        reason[(status == MISSING) | (status == STALE)] = ""
        return Ledger(status, reason)

    def pooled(self, layer: int = -1, rows: Rows | None = None) -> np.ndarray:
        """Return the mean over each clip's own frames, float32 [clip, feature]; NaN rows where a clip is not ok.

        Args:
            rows: clips to read, int [row] in any order or a mask [clip]; None for all.

        Raises:
            StoreError: no such layer or row.
            IntegrityError: a checksum does not match, or values that the ledger counts are not there.
        """
        return read_pooled(self, "pooled", [self._position(layer)], rows)[:, 0]

    def pooled_std(self, layer: int = -1, rows: Rows | None = None) -> np.ndarray:
        """Return the standard deviation over each clip's own frames, as `pooled` does."""
        self._require_std()
        return read_pooled(self, "pooled_std", [self._position(layer)], rows)[:, 0]

    def pooled_all(self, rows: Rows | None = None) -> np.ndarray:
        """Return the mean of every layer held, float32 [clip, layer, feature], in the order of `layers`."""
        return read_pooled(self, "pooled", range(len(self.layers)), rows)

    def to_torch(self, layer: int = -1, rows: Rows | None = None) -> torch.Tensor:
        """Return `pooled` as a float32 tensor [clip, feature], without a copy. Raises `ConfigError` without torch."""
        tensor: torch.Tensor = convert.tensor(self.pooled(layer, rows))
        return tensor

    def to_dask(self, product: Literal["pooled", "pooled_std"] = "pooled") -> dask.array.Array:
        """Return all layers as a float32 dask array [clip, layer, feature], one chunk a unit and layer; read when computed.

        Raises:
            ConfigError: dask is not installed.
        """
        if product == "pooled_std":
            self._require_std()
        array: dask.array.Array = convert.dask_array(self, product)
        return array

    def to_xarray(self) -> xarray.Dataset:
        """Return a Dataset: pooled vectors (dask), status and reason; clip, layer and the label columns as coordinates.

        `encoder.to_xarray().pooled.sel(clip="a.wav", layer=6)`; rows that are not ok are NaN, stale ones too, which a reader
        that opens the group without us does not know.

        Raises:
            ConfigError: xarray or dask is not installed.
        """
        dataset: xarray.Dataset = convert.encoder_dataset(self)
        return dataset

    def frames(self, layer: int = -1) -> Frames:
        """Return the frames of one layer, where they were kept. Raises `StoreError` with the layers there are."""
        index = self._layer(layer)
        if index not in self.frame_layers:
            raise StoreError(
                f"{self.path}: frames of layer {index} were not kept (kept: {list(self.frame_layers) or 'none'}). "
                f"Extract again with `frames: [{index}]`; what is there stays."
            )
        name = schema.frame_name(index)
        length = np.zeros(self.corpus.n_clips, dtype=np.int64)
        usable = self.ledger(name).ok
        stored = self._read("frames/length", slice(self.corpus.n_clips))
        length[: len(stored)] = np.where(usable[: len(stored)], stored, 0)
        values, start = self._array(f"frames/{name}"), self._read("frames/start")
        guard.frame_places(start[: len(stored)], length[: len(stored)], values, f"{self.path}/frames")
        return Frames(values, start, length)

    def content_hash(self) -> str:
        """Return a hash of the key and of id, content and status of every clip in use: what a result depends on."""
        digest = hashlib.sha256(self.key_hash.encode())
        used = self.corpus.listing.used
        columns = (self.corpus.clip, self.corpus.sha256, self.ledger().status)
        for clip, sha, code in zip(*(values[used] for values in columns), strict=True):
            digest.update(f"{clip}\0{sha}\0{code}\n".encode())
        return digest.hexdigest()

    def unit(self, unit: int) -> slice:
        """Return the rows of a unit."""
        first = unit * self.corpus.unit_rows
        return slice(first, first + schema.unit_size(unit, self.corpus.n_clips, self.corpus.unit_rows))

    def ledger_digest(self, unit: int, status: np.ndarray | None = None) -> int:
        """Return the digest of what the ledger says about a unit: now, or with the `status` that it is about to have."""
        rows = self.unit(unit)
        status = self._array("status")[rows] if status is None else status
        return strings_digest(self._array("sha256")[rows], status, self._array("reason")[rows])

    def product_digest(self, product: str, unit: int, status: np.ndarray | None = None) -> int:
        """Return the digest of a unit's data: of the clips that are ok now, or by the `status` it is about to have."""
        rows = self.unit(unit)
        if product in {"pooled", "pooled_std"}:
            values = self._array(product)
            guard.backed(values, rows.start, rows.stop - rows.start, f"{self.path}/{product}")
            return values_digest([np.asarray(values[rows])])
        ok = np.asarray(self._array("status")[rows] if status is None else status) == OK
        start, length = (np.asarray(self._array(f"frames/{name}")[rows])[ok] for name in ("start", "length"))
        array = self._array(f"frames/{product}")
        guard.frame_places(start, length, array, f"{self.path}/frames")
        for first, n in zip(start, length, strict=True):
            guard.backed(array, int(first), int(n), f"{self.path}/frames/{product}")
        return values_digest(np.asarray(array[first : first + n]) for first, n in zip(start, length, strict=True))

    def _layer(self, layer: int) -> int:
        if not -self.n_layers <= layer < self.n_layers:
            raise StoreError(
                f"{self.path}: expected a layer from 0 to {self.n_layers - 1} or -1 for the last, got {layer}."
            )
        if layer % self.n_layers not in self.layers:
            raise StoreError(
                f"{self.path}: holds layers {', '.join(map(str, self.layers))} of 0 to {self.n_layers - 1}, not layer "
                f"{layer % self.n_layers}. Take one of these, or ask for a pack that has it."
            )
        return layer % self.n_layers

    def _position(self, layer: int) -> int:
        return self.layers.index(self._layer(layer))

    def _require_std(self) -> None:
        if not self.has_std:
            raise StoreError(
                f"{self.path}: standard deviations were not kept. Extract again with `statistics: [mean, std]`; what is "
                f"there stays."
            )
