"""Clearing damage away, so that nothing damaged is ever read and the next extraction computes exactly that again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from zarr.core.sync import sync
from zarr.storage import LocalStore

from ..errors import IntegrityError, StoreError
from .checksums import MANIFEST
from .layout import ArraySpec, clip_spec, update_attributes, write_column
from .listing import Listing
from .read import Corpus, EncoderGroup, Store
from .schema import CORPUS_ARRAYS, FRAMES_SHARD, LISTING, Products, frame_name
from .verify import LEDGER_ARRAYS, Damage
from .write import EncoderWriter


def clear(store: Store, damage: Iterable[Damage]) -> list[str]:
    """Make damaged units missing and damaged columns empty; return what could not be cleared, one sentence each.

    The store must be open for writing (`create_store`), under the writer lock.
    """
    left = []
    for item in damage:
        if item.corpus == MANIFEST:  # a pack that is written to is a pack no more
            continue
        try:
            _clear_one(store, item)
        except (StoreError, KeyError, ValueError) as error:
            left.append(f"{item}: cannot be cleared ({error}). Drop it with `voxcache store drop` and extract again.")
    return left


def _clear_one(store: Store, item: Damage) -> None:
    corpus = store.corpus(item.corpus)
    if item.encoder is None:
        _clear_column(store, corpus, item.array)
    elif item.unit is not None:
        _clear_unit(store, corpus.encoder(item.encoder), item)
    elif item.array in {"clip", "layer"}:
        _remove(store, f"{corpus.name}/{item.encoder}/{item.array}")
    elif item.array.startswith("frames/"):
        _clear_frames(store, corpus.encoder(item.encoder))
    else:
        raise IntegrityError("its layout is damaged")


def _clear_column(store: Store, corpus: Corpus, name: str) -> None:
    """Empty a column; registering the corpus again fills it. Ids come back from an encoder's copy."""
    if name not in CORPUS_ARRAYS and name not in corpus.attrs["columns"]:
        raise IntegrityError("its attributes are damaged")
    n = corpus.n_clips
    if name == "clip":
        if not corpus.encoders:
            raise IntegrityError("no encoder keeps a copy of the ids")
        values = np.asarray(corpus.encoder(corpus.encoders[0])._read("clip", slice(n)), dtype=object)
        spec = clip_spec("clip", n, "string")
    elif name == "n_samples":
        values, spec = np.zeros(n, dtype=np.int64), clip_spec(name, n, "int64")
    elif name == LISTING:
        values, spec = Listing.everything(n).state, clip_spec(name, n, "uint8")
    else:
        values, spec = np.full(n, "", dtype=object), clip_spec(name, n, "string")
    _remove(store, f"{corpus.name}/{name}")
    write_column(corpus.group, spec, values, {})


def _clear_frames(store: Store, encoder: EncoderGroup) -> None:
    """Remove all frames of an encoder with their places: which frame is whose is not known any more."""
    layers = encoder.frame_layers
    update_attributes(encoder.group, {"products": list(Products(encoder.has_std).names())})
    folder = f"{encoder.corpus.name}/{encoder.name}"
    for layer in layers:
        for kind in ("done", "digest"):
            _remove(store, f"{folder}/{kind}/{frame_name(layer)}")
    _remove(store, f"{folder}/frames")


def _clear_unit(store: Store, encoder: EncoderGroup, item: Damage) -> None:
    """Remove what is damaged of a unit and count the unit as missing."""
    unit = int(item.unit or 0)
    if item.array.startswith("layer_") and item.array not in encoder.products.names():
        return  # went with all frames
    specs = {spec.name: spec for spec in _unit_arrays(encoder)}
    ledger = not set(item.array.split(", ")).isdisjoint(LEDGER_ARRAYS)
    names = LEDGER_ARRAYS if ledger else (item.array.rpartition("/")[2],)
    for name in names:
        if name in specs:
            _remove_unit(store, encoder, specs[name], unit)
    if item.array.startswith("layer_"):
        _remove_frames(store, encoder, item.array, unit)
    writer = EncoderWriter(encoder, encoder.products)
    if ledger or item.array.startswith("done"):
        for product in encoder.products.names():
            _remove(store, f"{encoder.corpus.name}/{encoder.name}/done/{product}/c/{unit}")
        if ledger:
            return
    writer.forget(unit)


def _unit_arrays(encoder: EncoderGroup) -> list[ArraySpec]:
    n, rows = encoder.corpus.n_clips, encoder.corpus.unit_rows
    ledger = [clip_spec(name, n, "uint8" if name == "status" else "string", rows=rows) for name in LEDGER_ARRAYS]
    shape, inner = (n, len(encoder.layers), encoder.dim), (rows, 1, encoder.dim)
    dims = ("clip", "layer", "feature")
    return ledger + [ArraySpec(name, shape, dims, inner, "float32") for name in ("pooled", "pooled_std")]


def _remove_unit(store: Store, encoder: EncoderGroup, spec: ArraySpec, unit: int) -> None:
    place = "/".join([str(unit), *("0" for _ in spec.shape[1:])])
    _remove(store, f"{encoder.corpus.name}/{encoder.name}/{spec.name}/c/{place}")


def _remove_frames(store: Store, encoder: EncoderGroup, name: str, unit: int) -> None:
    rows = encoder.unit(unit)
    start, length = (encoder._read(f"frames/{array}", rows).tolist() for array in ("start", "length"))
    # By clip: those without frames are at 0, those that were placed again lie beyond the shards of other units.
    spans = [(first, first + n) for first, n in zip(start, length, strict=True) if n]
    for shard in {s for first, end in spans for s in range(first // FRAMES_SHARD, -(-end // FRAMES_SHARD))}:
        _remove(store, f"{encoder.corpus.name}/{encoder.name}/frames/{name}/c/{shard}/0")


def _remove(store: Store, key: str) -> None:
    objects = store.group.store_path.store
    if not isinstance(objects, LocalStore):  # whose delete takes a folder, and whose delete_dir does not take a file
        sync(objects.delete_dir(key))
    sync(objects.delete(key))
