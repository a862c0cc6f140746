"""The arrays of a store as specifications; creating, growing and checking them. Every call may be repeated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError, ZarrUserWarning
from zarr.storage import MemoryStore

from . import schema
from .backend import show
from .digest import LEDGER, column_digest, sealed
from .schema import Products, n_units

Nodes = Mapping[str, Any]
"""Arrays and groups that are there already, by path."""
CHANGING = ""
"""Digest of a column whose chunks are being written."""


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
    any_chunks: bool = False
    """Whether the array keeps the chunks it was made with, whatever its length is now."""

    def ensure(self, group: zarr.Group, held: Nodes, attributes: Mapping[str, Any] | None = None) -> Any:
        """Return the array, created with `attributes` where `held` lacks it and grown where it is shorter."""
        if self.name in held:
            array = held[self.name]
            if array.shape != self.shape:
                array.resize(self.shape)
            return array
        try:
            return self._create(group, attributes)
        except ContainsArrayError:
            around = self.name.rpartition("/")[0]
            if not around:
                raise
            group.require_group(around)  # a kill came between its document and this group's: nothing of it counts
            del group[self.name]
            return self._create(group, attributes)

    def _create(self, group: zarr.Group, attributes: Mapping[str, Any] | None) -> Any:
        return group.create_array(
            self.name,
            shape=self.shape,
            chunks=self.chunks,
            shards=self.shards,
            dtype=self.dtype,
            fill_value=self.fill,
            compressors=[Crc32cCodec()],
            dimension_names=list(self.dims),
            attributes=dict(attributes or {}),
            config={"write_empty_chunks": self.dtype != "string"},
        )

    def differences(self, group: zarr.Group) -> Iterator[str]:
        """Yield what is not as specified, in words; an array may be longer in its first dimension than asked for."""
        array = cast(Any, group[self.name])
        if array.shape[0] < self.shape[0] or array.shape[1:] != self.shape[1:]:
            yield f"expected shape {list(self.shape)}, got {list(array.shape)}"
        grown = replace(self, chunks=tuple(array.chunks)) if self.any_chunks else self
        wanted = grown.ensure(zarr.create_group(MemoryStore()), {}).metadata.to_dict()
        found = array.metadata.to_dict()
        for field in sorted({*wanted, *found} - {"shape", "attributes"}):
            if repr(wanted.get(field)) != repr(found.get(field)):
                yield f"its {field.replace('_', ' ')} is not as written: {found.get(field)!r}"[:200]


def clip_spec(name: str, n_clips: int, dtype: str, *, rows: int | None = None) -> ArraySpec:
    """Return a [clip] array; `rows` is its chunk: a unit where units are committed, else chosen for what is written whole."""
    fills: dict[str, float | int | str] = {"string": "", "float64": float("nan")}
    chunk = rows or schema.column_rows(n_clips)
    return ArraySpec(name, (n_clips,), ("clip",), (chunk,), dtype, fill=fills.get(dtype, 0), any_chunks=rows is None)


def layer_spec(n_layers: int) -> ArraySpec:
    """Return the [layer] coordinate."""
    return ArraySpec("layer", (n_layers,), ("layer",), (n_layers,), "int64")


def write_column(
    group: zarr.Group,
    spec: ArraySpec,
    values: np.ndarray,
    held: Nodes,
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    """Write a whole 1-d array with its digest, by which an array that holds the same values is left alone; return it."""
    wanted = {**(attributes or {}), "digest": column_digest(values)}
    if spec.name not in held:
        array = spec.ensure(group, held, wanted)
        array[:] = values
        return array
    array = held[spec.name]
    if array.shape != spec.shape or array.attrs.get("digest") != wanted["digest"]:
        array.attrs["digest"] = CHANGING
        show()
        spec.ensure(group, held)
        for start in range(0, len(values), array.chunks[0]):
            window = slice(start, start + array.chunks[0])
            if not _same(array, window, values[window]):
                array[window] = values[window]
        show()
    if any(array.attrs.get(key) != value for key, value in wanted.items()):
        array.attrs.update(wanted)
    return array


def update_attributes(group: zarr.Group, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `changes` into what a group says about itself, sealed with a digest; return the whole."""
    current = described(group)
    wanted = sealed({**current, **changes})
    if wanted != current:
        group.attrs.update({schema.ATTRS: wanted})
    return wanted


def described(group: zarr.Group) -> dict[str, Any]:
    """Return what a group says about itself."""
    return dict(cast(dict[str, Any], group.attrs.get(schema.ATTRS, {})))


def list_in(group: zarr.Group, inventory: str, name: str) -> None:
    """Add a finished member to its parent's inventory, by which verification notices that one is gone."""
    update_attributes(group, {inventory: sorted({*described(group).get(inventory, ()), name})})


def open_group(parent: zarr.Group, name: str) -> zarr.Group | None:
    """Return a group below another, None where there is none."""
    try:
        return cast(zarr.Group, parent[name])
    except KeyError:
        return None


def nodes_of(group: zarr.Group, *, below: bool = False) -> dict[str, Any]:
    """Return the arrays and groups of a group by name, with all `below` them by path. One look instead of one an array."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # folders of an interrupted registration
        return dict(group.members(max_depth=None if below else 0))


def _same(array: Any, window: slice, values: np.ndarray) -> bool:
    try:
        stored = array[window]
    except (ValueError, RuntimeError, TypeError):  # damaged, and about to be replaced
        return False
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
