"""Writing a store: register clips, register an encoder, then commit units. One process registers; a unit has one writer.

The order of writes is what makes a kill harmless: data first, then the content hash, the reason and the status of its
rows, then the unit's `done` count. Each object is whole and on the disk before the next is begun (see `backend`).
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from ..errors import IntegrityError, KeyMismatch, SchemaError, VoxcacheError
from . import schema
from .backend import DurableStore
from .digest import LEDGER, sealed, values_digest
from .keys import Key, differences, key_hash
from .layout import clip_spec, encoder_specs, frame_specs, layer_spec, update_attributes, write_column
from .read import Corpus, EncoderGroup, Store, open_root
from .schema import ATTRS, FAILED, MISSING, STALE, Products, Role, n_units, node_name, unit_size


def create_store(path: str | Path) -> Store:
    """Open the store at `path` for writing, making it where nothing is.

    Raises:
        SchemaError: something else is there.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        return Store(open_root(path, writable=True), str(path))
    from .. import __version__

    about = {
        "kind": "store",
        "schema": schema.SCHEMA,
        "uuid": uuid.uuid4().hex,
        "created_by": f"voxcache {__version__}",
    }
    root = zarr.create_group(DurableStore(path), attributes={ATTRS: sealed(about)}, overwrite=False)
    return Store(root, str(path))


@dataclass(frozen=True)
class ColumnData:
    """A label column to register: `values` str or float64 [clip]."""

    name: str
    role: Role
    values: np.ndarray
    description: str = ""


@dataclass(frozen=True)
class Registered:
    """What registering changed, as clip ids."""

    rows: np.ndarray
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()


def register_clips(
    store: Store,
    name: str,
    *,
    clip: Sequence[str],
    sha256: Sequence[str],
    n_samples: Sequence[int],
    columns: Sequence[ColumnData] = (),
    about: Mapping[str, Any] | None = None,
    unit_rows: int | None = None,
) -> tuple[Corpus, Registered]:
    """Give every clip its row. Known ids keep theirs, new ones are appended, a changed hash makes its rows stale.

    Args:
        clip: ids, unique.
        sha256: content hash of each clip, "" where unreadable.
        n_samples: length of each clip at 16 kHz, 0 where unreadable.
        about: licence, citation and so on, kept in the corpus' attributes.
        unit_rows: clips a unit, for a corpus that is made now.

    Returns:
        The corpus, and the row of each given clip with what changed.
    """
    name = node_name("corpus", name)
    group = store.group.require_group(name)
    held = _about(group)
    old = Corpus(group, f"{store.path}/{name}", name) if held.get("kind") == "corpus" else None
    rows = held.get("unit_rows") or unit_rows or schema.default_unit_rows(len(clip))
    update_attributes(group, {"kind": held.get("kind", schema.UNFINISHED), "name": name, "unit_rows": rows})
    merged = _merge(old, clip, sha256, n_samples)
    write_column(group, clip_spec("sha256", len(merged.clip), "string"), merged.sha256)
    write_column(group, clip_spec("n_samples", len(merged.clip), "int64"), merged.n_samples)
    written = {_write_column(group, old, column, merged) for column in columns}
    if old is not None:
        _grow_columns(group, old, written, merged)
    kept = {*held.get("columns", ()), *written}
    write_column(group, clip_spec("clip", len(merged.clip), "string"), merged.clip)
    finished = {"kind": "corpus", "n_clips": len(merged.clip), "columns": sorted(kept)}
    update_attributes(group, {**(about or {}), **finished})
    _list_in(store.group, "corpora", name)
    store.__dict__.pop("corpora", None)
    return Corpus(group, f"{store.path}/{name}", name), merged.registered


def _about(group: zarr.Group) -> dict[str, Any]:
    return dict(cast(dict[str, Any], group.attrs.get(ATTRS, {})))


def _list_in(group: zarr.Group, inventory: str, name: str) -> None:
    """Add a finished member to its parent's inventory, by which verification notices that one is gone."""
    update_attributes(group, {inventory: sorted({*_about(group).get(inventory, ()), name})})


@dataclass(frozen=True)
class _Merged:
    clip: np.ndarray
    sha256: np.ndarray
    n_samples: np.ndarray
    registered: Registered


def _merge(old: Corpus | None, clip: Sequence[str], sha256: Sequence[str], n_samples: Sequence[int]) -> _Merged:
    known = {} if old is None else {str(name): row for row, name in enumerate(old.clip)}
    new = [name for name in clip if name not in known]
    row_of = {**known, **{name: len(known) + i for i, name in enumerate(new)}}
    rows = np.array([row_of[name] for name in clip], dtype=np.int64)
    total = len(row_of)
    ids, hashes, samples = np.full(total, "", object), np.full(total, "", object), np.zeros(total, np.int64)
    changed: list[str] = []
    if old is not None:
        ids[: len(known)], hashes[: len(known)], samples[: len(known)] = old.clip, old.sha256, old.n_samples
        changed = [name for name, sha in zip(clip, sha256, strict=True) if name in known and hashes[known[name]] != sha]
    ids[rows], hashes[rows], samples[rows] = list(clip), list(sha256), list(n_samples)
    listed = set(clip)
    unlisted = tuple(name for name in known if name not in listed)
    return _Merged(ids, hashes, samples, Registered(rows, tuple(new), tuple(changed), unlisted))


def _write_column(group: zarr.Group, old: Corpus | None, column: ColumnData, merged: _Merged) -> str:
    name = node_name("column", column.name)
    if name in schema.CORPUS_ARRAYS:
        name = f"{name}_"
    number = column.values.dtype.kind == "f"
    values: np.ndarray = np.full(len(merged.clip), np.nan if number else "", dtype=np.float64 if number else object)
    if old is not None and name in old.columns and (old.columns[name].values.dtype.kind == "f") == number:
        values[: old.n_clips] = old.columns[name].values
    values[merged.registered.rows] = column.values
    about = {"role": column.role, "description": column.description}
    if name in group and (cast(Any, group[name]).dtype.kind == "f") != number:
        del group[name]
    write_column(group, clip_spec(name, len(values), "float64" if number else "string"), values, about)
    return name


def _grow_columns(group: zarr.Group, old: Corpus, written: set[str], merged: _Merged) -> None:
    """Lengthen columns that were not given: axes of one name must have one length."""
    for name, column in old.columns.items():
        if name not in written:
            number = column.values.dtype.kind == "f"
            values: np.ndarray = np.full(
                len(merged.clip), np.nan if number else "", dtype=np.float64 if number else object
            )
            values[: len(column.values)] = column.values
            about = {"role": column.role, "description": column.description}
            write_column(group, clip_spec(name, len(values), "float64" if number else "string"), values, about)


def register_encoder(
    corpus: Corpus,
    name: str,
    *,
    key: Key,
    n_layers: int,
    dim: int,
    n_frames: np.ndarray,
    products: Products,
    about: Mapping[str, Any],
) -> EncoderWriter:
    """Give an encoder its group, with room for every clip and a place for every frame.

    Args:
        key: everything but the audio that can change a number; compared with what is there.
        n_frames: frames of each clip, int64 [clip].
        products: what to keep; joined with what is kept already.
        about: card, weights_origin, versions and so on, for the attributes.

    Raises:
        KeyMismatch: the group exists and was made from something else.
    """
    name = node_name("encoder", name)
    path = f"{corpus.path}/{name}"
    if name in corpus.group and isinstance(corpus.group[name], zarr.Array):
        raise KeyMismatch(f"{path}: the corpus has a label column of that name. Give the encoder another `as:` name.")
    if name in corpus.encoders:
        check_key(corpus, name, key)
        held = corpus.encoder(name).products
        if held.frames and products.frames and held.frames_dtype != products.frames_dtype:
            raise KeyMismatch(
                f"{path}: its frames are kept as {held.frames_dtype}, {products.frames_dtype} is asked for. Ask for "
                f"`frames_dtype: {held.frames_dtype}`, or replace the embeddings with `--replace {name}`."
            )
        products = held.union(products)
    elif name in corpus.group:
        del corpus.group[name]
    group = corpus.group.require_group(name)
    fixed = {"name": name, "n_layers": n_layers, "dim": dim, "unit_rows": corpus.unit_rows}
    fixed |= {"key": dict(key), "key_hash": key_hash(key)}
    kind = _about(group).get("kind", schema.UNFINISHED)
    update_attributes(group, {**about, **fixed, "kind": kind})
    write_column(group, clip_spec("clip", corpus.n_clips, "string"), corpus.clip)
    write_column(group, layer_spec(n_layers), np.arange(n_layers))
    if products.frames:
        place_frames(EncoderGroup(group, path, name, corpus), n_frames, products)
    for spec in encoder_specs(
        n_clips=corpus.n_clips,
        unit_rows=corpus.unit_rows,
        n_layers=n_layers,
        dim=dim,
        products=products,
        n_frames=_frames_end(group),
    ):
        spec.ensure(group)
    update_attributes(group, {"kind": "encoder", "products": list(products.names())})
    _list_in(corpus.group, "encoders", name)
    corpus.__dict__.pop("encoders", None)
    return EncoderWriter(EncoderGroup(group, path, name, corpus), products)


def check_key(corpus: Corpus, name: str, key: Key) -> None:
    """Raise `KeyMismatch`, naming every field that differs, unless the group `name` was made from `key`."""
    stored = corpus.encoder(name).key
    found = differences(stored, key)
    if found:
        raise KeyMismatch(
            f"{corpus.path}/{name}: its embeddings were made from something else ({'; '.join(found)}). Nothing was reused. "
            f"Keep both by giving this one another name (`as:`), or replace the old ones with `--replace {name}`."
        )


def place_frames(encoder: EncoderGroup, n_frames: np.ndarray, products: Products) -> None:
    """Give every clip without a place (or with one of another length) room for its frames, units on shard boundaries."""
    corpus, group = encoder.corpus, encoder.group
    end = _frames_end(group)
    specs = frame_specs(corpus.n_clips, end, encoder.dim, products)
    starts, lengths = (np.asarray(spec.ensure(group)[:]) for spec in specs[:2])
    for unit in range(n_units(corpus.n_clips, corpus.unit_rows)):
        rows = np.arange(unit * corpus.unit_rows, min((unit + 1) * corpus.unit_rows, corpus.n_clips))
        rows = rows[lengths[rows] != n_frames[rows]]
        if not len(rows):
            continue
        starts[rows] = end + np.concatenate([[0], np.cumsum(n_frames[rows])[:-1]])
        lengths[rows] = n_frames[rows]
        end += -(-int(n_frames[rows].sum()) // schema.FRAMES_SHARD) * schema.FRAMES_SHARD
    for spec in frame_specs(corpus.n_clips, end, encoder.dim, products)[2:]:
        spec.ensure(group)
    write_column(group, specs[0], starts)
    write_column(group, specs[1], lengths)


def _frames_end(group: zarr.Group) -> int:
    if "frames" not in group:
        return 0
    arrays = cast(zarr.Group, group["frames"]).arrays()
    return max((int(array.shape[0]) for name, array in arrays if name.startswith("layer_")), default=0)


@dataclass(frozen=True)
class UnitData:
    """Embeddings of some clips of one unit.

    Attributes:
        status: uint8 [clip]; reason: str [clip], a sentence where status is failed.
        pooled: float32 [clip, layer, feature], NaN where failed; pooled_std the same.
        frames: layer to one [frame, feature] array a clip, None where failed.
    """

    status: np.ndarray
    reason: np.ndarray
    pooled: np.ndarray
    pooled_std: np.ndarray | None = None
    frames: Mapping[int, Sequence[np.ndarray | None]] = field(default_factory=dict)


class EncoderWriter:
    """Commits units of one encoder. Made by `register_encoder`; units may be committed by different processes."""

    def __init__(self, encoder: EncoderGroup, products: Products) -> None:
        self.encoder = encoder
        self.products = products

    def todo(self, *, retry_failed: bool = False) -> dict[int, np.ndarray]:
        """Return the rows still to embed, by unit: missing, stale, short of a product, and failed ones on request."""
        corpus = self.encoder.corpus
        wanted = np.zeros(corpus.n_clips, dtype=bool)
        for product in self.products.names():
            status = self.encoder.ledger(product).status
            wanted |= (status == MISSING) | (status == STALE)
            if retry_failed:
                wanted |= status == FAILED
        rows = np.flatnonzero(wanted)
        units = rows // corpus.unit_rows
        return {int(unit): rows[units == unit] for unit in np.unique(units)}

    def reader(self) -> EncoderGroup:
        """Return a view that sees what has been committed up to now."""
        return EncoderGroup(self.encoder.group, self.encoder.path, self.encoder.name, self.encoder.corpus)

    def commit(self, unit: int, rows: np.ndarray, data: UnitData, *, final: bool = True) -> None:
        """Write the embeddings of `rows`, all of one unit, then their ledger, then the unit's digests and done counts.

        `final` is False while more rows of the unit are to come, so that nothing counts as done before all are there.
        """
        whole = len(rows) == self._unit(unit).stop - self._unit(unit).start
        self._write("pooled", unit, rows, data.pooled)
        if self.products.std:
            if data.pooled_std is None:
                raise IntegrityError(f"{self.encoder.path}, unit {unit}: the store keeps pooled_std, none was given.")
            self._write("pooled_std", unit, rows, data.pooled_std)
        for layer in self.products.frames:
            self._write_frames(layer, rows, data.frames[layer])
        self._write("sha256", unit, rows, self.encoder.corpus.sha256[rows])
        self._write("reason", unit, rows, data.reason)
        self._write("status", unit, rows, data.status)
        if final:
            for product, number in self._digests(unit, data if whole else None).items():
                self._array(f"digest/{product}")[unit] = number
            for product in self.products.names():
                self._array(f"done/{product}")[unit] = self._unit(unit).stop - self._unit(unit).start

    def annotate(self, facts: Mapping[str, Any]) -> None:
        """Add facts about how the embeddings were made to the encoder's attributes."""
        update_attributes(self.encoder.group, facts)
        self.encoder.__dict__.pop("attrs", None)

    def forget(self, unit: int, product: str | None = None) -> None:
        """Count a unit as not done, so that the next run computes it again."""
        for name in (product,) if product else self.products.names():
            self._array(f"done/{name}")[unit] = 0
        if product is None:
            rows = self._unit(unit)
            self._array("status")[rows] = np.zeros(rows.stop - rows.start, dtype=np.uint8)

    def _unit(self, unit: int) -> slice:
        corpus = self.encoder.corpus
        first = unit * corpus.unit_rows
        return slice(first, first + unit_size(unit, corpus.n_clips, corpus.unit_rows))

    def _digests(self, unit: int, data: UnitData | None) -> dict[str, int]:
        """Return the digests of a unit, from memory where all of it is there, else from what was written."""
        reader = self.reader()
        digests = {LEDGER: reader.ledger_digest(unit)}
        if data is None:
            return digests | {name: reader.product_digest(name, unit) for name in self.products.names()}
        digests["pooled"] = values_digest([data.pooled])
        if data.pooled_std is not None and self.products.std:
            digests["pooled_std"] = values_digest([data.pooled_std])
        for layer in self.products.frames:
            dtype = self._array(f"frames/{schema.frame_name(layer)}").dtype
            blocks = [block.astype(dtype) for block in data.frames[layer] if block is not None]
            digests[schema.frame_name(layer)] = values_digest(blocks)
        return digests

    def _array(self, name: str) -> Any:
        return self.encoder.group[name]

    def _write(self, name: str, unit: int, rows: np.ndarray, values: np.ndarray) -> None:
        array, place = self._array(name), self._unit(unit)
        if len(rows) == place.stop - place.start:
            array[place] = values
            return
        block = np.array(array[place])
        block[rows - place.start] = values
        array[place] = block

    def _write_frames(self, layer: int, rows: np.ndarray, frames: Sequence[np.ndarray | None]) -> None:
        array = self._array(f"frames/{schema.frame_name(layer)}")
        start = np.asarray(self._array("frames/start")[:])
        for run in _runs([int(start[row]) for row in rows], frames):
            block = np.concatenate(run.blocks).astype(array.dtype)
            array[run.start : run.start + len(block)] = block


@dataclass
class _Run:
    start: int
    end: int
    blocks: list[np.ndarray]


def _runs(starts: Sequence[int], blocks: Sequence[np.ndarray | None]) -> list[_Run]:
    """Join clips whose places touch, so that a whole unit is written in one piece."""
    runs: list[_Run] = []
    for start, block in sorted(
        ((start, block) for start, block in zip(starts, blocks, strict=True) if block is not None and len(block)),
        key=lambda pair: pair[0],
    ):
        if runs and runs[-1].end == start:
            runs[-1].blocks.append(block)
            runs[-1].end += len(block)
        else:
            runs.append(_Run(start, start + len(block), [block]))
    return runs


def drop(parent: zarr.Group, store_path: str | Path, name: str) -> None:
    """Remove a corpus from a store, or an encoder from a corpus, in one step that a kill cannot leave half done."""
    path = Path(store_path) / parent.path / name
    if not path.is_dir():
        raise SchemaError(f"{path.name}: not in {parent.path or store_path}. Nothing was removed.")
    inventory = "encoders" if _about(parent).get("kind") == "corpus" else "corpora"
    update_attributes(parent, {inventory: [kept for kept in _about(parent).get(inventory, ()) if kept != name]})
    trash = path.with_name(f".{name}.{uuid.uuid4().hex}.dropped")
    try:
        path.rename(trash)
    except OSError as error:
        raise VoxcacheError(f"{path.name}: cannot be removed: {error.strerror}. Check the permissions.") from error
    shutil.rmtree(trash, ignore_errors=True)
