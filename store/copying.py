"""Copying embeddings into another store, unit by unit, through the same commits that extraction makes.

What the target holds stays; rows it lacks come from the source. A unit is written whole, so it is composed first: for
every row its status, and for every product where its values come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr

from ..errors import IntegrityError
from .layout import nodes_of
from .read import Corpus, EncoderGroup
from .schema import FAILED, MISSING, OK, Products, frame_name, n_units
from .write import ColumnData, EncoderWriter, UnitData, register_encoder

STRUCTURE = ("name", "n_layers", "layers", "dim", "unit_rows", "key", "key_hash", "kind", "products", "digest")
"""Attributes of an encoder that follow from its arrays; registering writes them."""


@dataclass(frozen=True)
class Copied:
    """Clips of the target: with embeddings now, left out because the target keeps a product that the source lacks, failed."""

    copied: int
    left_out: int
    failed: int = 0


class Side:
    """An encoder's embeddings as seen from the rows of a target corpus.

    `rows` int64 [clip of the target] is the row each has here, -1 where it has none or other audio. `layers` are the
    numbers of those that the target keeps, by default all that are held.
    """

    def __init__(self, encoder: EncoderGroup | None, rows: np.ndarray, layers: Sequence[int] | None = None) -> None:
        self.encoder = encoder
        self.rows = rows
        self.layers = layers

    @cached_property
    def status(self) -> np.ndarray:
        """Status of every clip of the target, uint8 [clip]; missing where it has no row here."""
        return self._status("pooled")

    def has(self, product: str) -> np.ndarray:
        """Return which clips of the target have values of a product here, bool [clip]."""
        if self.encoder is None or product not in self.encoder.products.names():
            return np.zeros(len(self.rows), dtype=bool)
        return np.asarray(self._status(product) == OK)

    def _status(self, product: str) -> np.ndarray:
        if self.encoder is None:
            return np.full(len(self.rows), MISSING, dtype=np.uint8)
        status = np.full(len(self.rows), MISSING, dtype=np.uint8)
        known = self.rows >= 0
        status[known] = self.encoder.ledger(product).status[self.rows[known]]
        return status

    def read(self, product: str, wanted: np.ndarray) -> np.ndarray:
        """Return pooled values of some clips of the target, float32 [clip, layer, feature]; a unit at a time."""
        encoder = self._held()
        rows = self.rows[wanted]
        places = [encoder.layers.index(layer) for layer in self.layers or encoder.layers]
        values = np.empty((len(rows), len(places), encoder.dim), dtype=np.float32)
        for unit in np.unique(rows // encoder.corpus.unit_rows):
            place = encoder.unit(int(unit))
            mine = rows // encoder.corpus.unit_rows == unit
            values[mine] = encoder._read(product, place)[rows[mine] - place.start][:, places]
        return values

    def read_frames(self, layer: int, wanted: np.ndarray) -> list[np.ndarray]:
        """Return frames of some clips of the target, [frame, feature] each."""
        return self._held().frames(layer).read(self.rows[wanted])

    def lengths(self) -> np.ndarray:
        """Return the frames each clip of the target has a place for here, int64 [clip]; 0 where unknown."""
        lengths = np.zeros(len(self.rows), dtype=np.int64)
        if self.encoder is not None and self.encoder.frame_layers:
            stored = self.encoder._read("frames/length")
            known = (self.rows >= 0) & (self.rows < len(stored))
            lengths[known] = stored[self.rows[known]]
        return lengths

    def reasons(self, wanted: np.ndarray) -> np.ndarray:
        """Return the ledger's remarks on some clips of the target, str [clip]."""
        return np.asarray(self._held().ledger().reason[self.rows[wanted]])

    def covered(self, product: str, unit_rows: int) -> np.ndarray:
        """Return which clips lie within what is committed of a product, for a side whose rows are the target's."""
        rows = np.arange(len(self.rows))
        done = np.zeros(n_units(len(rows), unit_rows), dtype=np.int64)
        stored = self._held().done(product)[: len(done)]
        done[: len(stored)] = stored
        return np.asarray(rows % unit_rows < done[rows // unit_rows])

    def _held(self) -> EncoderGroup:
        if self.encoder is None:
            raise IntegrityError("values asked of an encoder that holds none.")
        return self.encoder


class _Plan:
    """What every clip of the target will have, decided before anything is written."""

    def __init__(self, old: Side, new: Side, products: tuple[str, ...], unit_rows: int) -> None:
        self.old, self.new = old, new
        self.has_old = {product: old.has(product) for product in products}
        self.has_new = {product: new.has(product) for product in products}
        settled = (old.status == OK) | (old.status == FAILED)
        take = ((new.status == OK) & (old.status != OK)) | ((new.status == FAILED) & ~settled)
        blocked = np.zeros_like(take)
        if old.encoder is not None:
            for product in old.encoder.products.names():
                lacking = (new.status == OK) & ~self.has_new[product]
                blocked |= take & lacking & old.covered(product, unit_rows)
        self.take = take & ~blocked
        self.blocked = blocked
        self.status = np.where(self.take, new.status, np.where(settled, old.status, MISSING)).astype(np.uint8)
        ok = self.status == OK
        self.has = {product: ok & (self.has_old[product] | self.has_new[product]) for product in products}

    def products(self, rows: np.ndarray) -> list[str]:
        """Return the products that every ok clip of a unit has: only these can be committed."""
        ok = self.status[rows] == OK
        return [product for product, has in self.has.items() if has[rows][ok].all()]

    def changes(self, rows: np.ndarray, products: list[str]) -> bool:
        """Return whether the unit would hold more than it does."""
        more = any((self.has[product] & ~self.has_old[product])[rows].any() for product in products)
        return more or bool(self.take[rows].any())

    def pooled(self, product: str, rows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Return a unit's values of one statistic, NaN where a clip has none."""
        values = np.full((len(rows), *shape), np.nan, dtype=np.float32)
        for side, mine in self._sources(product, rows):
            values[mine] = side.read(product, rows[mine])
        return values

    def frames(self, layer: int, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return a unit's frames of one layer, None where a clip has none."""
        blocks: list[np.ndarray | None] = [None] * len(rows)
        for side, mine in self._sources(frame_name(layer), rows):
            for i, block in zip(np.flatnonzero(mine), side.read_frames(layer, rows[mine]), strict=True):
                blocks[int(i)] = block
        return blocks

    def reasons(self, rows: np.ndarray) -> np.ndarray:
        """Return a unit's remarks."""
        reasons = np.full(len(rows), "", dtype=object)
        kept = (self.status[rows] != MISSING) & ~self.take[rows]
        for side, mine in ((self.old, kept), (self.new, self.take[rows])):
            if mine.any():
                reasons[mine] = side.reasons(rows[mine])
        return reasons

    def _sources(self, product: str, rows: np.ndarray) -> list[tuple[Side, np.ndarray]]:
        has, old = self.has[product][rows], self.has_old[product][rows]
        return [(side, mine) for side, mine in ((self.old, has & old), (self.new, has & ~old)) if mine.any()]


def copy_encoder(
    source: EncoderGroup,
    target: Corpus,
    rows: np.ndarray,
    *,
    products: Products,
    about: Mapping[str, Any],
    reasons: Mapping[str, str] | None = None,
    layers: Sequence[int] | None = None,
) -> Copied:
    """Add an encoder's embeddings to a corpus of another store.

    Args:
        rows: the row of the source that each clip of the target has, int64 [clip of the target]; -1 for none.
        products: what to copy of what the source holds.
        about: attributes for an encoder that the target does not have yet.
        reasons: what to write in place of some of the source's remarks.
        layers: numbers of the layers to copy; without it all that the source holds.

    Raises:
        KeyMismatch: the target's embeddings of that name were made from something else.
    """
    present = target.encoder(source.name) if source.name in target.encoders else None
    old = Side(present, np.arange(target.n_clips))
    same = rows >= 0
    same[same] = source.corpus.sha256[rows[same]] == target.sha256[same]
    kept = tuple(layers or source.layers)
    new = Side(source, np.where(same, rows, -1), kept)
    wanted = products if present is None else present.products.union(products)
    plan = _Plan(old, new, wanted.names(), target.unit_rows)
    placed = old.lengths()
    framed = np.zeros(target.n_clips, dtype=bool)
    for layer in wanted.frames:
        framed |= old.has(frame_name(layer))
    writer = register_encoder(
        target,
        source.name,
        key=source.key,
        n_layers=source.n_layers,
        dim=source.dim,
        n_frames=np.where((placed > 0) | framed, placed, new.lengths()),
        products=products,
        about={} if present is not None else about,
        layers=kept,
    )
    for unit in range(n_units(target.n_clips, target.unit_rows)):
        _copy_unit(plan, writer, unit, dict(reasons or {}))
    failed = int((plan.take & (plan.status == FAILED)).sum())
    return Copied(int(plan.take.sum()) - failed, int(plan.blocked.sum()), failed)


def _copy_unit(plan: _Plan, writer: EncoderWriter, unit: int, reasons: Mapping[str, str]) -> None:
    place = writer.encoder.unit(unit)
    rows = np.arange(place.start, place.stop)
    names = plan.products(rows)
    if not plan.changes(rows, names):
        return
    kept = Products.from_names(names, writer.products.frames_dtype)
    shape = (len(writer.encoder.layers), writer.encoder.dim)
    remarks = np.array([reasons.get(text, text) for text in plan.reasons(rows)], dtype=object)
    data = UnitData(
        status=plan.status[rows],
        reason=remarks,
        pooled=plan.pooled("pooled", rows, shape),
        pooled_std=plan.pooled("pooled_std", rows, shape) if kept.std else None,
        frames={layer: plan.frames(layer, rows) for layer in kept.frames},
    )
    EncoderWriter(writer.encoder, kept).commit(unit, rows, data)


def carried(held: Corpus, clip: Sequence[str], given: Collection[str]) -> list[ColumnData]:
    """Return a corpus' columns that are not given, for clips about to be registered: else they stay shorter than the corpus."""
    row_of = {str(name): row for row, name in enumerate(held.clip)}
    columns = []
    for column in held.columns.values():
        if column.name not in given:
            empty: float | str = np.nan if column.values.dtype.kind == "f" else ""
            values = [column.values[row_of[name]] if name in row_of else empty for name in clip]
            array = np.array(values, dtype=column.values.dtype)
            columns.append(ColumnData(column.name, column.role, array, column.description))
    return columns


def grow_encoders(corpus: Corpus) -> None:
    """Give all encoders of a corpus room for clips that were added, so that axes of one name have one length, and its ids.

    What a killed run did not come to is made up for; encoders that are long enough and have its ids are left alone.
    """
    ids = corpus._array("clip").attrs.get("digest")
    lengths = {"clip": corpus.n_clips, "unit": n_units(corpus.n_clips, corpus.unit_rows)}
    for name in corpus.encoders:
        encoder = corpus.encoder(name)
        nodes = nodes_of(encoder.group, below=True)
        arrays = [node for node in nodes.values() if isinstance(node, zarr.Array)]
        same = "clip" in nodes and nodes["clip"].attrs.get("digest") == ids
        if same and all(array.shape[0] >= lengths.get(_axis(array), 0) for array in arrays):
            continue
        register_encoder(
            corpus,
            name,
            key=encoder.key,
            n_layers=encoder.n_layers,
            dim=encoder.dim,
            n_frames=Side(encoder, np.arange(corpus.n_clips)).lengths(),
            products=encoder.products,
            about={},
            layers=encoder.layers,
        )


def _axis(array: Any) -> str:
    names = getattr(array.metadata, "dimension_names", None)
    return str(names[0]) if names else ""


def described(encoder: EncoderGroup) -> dict[str, Any]:
    """Return what an encoder says about itself, without what follows from its arrays."""
    return {name: value for name, value in encoder.attrs.items() if name not in STRUCTURE}
