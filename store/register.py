"""Registering clips: every clip gets its row, every column its values, before anything is embedded. One process at a time.

Arrays that are new appear together, and only then the group says that it is a corpus; a column that changes is first marked
as changing, so that a kill in the middle is noticed and the next registration writes it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import zarr

from ..errors import ConfigError, StoreBusy
from . import schema
from .backend import DurableStore, together
from .checksums import forget_manifest
from .digest import column_facts_digest, sealed
from .layout import (
    ArraySpec,
    Nodes,
    clip_spec,
    described,
    list_in,
    nodes_of,
    open_group,
    update_attributes,
    write_column,
)
from .listing import UNLISTED, Listing, moved_rows, states_after
from .location import Url, place
from .read import Corpus, Store, check_schema, open_root
from .schema import ATTRS, Role, node_name, require_distinct, require_ids
from .swap import restore


def create_store(path: str | Path) -> Store:
    """Open the store at `path` for writing, making it where nothing is.

    Raises:
        SchemaError: something else is there.
    """
    where = place(path)
    if isinstance(where, Url):
        from .remote_open import root_for_writing

        root = root_for_writing(where, {ATTRS: sealed(_new_about())})
        check_schema(root, where.shown)
        return Store(root, where.text)
    restore(where)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        forget_manifest(where)
        return Store(open_root(where, writable=True), str(where))
    root = zarr.create_group(DurableStore(where), attributes={ATTRS: sealed(_new_about())}, overwrite=False)
    return Store(root, str(where))


def _new_about() -> dict[str, Any]:
    from .. import __version__

    return {
        "kind": "store",
        "schema": schema.SCHEMA,
        "uuid": uuid.uuid4().hex,
        "created_by": f"voxcache {__version__}",
    }


@dataclass(frozen=True)
class ColumnData:
    """A label column to register: `values` str or float64 [clip]."""

    name: str
    role: Role
    values: np.ndarray
    description: str = ""


@dataclass(frozen=True)
class Registered:
    """What registering changed, as clip ids.

    `moved` are (id before, id now) of recordings that are listed under another id; `unlisted` clips that the store keeps and that
    are not listed now.
    """

    rows: np.ndarray
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()


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
    others_write: bool = False,
    complete: bool = False,
    states: np.ndarray | None = None,
) -> tuple[Corpus, Registered]:
    """Give every clip its row. Known ids keep theirs, new ones are appended, a changed hash makes its rows stale.

    Args:
        clip: ids, unique.
        sha256: content hash of each clip, "" where unreadable.
        n_samples: length of each clip at 16 kHz, 0 where unreadable.
        about: licence, citation and so on, kept in the corpus' attributes.
        unit_rows: clips a unit, for a corpus that is made now.
        others_write: other workers are committing units of this store, so that rows may not be added or changed.
        complete: these clips are all that is listed: others are not in use from now on, and a recording that was listed under
            another id keeps its row under the new one.
        states: state of each clip that is new, uint8 [given] (see `listing`); without it they are listed.

    Returns:
        The corpus, and the row of each given clip with what changed.

    Raises:
        StoreBusy: `others_write`, and the clips are not those that the others know.
    """
    name = node_name("corpus", name)
    path = f"{store.path}/{name}"
    group = open_group(store.group, name)
    held = {} if group is None else described(group)
    old = Corpus(group, path, name) if group is not None and held.get("kind") == "corpus" else None
    require_ids(name, clip)
    require_distinct("corpus", name, store.attrs.get("corpora", ()))
    _require_columns(columns, (*schema.CORPUS_ARRAYS, *held.get("columns", ()), *held.get("encoders", ())))
    merged = _merge(old, clip, sha256, n_samples, complete=complete, states=states)
    if others_write and old is not None:
        _require_unchanged(old, merged)
    rows = held.get("unit_rows") or unit_rows or schema.default_unit_rows(len(clip))
    begun = {"kind": held.get("kind", schema.UNFINISHED), "name": name, "unit_rows": rows}
    with together():
        if group is None:
            group = store.group.create_group(name, attributes={ATTRS: sealed(begun)})
        else:
            update_attributes(group, begun)
        written = _write_columns(group, old, columns, merged)
    digests = {**held.get("column_digests", {}), **written}
    kept = sorted({*held.get("columns", ()), *written})
    finished = {"kind": "corpus", "n_clips": len(merged.clip), "columns": kept, "column_digests": digests}
    finished["listing"] = merged.listing.facts(merged.clip, merged.sha256)
    update_attributes(group, {**(about or {}), **finished})
    list_in(store.group, "corpora", name)
    store.__dict__.pop("corpora", None)
    return Corpus(group, path, name), merged.registered


def _require_columns(columns: Sequence[ColumnData], held: Sequence[str]) -> None:
    """Raise `ConfigError` where two columns would be one, or one and an encoder, on some file system."""
    names = [_array_name(column.name) for column in columns]
    for column in columns:
        if column.role not in get_args(Role):
            raise ConfigError(
                f"column {column.name!r}: expected a role of {', '.join(get_args(Role))}, got {column.role!r}. Correct it."
            )
    for at, name in enumerate(names):
        require_distinct("column", name, (*held, *names[:at]))
        if name in names[:at]:
            raise ConfigError(f"column name {name!r}: two columns would both be called that. Rename one.")


def _require_unchanged(corpus: Corpus, merged: _Merged) -> None:
    found = merged.registered
    new = [*found.new, *(name for _, name in found.moved)]
    listed = merged.listing.state[: corpus.n_clips] != corpus.listing.state
    other = [str(name) for name in corpus.clip[listed]] if "listing" in corpus.attrs else []
    different = [*new, *found.changed, *other]
    if different:
        raise StoreBusy(
            f"{corpus.path}: {len(new)} clips are new, {len(found.changed)} changed and {len(other)} listed otherwise "
            f"({', '.join(different[:3])}), while other workers embed what was there before. Wait for them; then run the "
            f"same command again."
        )


@dataclass(frozen=True)
class _Merged:
    clip: np.ndarray
    sha256: np.ndarray
    n_samples: np.ndarray
    listing: Listing
    registered: Registered


def _merge(
    old: Corpus | None,
    clip: Sequence[str],
    sha256: Sequence[str],
    n_samples: Sequence[int],
    *,
    complete: bool,
    states: np.ndarray | None,
) -> _Merged:
    known = {} if old is None else {str(name): row for row, name in enumerate(old.clip)}
    before = Listing.everything(0) if old is None else old.listing
    moved = {}
    if old is not None and complete:
        moved = moved_rows(known, old.sha256, before.state, list(zip(clip, sha256, strict=True)))
    new = [name for name in clip if name not in known and name not in moved]
    row_of = {**known, **moved, **{name: len(known) + i for i, name in enumerate(new)}}
    rows = np.array([row_of[name] for name in clip], dtype=np.int64)
    total = len(known) + len(new)
    ids, hashes, samples = np.full(total, "", object), np.full(total, "", object), np.zeros(total, np.int64)
    changed: list[str] = []
    if old is not None:
        ids[: len(known)], hashes[: len(known)], samples[: len(known)] = old.clip, old.sha256, old.n_samples
        changed = [name for name, sha in zip(clip, sha256, strict=True) if name in known and hashes[known[name]] != sha]
    ids[rows], hashes[rows], samples[rows] = list(clip), list(sha256), list(n_samples)
    listing = Listing(states_after(before.state, rows, total, complete=complete, given=states))
    unlisted = tuple(str(name) for name in ids[listing.state == UNLISTED])
    renamed = tuple((str(old.clip[row]), name) for name, row in moved.items()) if old is not None else ()
    return _Merged(ids, hashes, samples, listing, Registered(rows, tuple(new), tuple(changed), unlisted, renamed))


def _write_columns(
    group: zarr.Group, old: Corpus | None, columns: Sequence[ColumnData], merged: _Merged
) -> dict[str, str]:
    """Write the corpus' own arrays and its columns, those that were not given too where they are too short now.

    Returns:
        The columns by name, each with a digest of what it says about itself.
    """
    held = nodes_of(group)
    total = len(merged.clip)
    write_column(group, clip_spec("sha256", total, "string"), merged.sha256, held)
    write_column(group, clip_spec("n_samples", total, "int64"), merged.n_samples, held)
    write_column(group, clip_spec(schema.LISTING, total, "uint8"), merged.listing.state, held)
    given = {_array_name(column.name): column for column in columns}
    known = (
        {}
        if old is None
        else {name: ColumnData(name, c.role, c.values, c.description) for name, c in old.columns.items()}
    )
    for name, column in {**known, **given}.items():
        rows = merged.registered.rows if name in given else np.arange(len(column.values))
        values = _lengthened(column.values, rows, total, known.get(name))
        _write_column(group, name, column, values, held)
    write_column(group, clip_spec("clip", total, "string"), merged.clip, held)
    written = {**known, **given}.items()
    return {name: column_facts_digest({"role": c.role, "description": c.description}) for name, c in written}


def _array_name(column: str) -> str:
    name = node_name("column", column)
    return f"{name}_" if name in schema.CORPUS_ARRAYS else name


def _lengthened(values: np.ndarray, rows: np.ndarray, total: int, known: ColumnData | None) -> np.ndarray:
    """Return a column of the whole corpus: `values` at `rows`, what is known elsewhere, nothing given for the rest."""
    number = values.dtype.kind == "f"
    whole: np.ndarray = np.full(total, np.nan if number else "", dtype=np.float64 if number else object)
    if known is not None and (known.values.dtype.kind == "f") == number:
        whole[: len(known.values)] = known.values
    whole[rows] = values
    return whole


def _write_column(group: zarr.Group, name: str, column: ColumnData, values: np.ndarray, held: Nodes) -> None:
    kind = "float64" if values.dtype.kind == "f" else "string"
    if name in held and (held[name].dtype.kind == "f") != (kind == "float64"):
        del group[name]
        held = {}
    spec: ArraySpec = clip_spec(name, len(values), kind)
    write_column(group, spec, values, held, {"role": column.role, "description": column.description})
