"""Committing units: embeddings, then what became of each clip, then that the unit is done. A unit has one writer at a time.

The order of writes is what makes a kill harmless, and each group of objects is on the disk before the next is begun:

    status                rows that were committed before become missing
    values
    reason, sha256, digest/*
    status                from here on rows within the unit's old done count are there
    done/*                from here on all are

Of a unit of which nothing is done yet nobody reads anything, so that all before its done counts goes to the disk at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from ..errors import IntegrityError
from . import schema
from .backend import together
from .digest import LEDGER, strings_digest, values_digest
from .layout import described, update_attributes
from .locks import registration_lock
from .read import EncoderGroup
from .schema import FAILED, MISSING, OK, STALE, Products, n_units, unit_size


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
    """Commits units of one encoder. Made by `register_encoder`; units may be committed by different processes.

    `arrays` are those registered, by name; without it each is looked up when it is first written to.
    """

    def __init__(self, encoder: EncoderGroup, products: Products, arrays: Mapping[str, Any] | None = None) -> None:
        self.encoder = encoder
        self.products = products
        self._arrays = dict(arrays or {})

    def todo(self, *, retry_failed: bool = False) -> dict[int, np.ndarray]:
        """Return the rows still to embed, by unit: missing, stale, short of a product, and failed ones on request."""
        corpus = self.encoder.corpus
        status = self.encoder.ledger().status
        wanted = (status == MISSING) | (status == STALE)
        if retry_failed:
            wanted |= status == FAILED
        for product in self.products.names()[1:]:
            wanted |= ~self._committed(product)
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return {}
        units, first = np.unique(rows // corpus.unit_rows, return_index=True)
        return {int(unit): mine for unit, mine in zip(units, np.split(rows, first[1:]), strict=True)}

    def _committed(self, product: str) -> np.ndarray:
        """Return which clips lie within what is committed of a product, bool [clip]."""
        corpus = self.encoder.corpus
        rows, n_done = np.arange(corpus.n_clips), np.zeros(n_units(corpus.n_clips, corpus.unit_rows), dtype=np.int64)
        stored = self.encoder.done(product)[: len(n_done)]
        n_done[: len(stored)] = stored
        return np.asarray(rows % corpus.unit_rows < n_done[rows // corpus.unit_rows])

    def reader(self) -> EncoderGroup:
        """Return a view that sees what has been committed up to now."""
        return EncoderGroup(self.encoder.group, self.encoder.path, self.encoder.name, self.encoder.corpus)

    def commit(self, unit: int, rows: np.ndarray, data: UnitData, *, final: bool = True) -> None:
        """Write the embeddings of `rows`, all of one unit, then their ledger, then the unit's digests and done counts.

        `final` is False while more rows of the unit are to come, so that nothing counts as done before all are there.
        """
        size = self._unit(unit).stop - self._unit(unit).start
        whole = len(rows) == size
        sha256 = self.encoder.corpus.sha256[rows]
        n_done = [int(self._array(f"done/{product}")[unit]) for product in self.products.names()]
        with contextlib.nullcontext() if any(n_done) else together():
            self._withdraw(unit, rows, data.status, min(n_done))
            with together():
                self._write_values(unit, rows, data)
            with together():
                self._write("reason", unit, rows, data.reason)
                self._write("sha256", unit, rows, sha256)
                if whole:
                    self._write_digests(unit, self._digests_of(data, sha256))
            if final and not whole:
                with together():
                    self._write_digests(unit, self._digests_read(unit, rows, data.status))
            self._write("status", unit, rows, data.status)
        if final:
            with together():
                for product in self.products.names():
                    self._array(f"done/{product}")[unit] = size

    def _withdraw(self, unit: int, rows: np.ndarray, status: np.ndarray, n_done: int) -> None:
        """Count rows that were committed before as missing until they are again, so that a kill leaves none half new.

        Rows that still lack a product would be done again anyway and stay readable meanwhile, unless they fail this time.
        """
        place = self._unit(unit)
        touched = rows[(rows - place.start < n_done) | (status != OK)]
        held = np.array(self._array("status")[place])
        if held[touched - place.start].any():
            self._write("status", unit, touched, np.full(len(touched), MISSING, dtype=np.uint8))

    def annotate(self, facts: Mapping[str, Any]) -> None:
        """Add facts about how the embeddings were made to the encoder's attributes; what others added stays."""
        with self._attributes_of_now() as group:
            update_attributes(group, facts)

    def settle(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add `facts` to the attribute `name`, an object, where it lacks them; return what then stands there.

        Of several workers that measure the same thing, all go on with the figure of the first.
        """
        with self._attributes_of_now() as group:
            settled = {**facts, **described(group).get(name, {})}
            update_attributes(group, {name: settled})
        return settled

    def lower(self, name: str, facts: Mapping[str, int]) -> dict[str, Any]:
        """Set numbers of the attribute `name`, an object, where they are less than what stands there; return all of it."""
        with self._attributes_of_now() as group:
            held = described(group).get(name, {})
            lowered = {**held, **{key: min(value, held.get(key, value)) for key, value in facts.items()}}
            update_attributes(group, {name: lowered})
        return lowered

    @contextlib.contextmanager
    def _attributes_of_now(self) -> Iterator[zarr.Group]:
        """Hold the encoder's attributes as they now are in the store: another worker may have added to them meanwhile."""
        held = self.encoder.group
        where = held.store.root if isinstance(held.store, LocalStore) else getattr(held.store, "url", None)
        with registration_lock(where) if where is not None else contextlib.nullcontext():
            self.encoder.group = zarr.open_group(held.store, path=held.path, mode="r+")
            self.encoder.__dict__.pop("attrs", None)
            yield self.encoder.group
        self.encoder.__dict__.pop("attrs", None)

    def forget(self, unit: int) -> None:
        """Count a unit as not done, so that the next run computes it again."""
        for name in self.products.names():
            self._array(f"done/{name}")[unit] = 0
        rows = self._unit(unit)
        self._array("status")[rows] = np.zeros(rows.stop - rows.start, dtype=np.uint8)

    def erase(self, unit: int, rows: np.ndarray) -> None:
        """Overwrite all that is held of `rows`, all of one unit, with fill values, and count them as missing."""
        encoder, n = self.encoder, len(rows)
        status = np.full(n, MISSING, dtype=np.uint8)
        self._write("status", unit, rows, status)
        nothing = np.full((n, len(encoder.layers), encoder.dim), np.nan, dtype=np.float32)
        with together():
            for product in ("pooled", "pooled_std")[: 1 + self.products.std]:
                self._write(product, unit, rows, nothing)
            for layer in self.products.frames:
                lengths = np.asarray(self._array("frames/length")[self._unit(unit)])[rows - self._unit(unit).start]
                blank = [np.full((int(length), encoder.dim), np.nan, dtype=np.float32) for length in lengths]
                self._write_frames(layer, unit, rows, blank)
        with together():
            for name in ("reason", "sha256"):
                self._write(name, unit, rows, np.full(n, "", dtype=object))
        with together():
            self._write_digests(unit, self._digests_read(unit, rows, status))

    def _unit(self, unit: int) -> slice:
        corpus = self.encoder.corpus
        first = unit * corpus.unit_rows
        return slice(first, first + unit_size(unit, corpus.n_clips, corpus.unit_rows))

    def _write_values(self, unit: int, rows: np.ndarray, data: UnitData) -> None:
        self._write("pooled", unit, rows, data.pooled)
        if self.products.std:
            if data.pooled_std is None:
                raise IntegrityError(f"{self.encoder.path}, unit {unit}: the store keeps pooled_std, none was given.")
            self._write("pooled_std", unit, rows, data.pooled_std)
        for layer in self.products.frames:
            self._write_frames(layer, unit, rows, data.frames[layer])

    def _digests_of(self, data: UnitData, sha256: np.ndarray) -> dict[str, int]:
        """Return the digests of a whole unit from what is to be written."""
        digests = {LEDGER: strings_digest(sha256, data.status, data.reason), "pooled": values_digest([data.pooled])}
        if data.pooled_std is not None and self.products.std:
            digests["pooled_std"] = values_digest([data.pooled_std])
        for layer in self.products.frames:
            dtype = self._array(f"frames/{schema.frame_name(layer)}").dtype
            blocks = [block.astype(dtype) for block in data.frames[layer] if block is not None]
            digests[schema.frame_name(layer)] = values_digest(blocks)
        return digests

    def _digests_read(self, unit: int, rows: np.ndarray, status: np.ndarray) -> dict[str, int]:
        """Return the digests of a unit that was written in parts, whose `rows` are to have the given status."""
        reader, place = self.reader(), self._unit(unit)
        whole = np.array(self._array("status")[place])
        whole[rows - place.start] = status
        digests = {name: reader.product_digest(name, unit, whole) for name in self.products.names()}
        return digests | {LEDGER: reader.ledger_digest(unit, whole)}

    def _write_digests(self, unit: int, digests: Mapping[str, int]) -> None:
        for name, number in digests.items():
            self._array(f"digest/{name}")[unit] = number

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = self.encoder.group[name]
        return self._arrays[name]

    def _write(self, name: str, unit: int, rows: np.ndarray, values: np.ndarray) -> None:
        array, place = self._array(name), self._unit(unit)
        if len(rows) == place.stop - place.start:
            array[place] = values
            return
        block = np.array(array[place])
        block[rows - place.start] = values
        array[place] = block

    def _write_frames(self, layer: int, unit: int, rows: np.ndarray, frames: Sequence[np.ndarray | None]) -> None:
        array, place = self._array(f"frames/{schema.frame_name(layer)}"), self._unit(unit)
        start = np.asarray(self._array("frames/start")[place])[rows - place.start]
        for run in _runs([int(first) for first in start], frames):
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
