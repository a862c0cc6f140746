"""The arrays of a store as specifications; creating, growing and checking them. Every call may be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from . import schema
from .digest import LEDGER, column_digest, sealed
from .schema import Products, n_units


@dataclass(frozen=True)
class ArraySpec:
    """One array as it has to be: path within its group, shape, dimension names, chunking, type. All carry a crc32c."""

    name: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    chunks: tuple[int, ...]
    dtype: str
    shards: tuple[int, ...] | None = None
    fill: float | int | str = 0

    def ensure(self, group: zarr.Group) -> Any:
        """Return the array, created where absent and grown where it is shorter."""
        if self.name in group:
            array = cast(Any, group[self.name])
            if array.shape != self.shape:
                array.resize(self.shape)
            return array
        return group.create_array(
            self.name,
            shape=self.shape,
            chunks=self.chunks,
            shards=self.shards,
            dtype=self.dtype,
            fill_value=self.fill,
            compressors=[Crc32cCodec()],
            dimension_names=list(self.dims),
            config={"write_empty_chunks": self.dtype != "string"},
        )

    def differences(self, group: zarr.Group) -> Iterator[str]:
        """Yield what is not as specified, in words; an array may be longer in its first dimension than asked for."""
        array = cast(Any, group[self.name])
        if array.shape[0] < self.shape[0] or array.shape[1:] != self.shape[1:]:
            yield f"expected shape {list(self.shape)}, got {list(array.shape)}"
        wanted = self.ensure(zarr.create_group(MemoryStore())).metadata.to_dict()
        found = array.metadata.to_dict()
        for field in sorted({*wanted, *found} - {"shape", "attributes"}):
            if repr(wanted.get(field)) != repr(found.get(field)):
                yield f"its {field.replace('_', ' ')} is not as written: {found.get(field)!r}"[:200]


def clip_spec(name: str, n_clips: int, dtype: str, *, rows: int = schema.COLUMN_ROWS) -> ArraySpec:
    """Return a [clip] array; `rows` is its chunk: large for what one process writes, a unit otherwise."""
    fills: dict[str, float | int | str] = {"string": "", "float64": float("nan")}
    return ArraySpec(name, (n_clips,), ("clip",), (rows,), dtype, fill=fills.get(dtype, 0))


def layer_spec(n_layers: int) -> ArraySpec:
    """Return the [layer] coordinate."""
    return ArraySpec("layer", (n_layers,), ("layer",), (n_layers,), "int64")


def write_column(
    group: zarr.Group, spec: ArraySpec, values: np.ndarray, attributes: Mapping[str, Any] | None = None
) -> None:
    """Write a whole 1-d array, leaving chunks that already hold the same values untouched; then its digest."""
    array = spec.ensure(group)
    for start in range(0, len(values), spec.chunks[0]):
        window = slice(start, start + spec.chunks[0])
        if not _same(array[window], values[window]):
            array[window] = values[window]
    wanted = {**(attributes or {}), "digest": column_digest(values)}
    if any(array.attrs.get(key) != value for key, value in wanted.items()):
        array.attrs.update(wanted)


def update_attributes(group: zarr.Group, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `changes` into what a group says about itself, sealed with a digest; return the whole."""
    current = dict(cast(dict[str, Any], group.attrs.get(schema.ATTRS, {})))
    wanted = sealed({**current, **changes})
    if wanted != current:
        group.attrs.update({schema.ATTRS: wanted})
    return wanted


def _same(stored: Any, values: np.ndarray) -> bool:
    if values.dtype.kind == "f":
        return bool(np.array_equal(stored, values, equal_nan=True))
    return bool(np.array_equal(np.asarray(stored, dtype=object), np.asarray(values, dtype=object)))


def encoder_specs(
    *, n_clips: int, unit_rows: int, n_layers: int, dim: int, products: Products, n_frames: int = 0
) -> list[ArraySpec]:
    """Return every array of an encoder group, coordinates included; `n_frames` is the length of the frame arrays."""
    units = n_units(n_clips, unit_rows)
    specs = [
        clip_spec("clip", n_clips, "string"),
        layer_spec(n_layers),
        *(clip_spec(name, n_clips, "string", rows=unit_rows) for name in ("sha256", "reason")),
        clip_spec("status", n_clips, "uint8", rows=unit_rows),
    ]
    for name in ("pooled", "pooled_std")[: 1 + products.std]:
        dims, shape = ("clip", "layer", "feature"), (n_clips, n_layers, dim)
        inner, outer = (unit_rows, 1, dim), (unit_rows, n_layers, dim)
        specs.append(ArraySpec(name, shape, dims, inner, "float32", outer, float("nan")))
    specs.append(ArraySpec(f"digest/{LEDGER}", (units,), ("unit",), (1,), "int64"))
    for name in products.names():
        specs.append(ArraySpec(f"digest/{name}", (units,), ("unit",), (1,), "int64"))
        specs.append(ArraySpec(f"done/{name}", (units,), ("unit",), (1,), "int32"))
    return specs + (frame_specs(n_clips, n_frames, dim, products) if products.frames else [])


def frame_specs(n_clips: int, n_frames: int, dim: int, products: Products) -> list[ArraySpec]:
    """Return the arrays under `frames/`."""
    chunks, shards = (schema.FRAMES_CHUNK, dim), (schema.FRAMES_SHARD, dim)
    places = [clip_spec(f"frames/{name}", n_clips, "int64") for name in ("start", "length")]
    values = [f"frames/{schema.frame_name(layer)}" for layer in products.frames]
    return places + [
        ArraySpec(name, (n_frames, dim), ("frame", "feature"), chunks, products.frames_dtype, shards, float("nan"))
        for name in values
    ]
