"""Handing a store over: a copy of what was chosen, in a folder or one .zip, with nothing in it that says where it came from."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ..errors import ConfigError, IntegrityError, StoreError, UnknownName
from .archive import is_one_file, write_archive
from .backend import writer_lock
from .checksums import MANIFEST, SUMS, file_sha256, forget_manifest, write_manifest
from .copying import copy_encoder, described
from .files import move
from .hdf5 import need_h5py, write_h5
from .location import local_target
from .read import Column, Corpus, EncoderGroup, Store, open_store
from .verify import verify
from .write import ColumnData, create_store, register_clips

CORPUS_STRUCTURE = ("kind", "name", "unit_rows", "n_clips", "columns", "column_digests", "encoders", "digest")

_ABSOLUTE = r"(?:~?/(?!/)(?=\S)|[A-Za-z]:[\\/]|\\\\)"
_WHOLE = re.compile(rf"(?P<kind>\w+:(?!//))?{_ABSOLUTE}.*|(?P<scheme>file:)//.*", re.DOTALL)
_WITHIN = re.compile(rf"(?<![\w./\\:~+-]){_ABSOLUTE}(?:[^\s'\",;)]*[\\/])?|file:/+(?:[^\s'\",;)]*/)?")


@dataclass(frozen=True)
class Selection:
    """What to pack; None means all there is. `hash_ids` replaces clip ids by ones that follow from the audio's content.

    `layers` are numbers, negative from the end, by encoder; those under "" are for encoders that are not named.
    """

    corpora: tuple[str, ...] | None = None
    encoders: tuple[str, ...] | None = None
    layers: Mapping[str, tuple[int, ...]] | None = None
    frames: bool = True
    hash_ids: bool = False


@dataclass(frozen=True)
class Packed:
    """What a pack holds: one line a corpus and encoder, what was stripped, objects and bytes by the manifest.

    `sums` is where `sha256sum -c` finds its list: in the folder, or beside the one file.
    """

    lines: tuple[str, ...]
    stripped: tuple[str, ...]
    n_objects: int
    n_bytes: int
    sums: Path


def require_sound(store: Store) -> None:
    """Raise `IntegrityError` with all damage: what is copied gets new digests, under which damage would pass for sound."""
    damage = verify(store)
    if damage:
        raise IntegrityError(
            f"store {store.path}: expected it sound, got {len(damage)} damaged. Nothing was written; mend it with `voxcache "
            f"store verify --repair`.\n" + "\n".join(map(str, damage))
        )


def pack(path: str | Path, out: str | Path, selection: Selection | None = None) -> Packed:
    """Copy a selection of a store to a new folder, or to one file where `out` ends in .zip or .h5.

    Raises:
        UnknownName: a corpus or encoder that the store does not hold.
        ConfigError: a layer that an encoder does not hold; h5py is not installed.
        IntegrityError: the store is damaged.
        StoreError: `out` exists.
    """
    selection, out = selection or Selection(), local_target(out)
    if out.suffix.lower() == ".h5":
        need_h5py()
    source = open_store(path)
    corpora = _chosen("corpus", selection.corpora, source.corpora)
    held = {encoder for name in corpora for encoder in source.corpus(name).encoders}
    encoders = _chosen("encoder", selection.encoders, sorted(held))
    _chosen("encoder", sorted({*(selection.layers or ())} - {""}), encoders)
    chosen = [
        source.corpus(name).encoder(one) for name in corpora for one in source.corpus(name).encoders if one in encoders
    ]
    layers = {encoder.path: chosen_layers(encoder, selection.layers) for encoder in chosen}
    require_sound(source)
    with writer_lock(out):
        if out.exists():
            raise StoreError(f"{out}: exists already. Nothing was written; choose another name, or remove it.")
        staging = out.with_name(f".{out.name}.packing")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            packed = _build(source, staging, corpora, selection, layers)
            if is_one_file(out):
                if out.suffix.lower() == ".h5":
                    forget_manifest(staging)
                    write_h5(staging, out)
                else:
                    write_archive(staging, out)
                packed = replace(packed, sums=out.with_name(f"{out.name}.sha256"))
                packed.sums.write_text(f"{file_sha256(out)}  {out.name}\n", encoding="utf-8", newline="\n")
            else:
                move(staging, out)
                packed = replace(packed, sums=out / SUMS)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return packed


def _chosen(kind: str, names: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    for name in names or ():
        if name not in known:
            raise UnknownName(kind, name, known)
    return tuple(known) if names is None else tuple(dict.fromkeys(names))


def chosen_layers(encoder: EncoderGroup, wanted: Mapping[str, tuple[int, ...]] | None) -> tuple[int, ...]:
    """Return the numbers of the layers to pack: those asked for by name, or those of the general wish that it holds.

    Raises:
        ConfigError: it does not hold one that was asked of it, or none of those asked of all.
    """
    if wanted is None or not {"", encoder.name} & {*wanted}:
        return encoder.layers
    named = encoder.name in wanted
    asked = [layer + encoder.n_layers if layer < 0 else layer for layer in wanted[encoder.name if named else ""]]
    found = tuple(layer for layer in encoder.layers if layer in asked)
    lacking = sorted({*asked} - {*found})
    if not found or (named and lacking):
        raise ConfigError(
            f"{encoder.path}: expected layers among {', '.join(map(str, encoder.layers))}, got "
            f"{', '.join(map(str, lacking))}. Say `--layer {encoder.name}=N`, or leave it out with --encoder."
        )
    return found


def _build(
    source: Store, staging: Path, corpora: Sequence[str], selection: Selection, layers: Mapping[str, tuple[int, ...]]
) -> Packed:
    store = create_store(staging)
    lines: list[str] = []
    stripped: list[str] = []
    for name in corpora:
        if name == MANIFEST:
            raise ConfigError(f"corpus {name!r}: a packed store keeps its manifest under that name. Rename the corpus.")
        lines += _pack_corpus(source.corpus(name), store, _Task(selection, layers, source.uuid, stripped))
    listed = write_manifest(staging, lines)
    return Packed(tuple(lines), tuple(stripped), len(listed.names), sum(listed.n_bytes), staging / SUMS)


@dataclass(frozen=True)
class _Task:
    """What all corpora of a pack share: by path of the encoders to take, the layers of each.

    `secret` is the identity of the store, which the pack does not carry.
    """

    selection: Selection
    layers: Mapping[str, tuple[int, ...]]
    secret: str
    stripped: list[str]


def _pack_corpus(corpus: Corpus, store: Store, task: _Task) -> Iterator[str]:
    selection, stripped = task.selection, task.stripped
    rows = np.flatnonzero(corpus.listing.kept)
    ids = hashed_ids(corpus.sha256[rows]) if selection.hash_ids else [str(clip) for clip in corpus.clip[rows]]
    columns, left_out = _columns(corpus, task.secret if selection.hash_ids else None)
    about = {name: value for name, value in corpus.attrs.items() if name not in CORPUS_STRUCTURE}
    if selection.hash_ids:
        about.pop("notes", None)
    _require_relative(ids, corpus)
    target, _ = register_clips(
        store,
        corpus.name,
        clip=ids,
        sha256=[str(sha) for sha in corpus.sha256[rows]],
        n_samples=[int(n) for n in corpus.n_samples[rows]],
        columns=[_column_data(replace(c, values=c.values[rows]), corpus, stripped) for c in columns],
        about=_strip(about, corpus.path, stripped),
        unit_rows=corpus.unit_rows,
        states=corpus.listing.state[rows],
    )
    yield (
        f"{corpus.name}: {corpus.listing.text}, licence {corpus.attrs.get('licence', 'unknown')}, columns "
        f"{', '.join(column.name for column in columns) or 'none'}"
        + (", ids hashed" if selection.hash_ids else "")
        + (f", left out: {', '.join(left_out)}" if left_out else "")
    )
    for name in corpus.encoders:
        encoder = corpus.encoder(name)
        if encoder.path in task.layers:
            yield _pack_encoder(encoder, target, rows, task)


def _pack_encoder(encoder: EncoderGroup, target: Corpus, rows: np.ndarray, task: _Task) -> str:
    selection, stripped, layers = task.selection, task.stripped, task.layers[encoder.path]
    if _strip(encoder.key, f"{encoder.path}, key", []) != encoder.key:
        raise ConfigError(f"{encoder.path}: its key holds an absolute path, which cannot be taken out. Leave it out.")
    framed = tuple(layer for layer in encoder.frame_layers if selection.frames and layer in layers)
    products = replace(encoder.products, frames=framed)
    reasons = {str(text): str(text) for text in encoder.ledger().reason}
    if selection.hash_ids:
        reasons = dict.fromkeys(filter(None, reasons), "said in the original store")
    else:
        reasons = {text: _strip(text, f"{encoder.path}, reason", stripped) for text in reasons}
    about = _strip(described(encoder), encoder.path, stripped)
    copied = copy_encoder(encoder, target, rows, products=products, about=about, reasons=reasons, layers=layers)
    part = "" if layers == tuple(range(encoder.n_layers)) else f" (only {', '.join(map(str, layers))})"
    kept = ", ".join(products.names())
    random = ", RANDOM WEIGHTS" if encoder.is_random else ""
    ended = {"failed": copied.failed, "missing": target.n_clips - copied.copied - copied.failed}
    rest = "".join(f", {count} {how}" for how, count in ended.items() if count)
    return (
        f"  {encoder.name}: {copied.copied} of {target.n_clips} clips{rest}, {encoder.n_layers} layers{part} x {encoder.dim}, "
        f"{kept}, "
        f"licence {encoder.card.get('licence', 'unknown')}{random}"
    )


def hashed_ids(sha256: np.ndarray) -> list[str]:
    """Return ids that tell no more than the content hashes beside them: who has the audio can say which clip is whose.

    Clips of equal content, and those that could not be read, are numbered in order.
    """
    ids, seen = [], Counter[str]()
    for sha in map(str, sha256):
        name = hashlib.sha256(sha.encode()).hexdigest()[:16] if sha else "unreadable"
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids


def _columns(corpus: Corpus, secret: str | None) -> tuple[list[Column], list[str]]:
    """Return the columns to pack and the names of those left out: with hashed ids, "meta" could say whose voice it is."""
    if secret is None:
        return list(corpus.columns.values()), []
    kept = [column for column in corpus.columns.values() if column.role != "meta"]
    hashed = [
        replace(column, values=_pseudonyms(column.values, secret)) if column.role == "group" else column
        for column in kept
    ]
    return hashed, [name for name, column in corpus.columns.items() if column.role == "meta"]


def _pseudonyms(values: np.ndarray, secret: str) -> np.ndarray:
    """Return groups under names that tell groups apart and nothing else; the same in every pack of one store."""
    names = [hashlib.sha256(f"{secret}\0{value}".encode()).hexdigest()[:12] if value != "" else "" for value in values]
    return np.array(names, dtype=object)


def _column_data(column: Column, corpus: Corpus, stripped: list[str]) -> ColumnData:
    values = column.values
    if values.dtype.kind != "f":
        where = f"{corpus.path}, column {column.name}"
        values = np.array([_strip(str(value), where, stripped) for value in values], dtype=object)
    return ColumnData(column.name, column.role, values, _strip(column.description, corpus.path, stripped))


def _require_relative(ids: Sequence[str], corpus: Corpus) -> None:
    absolute = [clip for clip in ids if _WHOLE.fullmatch(clip)]
    if absolute:
        raise ConfigError(
            f"{corpus.path}: expected ids without absolute paths, got {len(absolute)} such as {absolute[0]!r}. Pack with "
            f"--hash-ids."
        )


def _strip(value: Any, where: str, stripped: list[str]) -> Any:
    """Return a JSON value with every absolute path in it cut down to its last part, and note where one was."""
    if isinstance(value, Mapping):
        return {key: _strip(item, f"{where}.{key}", stripped) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strip(item, where, stripped) for item in value]
    if not isinstance(value, str):
        return value
    short = without_paths(value)
    note = f"{where}: absolute path shortened"
    if short != value and note not in stripped:
        stripped.append(note)
    return short


def without_paths(text: str) -> str:
    """Return text in which absolute paths (of any system) are cut down to their last part; addresses stay."""
    whole = _WHOLE.fullmatch(text)
    if whole and not re.search(r"[.:;,]\s|['\"]", text):
        return (whole["kind"] if whole["kind"] and len(whole["kind"]) > 2 else "") + PureWindowsPath(text).name
    return _WITHIN.sub("", text)


def parse_layers(wishes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return "9", "last" and "encoder=9" as the layers of a `Selection`. Raises `ConfigError` for anything else."""
    layers: dict[str, tuple[int, ...]] = {}
    problems = []
    for wish in wishes:
        encoder, _, layer = wish.rpartition("=")
        if not re.fullmatch(r"last|-?\d{1,4}", layer):
            problems.append(f"--layer {wish!r}: expected a number, last, or encoder=number. Correct it.")
            continue
        layers[encoder] = (*layers.get(encoder, ()), -1 if layer == "last" else int(layer))
    if problems:
        raise ConfigError(problems)
    return layers
