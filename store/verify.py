"""Reading everything back: is what is on disk what was written, and is it where it belongs?

Three guards, each for what the one before cannot see: crc32c in every chunk (a flipped bit), digests per unit (a whole
shard that is intact but belongs elsewhere, or was lost and reads as fill), and the ledger (values without a row, rows
without values).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import zarr

from .digest import LEDGER, attributes_digest, column_digest
from .keys import key_hash
from .read import Corpus, EncoderGroup, Store
from .schema import ATTRS, CORPUS_ARRAYS, FAILED, OK, n_units


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
        unit = "" if self.unit is None else f", unit {self.unit} ({len(self.clips)} clips, {self.clips[0]} to {self.clips[-1]})"
        return f"{where}, {self.array}{unit}: {self.problem}"


Progress = Callable[[int, int], None]


def verify(store: Store, *, progress: Progress | None = None) -> list[Damage]:
    """Read every object of a store and return all damage found, in order of place.

    Args:
        progress: told (units read, units to read).
    """
    damage = _attributes(store.group, store.path, None) if "digest" in store.attrs else []
    total = sum(
        n_units(store.corpus(c).n_clips, store.corpus(c).unit_rows) * len(store.corpus(c).encoders) for c in store.corpora
    )
    read = 0
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
    return damage


def _attributes(group: zarr.Group, corpus: str, encoder: str | None) -> list[Damage]:
    about = cast(dict[str, Any], group.attrs.get(ATTRS, {}))
    if about.get("digest") == attributes_digest(about):
        return []
    return [Damage(corpus, encoder, "attributes", None, "edited since they were written")]


def _columns(corpus: Corpus) -> Iterator[Damage]:
    names = sorted({*CORPUS_ARRAYS, *(name for name, _ in corpus.group.arrays())})
    for name in names:
        problem = _column_problem(corpus.group, name, corpus.n_clips)
        if problem:
            yield Damage(corpus.name, None, name, None, problem)


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
    names = ["clip", *(f"frames/{name}" for name in ("start", "length") if encoder.frame_layers)]
    for name in names:
        problem = _column_problem(encoder.group, name, encoder.corpus.n_clips)
        if problem:
            yield Damage(*place, name, None, problem)
    if not list(_shapes(encoder)):
        return
    yield from (Damage(*place, name, None, problem) for name, problem in _shapes(encoder))


def _shapes(encoder: EncoderGroup) -> Iterator[tuple[str, str]]:
    wanted = (encoder.corpus.n_clips, encoder.n_layers, encoder.dim)
    for name in ("pooled", "pooled_std") if encoder.has_std else ("pooled",):
        try:
            shape = tuple(cast(Any, encoder.group[name]).shape)
        except KeyError:
            yield name, "is not there"
            continue
        if shape != wanted:
            yield name, f"expected shape {list(wanted)}, got {list(shape)}"


def _unit(encoder: EncoderGroup, unit: int) -> Iterator[Damage]:
    rows = encoder.unit(unit)
    clips = tuple(str(clip) for clip in encoder.corpus.clip[rows])

    def damage(array: str, problem: str) -> Damage:
        return Damage(encoder.corpus.name, encoder.name, array, unit, problem, clips)

    try:
        done = {product: int(encoder.done(product)[unit]) for product in encoder.products.names()}
    except Exception as error:
        yield damage("done", _reading(error))
        return
    committed = [product for product, rows_done in done.items() if rows_done == rows.stop - rows.start]
    if not committed:
        return
    for product in (LEDGER, *committed):
        problem = _digest_problem(encoder, product, unit)
        if problem:
            yield damage("sha256, status, reason" if product == LEDGER else product, problem)
        elif product.startswith("pooled"):
            yield from (damage(product, problem) for problem in _ledger_problems(encoder, product, unit))


def _digest_problem(encoder: EncoderGroup, product: str, unit: int) -> str | None:
    try:
        stored = int(cast(Any, encoder.group[f"digest/{product}"])[unit])
        found = encoder.ledger_digest(unit) if product == LEDGER else encoder.product_digest(product, unit)
    except KeyError as error:
        return f"{error.args[0]} is not there"
    except Exception as error:
        return _reading(error)
    return None if stored == found else "not what was written there: lost, replaced or moved"


def _ledger_problems(encoder: EncoderGroup, product: str, unit: int) -> Iterator[str]:
    rows = encoder.unit(unit)
    status = np.asarray(cast(Any, encoder.group["status"])[rows])
    finite = np.isfinite(np.asarray(cast(Any, encoder.group[product])[rows])).all(axis=(1, 2))
    ids = encoder.corpus.clip[rows]
    for wrong, text in (
        ((status == OK) & ~finite, "ok, but without values"),
        ((status == FAILED) & finite, "failed, but with values"),
    ):
        if wrong.any():
            yield f"{', '.join(map(str, ids[wrong][:3]))}: {text}"


def _reading(error: Exception) -> str:
    text = str(error).splitlines()[0][:120] if str(error) else ""
    return f"cannot be read: {type(error).__name__}{': ' + text if text else ''}"
