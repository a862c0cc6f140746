"""Reading everything back: is what is on disk what was written, and is it where it belongs?

Three guards, each for what the one before cannot see: crc32c in every chunk (a flipped bit), digests per unit (a whole
shard that is intact but belongs elsewhere, or was lost and reads as fill), and the ledger (values without a row, rows
without values).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import zarr
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ..errors import IntegrityError
from .checksums import MANIFEST, manifest_problems
from .digest import LEDGER, attributes_digest, column_digest, column_facts_digest
from .keys import key_hash
from .layout import ArraySpec, clip_spec, encoder_specs
from .read import Corpus, EncoderGroup, Store
from .schema import ATTRS, CORPUS_ARRAYS, FAILED, LISTING, MISSING, OK, Products, n_units


@dataclass(frozen=True)
class Damage:
    """One thing that is not as written. `unit` is None for columns and attributes; `clips` are those of the unit."""

    corpus: str
    encoder: str | None
    array: str
    unit: int | None
    problem: str
    clips: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.corpus}/{self.encoder}" if self.encoder else self.corpus
        unit = (
            ""
            if self.unit is None
            else f", unit {self.unit} ({len(self.clips)} clips, {self.clips[0]} to {self.clips[-1]})"
        )
        return f"{where}, {self.array}{unit}: {self.problem}"


LEDGER_ARRAYS = ("sha256", "status", "reason")
Progress = Callable[[int, int], None]


def verify(store: Store, *, progress: Progress | None = None) -> list[Damage]:
    """Read every object of a store and return all damage found, in order of place.

    Args:
        progress: told (units read, units to read).
    """
    damage = _attributes(store.group, store.path, None)
    total = sum(
        n_units(store.corpus(c).n_clips, store.corpus(c).unit_rows) * len(store.corpus(c).encoders)
        for c in store.corpora
    )
    read = 0
    for name in sorted({*store.attrs.get("corpora", ())} - {*store.corpora}):
        damage.append(Damage(name, None, "group", None, "is not there, though the store lists it"))
    for name in store.corpora:
        corpus = store.corpus(name)
        damage += [*_attributes(corpus.group, name, None), *_columns(corpus)]
        for encoder in corpus.encoders:
            held = corpus.encoder(encoder)
            damage += _encoder_columns(held)
            for unit in range(n_units(corpus.n_clips, corpus.unit_rows)):
                damage += _unit(held, unit)
                read += 1
                if progress is not None:
                    progress(read, total)
    return damage + [Damage(MANIFEST, None, name, None, problem) for name, problem in manifest_problems(store.group)]


def _attributes(group: zarr.Group, corpus: str, encoder: str | None) -> list[Damage]:
    about = cast(dict[str, Any], group.attrs.get(ATTRS, {}))
    if about.get("digest") == attributes_digest(about):
        return []
    return [Damage(corpus, encoder, "attributes", None, "edited since they were written")]


def _columns(corpus: Corpus) -> Iterator[Damage]:
    optional = set() if "listing" in corpus.attrs else {LISTING}
    names = sorted({*CORPUS_ARRAYS, *corpus.attrs.get("columns", ())} - optional)
    for encoder in sorted({*corpus.attrs.get("encoders", ())} - {*corpus.encoders}):
        yield Damage(corpus.name, encoder, "group", None, "is not there, though the corpus lists it")
    for name in names:
        for problem in _corpus_column_problems(corpus, name):
            yield Damage(corpus.name, None, name, None, problem)


def _corpus_column_problems(corpus: Corpus, name: str) -> Iterator[str]:
    if problem := _column_problem(corpus.group, name, corpus.n_clips):
        yield problem
        return
    array = cast(Any, corpus.group[name])
    dtype = {"f": "float64", "i": "int64", "u": "uint8"}.get(array.dtype.kind, "string")
    if problem := _document_problem(corpus.group, name):
        yield problem
    yield from clip_spec(name, corpus.n_clips, dtype).differences(corpus.group)
    sealed = corpus.attrs.get("column_digests", {}).get(name)
    if sealed is not None and sealed != column_facts_digest(array.attrs):
        yield "its role or description was edited"


def _column_problem(group: zarr.Group, name: str, n_clips: int) -> str | None:
    try:
        array = cast(Any, group[name])
        values = array[:n_clips]
    except KeyError:
        return "is not there"
    except Exception as error:
        return _reading(error)
    wanted = array.attrs.get("digest")
    plain = values if values.dtype.kind in "fiu" else np.asarray(values, dtype=object)
    return None if wanted == column_digest(plain) else "its values are not those that were written"


def _encoder_columns(encoder: EncoderGroup) -> Iterator[Damage]:
    place = (encoder.corpus.name, encoder.name)
    yield from _attributes(encoder.group, *place)
    if key_hash(encoder.key) != encoder.key_hash:
        yield Damage(*place, "attributes", None, "key and key_hash do not belong together")
    names = ["clip", "layer", *(f"frames/{name}" for name in ("start", "length") if encoder.frame_layers)]
    for name in names:
        length = len(encoder.layers) if name == "layer" else encoder.corpus.n_clips
        if problem := _column_problem(encoder.group, name, length):
            yield Damage(*place, name, None, problem)
    groups = [name for name in ("done", "digest", "frames") if name != "frames" or _kept(encoder).frames]
    for name in (*groups, *(spec.name for spec in _specs(encoder))):
        if problem := _document_problem(encoder.group, name):
            yield Damage(*place, name, None, problem)
    for spec in _specs(encoder):
        try:
            yield from (Damage(*place, spec.name, None, problem) for problem in spec.differences(encoder.group))
        except Exception as error:
            yield Damage(*place, spec.name, None, _reading(error))


def _document_problem(group: zarr.Group, name: str) -> str | None:
    """Return what is wrong with a node's zarr.json: it has to say what zarr would write for what it read."""
    try:
        node = group[name]
        prototype = default_buffer_prototype()
        raw = sync((node.store_path / "zarr.json").get(prototype))
        written = node.metadata.to_buffer_dict(prototype)["zarr.json"]
        same = json.loads(raw.to_bytes()) == json.loads(written.to_bytes()) if raw is not None else False
    except Exception as error:
        return _reading(error)
    return None if same else "its zarr.json was edited"


def _kept(encoder: EncoderGroup) -> Products:
    try:
        return encoder.products
    except IntegrityError:  # reported where the frames' own document is read
        return Products.from_names(encoder.attrs["products"])


def _specs(encoder: EncoderGroup) -> list[ArraySpec]:
    kept = _kept(encoder)
    return encoder_specs(
        n_clips=encoder.corpus.n_clips,
        unit_rows=encoder.corpus.unit_rows,
        n_layers=len(encoder.layers),
        dim=encoder.dim,
        products=kept,
        n_frames=_frames_end(encoder),
    )


def _frames_end(encoder: EncoderGroup) -> int:
    if not encoder.frame_layers:
        return 0
    try:
        start, length = (encoder._read(f"frames/{name}", slice(encoder.corpus.n_clips)) for name in ("start", "length"))
    except Exception:  # reported by the columns' own digests
        return 0
    return int((start + length).max(initial=0))


def _unit(encoder: EncoderGroup, unit: int) -> Iterator[Damage]:
    rows = encoder.unit(unit)
    clips = _clip_ids(encoder.corpus, rows)

    def damage(array: str, problem: str) -> Damage:
        return Damage(encoder.corpus.name, encoder.name, array, unit, problem, clips)

    done = {}
    for product in encoder.products.names():
        try:
            done[product] = int(encoder._array(f"done/{product}")[unit])
        except Exception as error:
            yield damage(f"done/{product}", _reading(error))
    committed = [product for product, rows_done in done.items() if rows_done == rows.stop - rows.start]
    yield from _uncommitted(encoder, unit, done, damage)
    if not committed:
        return
    ledger = list(_digest_problems(encoder, LEDGER, unit))
    yield from (damage(array, problem) for array, problem in ledger)
    for product in committed:
        found = list(_digest_problems(encoder, product, unit))
        yield from (damage(array, problem) for array, problem in found)
        if product.startswith("pooled") and not ledger and not found:
            yield from (damage(product, problem) for problem in _ledger_problems(encoder, product, unit))


def _clip_ids(corpus: Corpus, rows: slice) -> tuple[str, ...]:
    try:
        return tuple(str(clip) for clip in corpus.clip[rows])
    except IntegrityError:
        return tuple(f"row {row}" for row in range(rows.start, rows.stop))


def _uncommitted(
    encoder: EncoderGroup, unit: int, done: dict[str, int], damage: Callable[[str, str], Damage]
) -> Iterator[Damage]:
    """Yield products whose done count is gone although their digest, written just before it, is there."""
    for product, rows_done in done.items():
        if rows_done == 0:
            with contextlib.suppress(Exception):
                if int(cast(Any, encoder.group[f"digest/{product}"])[unit]) and _all_committed(encoder, unit):
                    yield damage(
                        f"done/{product}",
                        "not counted as done, though its data was written: a run was stopped there, or the count was lost",
                    )


def _all_committed(encoder: EncoderGroup, unit: int) -> bool:
    return bool((np.asarray(cast(Any, encoder.group["status"])[encoder.unit(unit)]) != MISSING).all())


def _digest_problems(encoder: EncoderGroup, product: str, unit: int) -> Iterator[tuple[str, str]]:
    """Yield (array, problem) where a unit's data or its digest cannot be read, or one is not the other's."""
    try:
        stored = int(cast(Any, encoder.group[f"digest/{product}"])[unit])
    except Exception as error:
        yield f"digest/{product}", _reading(error)
        return
    if not stored:
        yield f"digest/{product}", "is not there"
        return
    parts = LEDGER_ARRAYS if product == LEDGER else (product,)
    try:
        found = encoder.ledger_digest(unit) if product == LEDGER else encoder.product_digest(product, unit)
    except Exception as error:
        unreadable = [(name, text) for name in parts if (text := _unit_unreadable(encoder, name, unit))]
        yield from unreadable or [(", ".join(parts), _reading(error))]
        return
    if stored != found:
        yield ", ".join(parts), "not what was written there: lost, replaced or moved"


def _unit_unreadable(encoder: EncoderGroup, name: str, unit: int) -> str | None:
    if name not in LEDGER_ARRAYS:
        return None
    try:
        cast(Any, encoder.group[name])[encoder.unit(unit)]
    except Exception as error:
        return _reading(error)
    return None


def _ledger_problems(encoder: EncoderGroup, product: str, unit: int) -> Iterator[str]:
    rows = encoder.unit(unit)
    status = np.asarray(cast(Any, encoder.group["status"])[rows])
    finite = np.isfinite(np.asarray(cast(Any, encoder.group[product])[rows])).all(axis=(1, 2))
    ids = np.array(_clip_ids(encoder.corpus, rows))
    for wrong, text in (
        ((status == OK) & ~finite, "ok, but without values"),
        ((status == FAILED) & finite, "failed, but with values"),
    ):
        if wrong.any():
            yield f"{', '.join(map(str, ids[wrong][:3]))}: {text}"


def _reading(error: Exception) -> str:
    if isinstance(error, IntegrityError):
        return f"cannot be read: {error}"
    text = str(error).splitlines()[0][:120] if str(error) else ""
    return f"cannot be read: {type(error).__name__}{': ' + text if text else ''}"
