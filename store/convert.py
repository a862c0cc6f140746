"""The numbers of a store for torch, dask and xarray; each package is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import package
from .pooled import read_pooled

if TYPE_CHECKING:
    from .corpus import Corpus
    from .encoder import EncoderGroup


def tensor(values: np.ndarray) -> Any:
    """Return a torch tensor over the same memory."""
    return package("torch").from_numpy(values)


class LazyPooled:
    """`pooled` or `pooled_std` of an encoder as an array that is read where it is indexed; dask may send it to workers."""

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(self, encoder: EncoderGroup, name: str) -> None:
        self.encoder, self.name = encoder, name
        self.shape = (encoder.corpus.n_clips, len(encoder.layers), encoder.dim)

    def __getitem__(self, key: tuple[slice | int, slice | int, slice | int]) -> np.ndarray:
        rows, layers = (np.atleast_1d(np.arange(n)[part]) for n, part in zip(self.shape[:2], key[:2], strict=True))
        values = read_pooled(self.encoder, self.name, layers.tolist(), rows)
        kept = (slice(None) if isinstance(part, slice) else 0 for part in key[:2])
        return np.asarray(values[(*kept, key[2])])


def dask_array(encoder: EncoderGroup, name: str) -> Any:
    """Return [clip, layer, feature] float32 as a dask array, one chunk a unit and layer: as they lie in the store."""
    lazy = LazyPooled(encoder, name)
    chunks = (encoder.corpus.unit_rows, 1, encoder.dim)
    meta = np.empty((0, 0, 0), np.float32)
    return package("dask.array").from_array(lazy, chunks=chunks, name=False, asarray=False, meta=meta)


def encoder_dataset(encoder: EncoderGroup) -> Any:
    """Return pooled vectors (lazy), status and reason of every clip, with the corpus' columns as coordinates."""
    names = ("pooled", "pooled_std")[: 1 + encoder.has_std]
    ledger = encoder.ledger()
    data: dict[str, Any] = {name: (("clip", "layer", "feature"), dask_array(encoder, name)) for name in names}
    data |= {"status": ("clip", ledger.status), "reason": ("clip", ledger.reason)}
    columns = {name: values for name, values in _columns(encoder.corpus).items() if name not in data}
    coordinates = {**columns, "layer": list(encoder.layers)}
    return package("xarray").Dataset(data, coords=coordinates, attrs=_facts(encoder.attrs))


def corpus_tree(corpus: Corpus) -> Any:
    """Return a DataTree: label columns at its root, one child an encoder."""
    xarray = package("xarray")
    root = xarray.Dataset(coords=_columns(corpus), attrs=_facts(corpus.attrs))
    children = {name: xarray.DataTree(encoder_dataset(corpus.encoder(name))) for name in corpus.encoders}
    return xarray.DataTree(root, children=children, name=corpus.name)


def _columns(corpus: Corpus) -> dict[str, Any]:
    values = {"n_samples": corpus.n_samples, **{name: column.values for name, column in corpus.columns.items()}}
    return {"clip": corpus.clip, **{name: ("clip", column) for name, column in values.items()}}


def _facts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if isinstance(value, str | int | float)}
