"""Joining stores: other encoders, other corpora, more clips. Everything is compared first, and a store changes at once or not.

The result is built beside the store, from hard links to its objects (an object is replaced whole, never changed in
place), and takes the store's place when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from ..errors import ConfigError, StoreError
from .archive import is_one_file
from .backend import writer_lock
from .copying import carried, copy_encoder, described, grow_encoders
from .keys import differences
from .listing import MERGED, UNLISTED
from .location import local_target
from .pack import CORPUS_STRUCTURE, require_sound
from .read import Column, Corpus, EncoderGroup, Store, open_store
from .swap import staging_path, swap, tidy
from .write import ColumnData, create_store, register_clips

MAX_LISTED = 3


class MergeConflict(StoreError):
    """Stores that contradict each other. `problems` holds one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([*problems, "Nothing was merged."]))


@dataclass(frozen=True)
class Merged:
    """What one source added to one corpus: clips new to it, and per encoder the clips that got embeddings, and failed ones.

    `left_out` counts clips whose embeddings lack a statistic or frames that the target keeps of that unit.
    """

    source: str
    corpus: str
    new_clips: int
    copied: dict[str, int]
    left_out: dict[str, int]
    failed: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        encoders = [
            f"{name}: {n} clips embedded" + (f", {self.failed[name]} failed" if self.failed.get(name) else "")
            for name, n in self.copied.items()
        ]
        encoders += [f"{name}: {n} clips left out" for name, n in self.left_out.items() if n]
        return f"{self.source} -> {self.corpus}: {self.new_clips} new clips" + "".join(f"; {line}" for line in encoders)


def merge(sources: Sequence[str | Path], into: str | Path, *, by_content: bool = False) -> list[Merged]:
    """Add all that `sources` hold to the store at `into`, which is made where nothing is.

    What `into` holds stays as it is; where several have a clip's embedding, the first one's is kept.

    Args:
        by_content: a clip whose audio an earlier store has is that clip, whatever its id: for packs with hashed ids.

    Raises:
        MergeConflict: a clip id with other audio, an encoder name with another key, a label or licence with another value.
        IntegrityError: one of the stores is damaged.
    """
    into = local_target(into)
    if is_one_file(into):
        raise ConfigError(
            f"{into}: a {into.suffix} cannot be added to. Merge into a folder, then `voxcache store pack` it."
        )
    with writer_lock(into):
        tidy(into)
        staging = staging_path(into)
        held = [open_store(into)] if into.exists() else []
        stores = [*held, *(open_store(path) for path in sources)]
        for store in stores:
            require_sound(store)
        corpora = _gather(stores, by_content=by_content)
        problems = [line for one, other in combinations(corpora, 2) for line in conflicts(one, other)]
        if problems:
            raise MergeConflict(list(dict.fromkeys(problems)))
        try:
            if held:
                shutil.copytree(
                    into, staging, copy_function=_link, ignore=shutil.ignore_patterns("*.partial", "*.dropped")
                )
            target = create_store(staging)
            merged = [_add(corpus, target) for corpus in corpora[sum(len(store.corpora) for store in held) :]]
            swap(into)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return merged


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _gather(stores: Sequence[Store], *, by_content: bool) -> list[Corpus]:
    """Return all corpora in order; `by_content`, later ones with the clip ids of the first of their name."""
    corpora: list[Corpus] = []
    for corpus in (store.corpus(name) for store in stores for name in store.corpora):
        first = next((one for one in corpora if one.name == corpus.name), None)
        corpora.append(_matched(corpus, first) if by_content and first is not None else corpus)
    return corpora


def _matched(corpus: Corpus, known: Corpus) -> Corpus:
    """Return a corpus under the ids that `known` gives to the same audio; groups it names too are left to it.

    Clips of equal content are matched in order.
    """
    ids_of: dict[str, list[str]] = {}
    for clip, sha in zip(known.clip, known.sha256, strict=True):
        if sha:
            ids_of.setdefault(str(sha), []).append(str(clip))
    ids = [
        ids_of[str(sha)].pop(0) if ids_of.get(str(sha)) else str(clip)
        for clip, sha in zip(corpus.clip, corpus.sha256, strict=True)
    ]
    if len(set(ids)) < len(ids):
        raise MergeConflict([f"{corpus.path}: clips of other audio have ids that {known.path} gives to its own."])
    matched = Corpus(corpus.group, corpus.path, corpus.name)
    matched.clip = np.array(ids, dtype=object)
    matched.columns = {
        name: column for name, column in corpus.columns.items() if column.role != "group" or name not in known.columns
    }
    return matched


def conflicts(one: Corpus, other: Corpus) -> Iterator[str]:
    """Yield one sentence for everything in which two corpora of one name contradict each other."""
    if one.name != other.name:
        return
    rows_one, rows_other = _shared_rows(one, other)
    ids = one.clip[rows_one]
    a, b = one.sha256[rows_one], other.sha256[rows_other]
    yield from _differing(one, other, ids, (a != b) & (a != "") & (b != ""), "audio (by its content hash)")
    licences = (one.attrs.get("licence"), other.attrs.get("licence"))
    if licences[0] != licences[1]:
        yield f"{one.path}: licence {licences[0]!r}, but {licences[1]!r} in {other.path}. Agree on one and pack again."
    for name in sorted({*one.columns} & {*other.columns}):
        yield from _column_conflicts(one, other, name, (rows_one, rows_other))
    for name in sorted({*one.encoders} & {*other.encoders}):
        yield from _encoder_conflicts(one.encoder(name), other.encoder(name))
    for mine, theirs in ((one, other), (other, one)):
        for name in sorted({*mine.columns} & {*theirs.encoders}):
            yield f"{mine.path}: a column is named {name!r}, in {theirs.path} an encoder is. Rename one of them."


def _shared_rows(one: Corpus, other: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in both corpora of the clips that both have."""
    row_of = {str(clip): row for row, clip in enumerate(one.clip)}
    pairs = [(row_of[clip], row) for row, clip in enumerate(map(str, other.clip)) if clip in row_of]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _differing(one: Corpus, other: Corpus, ids: np.ndarray, wrong: np.ndarray, what: str) -> Iterator[str]:
    if wrong.any():
        listed = ", ".join(map(str, ids[wrong][:MAX_LISTED])) + (", …" if wrong.sum() > MAX_LISTED else "")
        yield f"{one.path}: {int(wrong.sum())} clips ({listed}) have other {what} in {other.path}."


def _column_conflicts(one: Corpus, other: Corpus, name: str, rows: tuple[np.ndarray, np.ndarray]) -> Iterator[str]:
    a, b = one.columns[name], other.columns[name]
    if a.role != b.role or (a.values.dtype.kind == "f") != (b.values.dtype.kind == "f"):
        yield (
            f"{one.path}: column {name!r} is a {a.role} ({_kind(a)}), in {other.path} a {b.role} ({_kind(b)}). Rename or "
            f"change one of them."
        )
        return
    x, y = a.values[rows[0]], b.values[rows[1]]
    wrong = (x != y) & _given(x) & _given(y)
    yield from _differing(one, other, one.clip[rows[0]], wrong, f"values of column {name!r}")


def _kind(column: Column) -> str:
    return "numbers" if column.values.dtype.kind == "f" else "text"


def _given(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if values.dtype.kind == "f" else np.asarray(values != "")


def _encoder_conflicts(one: EncoderGroup, other: EncoderGroup) -> Iterator[str]:
    found = differences(one.key, other.key)
    shapes = ((one.n_layers, one.dim), (other.n_layers, other.dim))
    if shapes[0] != shapes[1]:
        found.append(f"layers x dim: {shapes[0][0]} x {shapes[0][1]} in the store, {shapes[1][0]} x {shapes[1][1]} now")
    elif one.layers != other.layers:
        held = [", ".join(map(str, side.layers)) for side in (one, other)]
        found.append(f"layers held: {held[0]} in the store, {held[1]} now")
    types = (one.products.frames_dtype, other.products.frames_dtype)
    if one.frame_layers and other.frame_layers and types[0] != types[1]:
        found.append(f"frames: {types[0]} in the store, {types[1]} now")
    if found:
        said = "; ".join(found).replace(" in the store", f" in {one.path}").replace(" now", f" in {other.path}")
        yield f"{one.path} and {other.path} were made from something else ({said}). Rename one encoder and extract again."


def _add(source: Corpus, target: Store) -> Merged:
    held = target.corpus(source.name) if source.name in target.corpora else None
    known = 0 if held is None else held.n_clips
    corpus = _add_clips(source, held, target)
    row_of = {str(clip): row for row, clip in enumerate(source.clip)}
    rows = np.array([row_of.get(str(clip), -1) for clip in corpus.clip], dtype=np.int64)
    copied, left_out, failed = {}, {}, {}
    for name in source.encoders:
        encoder = source.encoder(name)
        done = copy_encoder(encoder, corpus, rows, products=encoder.products, about=described(encoder))
        copied[name], left_out[name], failed[name] = done.copied, done.left_out, done.failed
    return Merged(source.path.rpartition("/")[0], source.name, corpus.n_clips - known, copied, left_out, failed)


def _add_clips(source: Corpus, held: Corpus | None, target: Store) -> Corpus:
    """Register a source's clips; what the target knows of a clip (its hash, its labels) is kept where the source is silent.

    Clips that are new to the corpus count as brought in by a merge where the source has them in use.
    """
    sha256, n_samples = source.sha256.copy(), source.n_samples.copy()
    overlay: Callable[[Column], np.ndarray] = _as_given
    if held is not None:
        mine, theirs = _shared_rows(held, source)
        silent = sha256[theirs] == ""
        sha256[theirs[silent]], n_samples[theirs[silent]] = held.sha256[mine[silent]], held.n_samples[mine[silent]]
        overlay = _Overlay(held, mine, theirs)
    about = {name: value for name, value in source.attrs.items() if name not in CORPUS_STRUCTURE}
    kept = np.flatnonzero(source.listing.kept)
    clip = [str(name) for name in source.clip[kept]]
    columns = [ColumnData(c.name, c.role, overlay(c)[kept], c.description) for c in source.columns.values()]
    if held is not None:
        columns += carried(held, clip, source.columns)
    corpus, _ = register_clips(
        target,
        source.name,
        clip=clip,
        sha256=[str(sha) for sha in sha256[kept]],
        n_samples=[int(n) for n in n_samples[kept]],
        columns=columns,
        about=about if held is None else None,
        unit_rows=source.unit_rows,
        states=source.listing.state[kept] if held is None else np.where(source.listing.used, MERGED, UNLISTED)[kept],
    )
    grow_encoders(corpus)
    return corpus


def _as_given(column: Column) -> np.ndarray:
    return column.values


@dataclass(frozen=True)
class _Overlay:
    """Fills a source's gaps in a column with what the target holds of the same clips."""

    held: Corpus
    mine: np.ndarray
    theirs: np.ndarray

    def __call__(self, column: Column) -> np.ndarray:
        values = column.values.copy()
        if column.name in self.held.columns:
            silent = ~_given(values[self.theirs])
            values[self.theirs[silent]] = self.held.columns[column.name].values[self.mine[silent]]
        return values
