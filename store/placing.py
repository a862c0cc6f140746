"""Registering an encoder: its group, room for every clip, a place for every frame. One process at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from ..errors import KeyMismatch
from . import schema
from .backend import together
from .commit import EncoderWriter
from .digest import sealed
from .keys import Key, differences, key_hash
from .layout import (
    ArraySpec,
    Nodes,
    clip_spec,
    encoder_specs,
    frame_specs,
    layer_spec,
    list_in,
    nodes_of,
    update_attributes,
    write_column,
)
from .read import Corpus, EncoderGroup
from .schema import ATTRS, Products, n_units, node_name, require_distinct


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
    layers: Sequence[int] | None = None,
) -> EncoderWriter:
    """Give an encoder its group, with room for every clip and a place for every frame.

    Args:
        key: everything but the audio that can change a number; compared with what is there.
        n_frames: frames of each clip, int64 [clip]; 0 for those whose frames are not to be kept.
        products: what to keep; joined with what is kept already.
        about: card, weights_origin, versions and so on, for the attributes.
        layers: numbers of the layers to keep, of `n_layers`; without it all.

    Raises:
        KeyMismatch: the group exists and was made from something else.
    """
    name = node_name("encoder", name)
    siblings = (*schema.CORPUS_ARRAYS, *corpus.attrs.get("columns", ()), *corpus.attrs.get("encoders", ()))
    require_distinct("encoder", name, siblings)
    numbers = tuple(range(n_layers) if layers is None else layers)
    fixed = {"name": name, "n_layers": n_layers, "dim": dim, "unit_rows": corpus.unit_rows}
    fixed |= {"key": dict(key), "key_hash": key_hash(key)}
    if len(numbers) < n_layers:
        fixed["layers"] = list(numbers)
    known = name in corpus.encoders
    if known:
        products = _joined(corpus, name, key, numbers, products)
    else:
        _make_room(corpus, name)
    if known and products.frames:
        _withdraw_unplaced(corpus.encoder(name), n_frames)
    with together():
        group = _begin(corpus, name, {**about, **fixed}, known=known)
        held = nodes_of(group, below=True) if known else {}
        encoder = EncoderGroup(group, f"{corpus.path}/{name}", name, corpus)
        arrays = _write_arrays(encoder, held, numbers, n_frames, products)
    update_attributes(group, {"kind": "encoder", "products": list(products.names())})
    list_in(corpus.group, "encoders", name)
    corpus.__dict__.pop("encoders", None)
    return EncoderWriter(EncoderGroup(group, f"{corpus.path}/{name}", name, corpus), products, arrays)


def _withdraw_unplaced(encoder: EncoderGroup, n_frames: np.ndarray) -> None:
    """Count rows as missing that were committed without frames, as they were not listed then, and are to have some now."""
    if not encoder.frame_layers:
        return
    length = encoder._read("frames/length")[: encoder.corpus.n_clips]
    status = encoder._read("status")[: len(length)]
    unplaced = np.flatnonzero((length == 0) & (n_frames[: len(length)] > 0) & (status == schema.OK))
    array = encoder._array("status")
    for unit in np.unique(unplaced // encoder.corpus.unit_rows):
        rows = encoder.unit(int(unit))
        block = np.array(array[rows])
        block[unplaced[unplaced // encoder.corpus.unit_rows == unit] - rows.start] = schema.MISSING
        array[rows] = block


def _begin(corpus: Corpus, name: str, about: Mapping[str, Any], *, known: bool) -> zarr.Group:
    """Return the group of an encoder with these attributes, unfinished where it is new."""
    if not known:
        return corpus.group.create_group(name, attributes={ATTRS: sealed({**about, "kind": schema.UNFINISHED})})
    group = corpus.encoder(name).group
    update_attributes(group, about)
    return group


def _joined(corpus: Corpus, name: str, key: Key, layers: tuple[int, ...], products: Products) -> Products:
    """Return what is kept and what is asked for together. Raises `KeyMismatch` where they do not go together."""
    check_key(corpus, name, key)
    encoder = corpus.encoder(name)
    _require_layers(encoder, layers)
    held = encoder.products
    if held.frames and products.frames and held.frames_dtype != products.frames_dtype:
        raise KeyMismatch(
            f"{encoder.path}: its frames are kept as {held.frames_dtype}, {products.frames_dtype} is asked for. Ask for "
            f"`frames_dtype: {held.frames_dtype}`, or replace the embeddings with `--replace {name}`."
        )
    return held.union(products)


def _make_room(corpus: Corpus, name: str) -> None:
    """Remove what an interrupted registration left under the name. Raises `KeyMismatch` where a column has it."""
    if name not in corpus.group:
        return
    if isinstance(corpus.group[name], zarr.Array):
        raise KeyMismatch(
            f"{corpus.path}/{name}: the corpus has a label column of that name. Give the encoder another `as:` name."
        )
    del corpus.group[name]


def _write_arrays(
    encoder: EncoderGroup, held: Nodes, layers: tuple[int, ...], n_frames: np.ndarray, products: Products
) -> dict[str, Any]:
    """Make or lengthen every array of an encoder; return those that units are written to, by name."""
    corpus, group = encoder.corpus, encoder.group
    write_column(group, clip_spec("clip", corpus.n_clips, "string"), corpus.clip, held)
    write_column(group, layer_spec(len(layers)), np.array(layers), held)
    arrays = place_frames(encoder, held, n_frames, products) if products.frames else {}
    specs = encoder_specs(
        n_clips=corpus.n_clips, unit_rows=corpus.unit_rows, n_layers=len(layers), dim=encoder.dim, products=products
    )
    written = {"clip", "layer", *arrays}
    return arrays | {spec.name: spec.ensure(group, held) for spec in specs if spec.name not in written}


def check_key(corpus: Corpus, name: str, key: Key) -> None:
    """Raise `KeyMismatch`, naming every field that differs, unless the group `name` was made from `key`."""
    stored = corpus.encoder(name).key
    found = differences(stored, key)
    if found:
        raise KeyMismatch(
            f"{corpus.path}/{name}: its embeddings were made from something else ({'; '.join(found)}). Nothing was reused. "
            f"Keep both by giving this one another name (`as:`), or replace the old ones with `--replace {name}`."
        )


def _require_layers(held: EncoderGroup, layers: tuple[int, ...]) -> None:
    if held.layers != layers:
        raise KeyMismatch(
            f"{held.path}: holds layers {', '.join(map(str, held.layers))} of 0 to {held.n_layers - 1} only. Keep the "
            f"embeddings of other layers under another name (`as:`), or replace these with `--replace {held.name}`."
        )


def place_frames(encoder: EncoderGroup, held: Nodes, n_frames: np.ndarray, products: Products) -> dict[str, Any]:
    """Give every clip without a place (or with one of another length) room for its frames, units on shard boundaries.

    Returns:
        The arrays under `frames/`, by name.
    """
    corpus, group = encoder.corpus, encoder.group
    end = _frames_end(held)
    places = frame_specs(corpus.n_clips, end, encoder.dim, products)[:2]
    starts, lengths = (_stored(spec, held) for spec in places)
    for unit in range(n_units(corpus.n_clips, corpus.unit_rows)):
        rows = np.arange(unit * corpus.unit_rows, min((unit + 1) * corpus.unit_rows, corpus.n_clips))
        rows = rows[lengths[rows] != n_frames[rows]]
        if not len(rows):
            continue
        starts[rows] = end + np.concatenate([[0], np.cumsum(n_frames[rows])[:-1]])
        lengths[rows] = n_frames[rows]
        end += -(-int(n_frames[rows].sum()) // schema.FRAMES_SHARD) * schema.FRAMES_SHARD
    values = frame_specs(corpus.n_clips, end, encoder.dim, products)[2:]
    arrays = {spec.name: spec.ensure(group, held) for spec in values}
    return arrays | {
        spec.name: write_column(group, spec, column, held)
        for spec, column in zip(places, (starts, lengths), strict=True)
    }


def _stored(spec: ArraySpec, held: Nodes) -> np.ndarray:
    """Return a column at its new length, zeros where it is not that long yet."""
    values = np.zeros(spec.shape, dtype=np.int64)
    if spec.name in held:
        stored = np.asarray(held[spec.name][: len(values)])
        values[: len(stored)] = stored
    return values


def _frames_end(held: Nodes) -> int:
    return max((int(node.shape[0]) for name, node in held.items() if name.startswith("frames/layer_")), default=0)
