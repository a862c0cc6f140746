"""Creating and growing the arrays of a store. Every call may be repeated: what exists is kept, what is short is grown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from . import schema
from .digest import LEDGER, column_digest
from .schema import Products, n_units


def ensure_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dims: Sequence[str],
    dtype: str,
    shards: tuple[int, ...] | None = None,
    fill: object = None,
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Array[Any]:
    """Return the array, created where absent and grown where it is shorter than `shape`. Every chunk carries a crc32c."""
    if name in group:
        array = group[name]
        assert isinstance(array, zarr.Array)
        if array.shape != shape:
            array.resize(shape)
        return array
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype=dtype,
        fill_value=fill if fill is not None else ("" if dtype == "string" else 0),
        compressors=[Crc32cCodec()],
        dimension_names=list(dims),
        attributes=dict(attributes or {}),
        config={"write_empty_chunks": dtype != "string"},
    )


def ensure_clip_array(
    group: zarr.Group, name: str, n_clips: int, *, dtype: str, rows: int, attributes: Mapping[str, Any] | None = None
) -> zarr.Array[Any]:
    """Return a [clip] array; `rows` is its chunk, `schema.COLUMN_ROWS` for what one process writes, a unit otherwise."""
    fill = float("nan") if dtype == "float64" else None
    return ensure_array(
        group, name, shape=(n_clips,), chunks=(rows,), dims=("clip",), dtype=dtype, fill=fill, attributes=attributes
    )


def write_clip_array(
    group: zarr.Group,
    name: str,
    values: np.ndarray,
    *,
    dtype: str,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write a whole [clip] column, leaving chunks that already hold the same values untouched; then its digest."""
    array = ensure_clip_array(group, name, len(values), dtype=dtype, rows=schema.COLUMN_ROWS)
    for start in range(0, len(values), schema.COLUMN_ROWS):
        window = slice(start, start + schema.COLUMN_ROWS)
        if not _same(array[window], values[window]):
            array[window] = values[window]
    wanted = {**(attributes or {}), "digest": column_digest(values)}
    if any(array.attrs.get(key) != value for key, value in wanted.items()):
        array.attrs.update(wanted)


def _same(stored: Any, values: np.ndarray) -> bool:
    if values.dtype.kind == "f":
        return bool(np.array_equal(stored, values, equal_nan=True))
    return bool(np.array_equal(np.asarray(stored, dtype=object), np.asarray(values, dtype=object)))


def ensure_encoder_arrays(
    group: zarr.Group, *, n_clips: int, unit_rows: int, n_layers: int, dim: int, products: Products
) -> None:
    """Create or grow everything an encoder group holds but `clip` and the frames, whose size depends on their places."""
    layer = ensure_array(group, "layer", shape=(n_layers,), chunks=(n_layers,), dims=("layer",), dtype="int64")
    if n_layers > 1 and int(layer[n_layers - 1]) != n_layers - 1:
        layer[:] = np.arange(n_layers)
    ensure_clip_array(group, "sha256", n_clips, dtype="string", rows=unit_rows)
    ensure_clip_array(group, "reason", n_clips, dtype="string", rows=unit_rows)
    meaning = {"meaning": dict(enumerate(schema.STATUS_NAMES[:3]))}
    ensure_clip_array(group, "status", n_clips, dtype="uint8", rows=unit_rows, attributes=meaning)
    for name in ("pooled", "pooled_std") if products.std else ("pooled",):
        ensure_array(
            group,
            name,
            shape=(n_clips, n_layers, dim),
            chunks=(unit_rows, 1, dim),
            shards=(unit_rows, n_layers, dim),
            dims=("clip", "layer", "feature"),
            dtype="float32",
            fill=float("nan"),
        )
    units = (n_units(n_clips, unit_rows),)
    done, digest = group.require_group("done"), group.require_group("digest")
    ensure_array(digest, LEDGER, shape=units, chunks=(1,), dims=("unit",), dtype="int64")
    for name in products.names():
        ensure_array(digest, name, shape=units, chunks=(1,), dims=("unit",), dtype="int64")
        ensure_array(done, name, shape=units, chunks=(1,), dims=("unit",), dtype="int32")


def ensure_frame_array(group: zarr.Group, name: str, *, n_frames: int, dim: int, dtype: str) -> zarr.Array[Any]:
    """Return the [frame, feature] array of one layer, at least `n_frames` long."""
    return ensure_array(
        group,
        name,
        shape=(n_frames, dim),
        chunks=(schema.FRAMES_CHUNK, dim),
        shards=(schema.FRAMES_SHARD, dim),
        dims=("frame", "feature"),
        dtype=dtype,
        fill=float("nan"),
    )
