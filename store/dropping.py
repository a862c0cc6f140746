"""Taking clips out of a corpus for good: their embeddings, labels and ids are overwritten, their rows stay empty.

Rows have fixed places in shards, so none is removed. The order makes a kill harmless: first the clips are marked as dropped,
so that nothing uses them; then what encoders hold of them goes; their ids go last, so that the same command finds them again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import ConfigError
from ..words import some
from .commit import EncoderWriter
from .copying import grow_encoders
from .encoder import EncoderGroup
from .layout import clip_spec, nodes_of, update_attributes, write_column
from .listing import DROPPED, TOMBSTONE, UNLISTED, Listing
from .read import Corpus
from .schema import LISTING


def chosen_rows(corpus: Corpus, ids: Iterable[str], *, unlisted: bool) -> np.ndarray:
    """Return the rows of the clips named, and of those not listed now where `unlisted`, int64 [row], ascending.

    Raises:
        ConfigError: ids that the corpus does not have.
    """
    row_of = {
        str(name): row for row, (name, gone) in enumerate(zip(corpus.clip, _gone(corpus), strict=True)) if not gone
    }
    wanted = list(dict.fromkeys(ids))
    unknown = [name for name in wanted if name not in row_of]
    if unknown:
        raise ConfigError(
            f"{corpus.path}: {len(unknown)} clips are not there: {some(unknown)}. Correct the ids; nothing was changed."
        )
    named = np.array([row_of[name] for name in wanted], dtype=np.int64)
    return np.union1d(named, np.flatnonzero(corpus.listing.state == UNLISTED) if unlisted else named)


def drop_clips(corpus: Corpus, rows: np.ndarray) -> int:
    """Overwrite all that a corpus holds of some clips, and what an interrupted call left; return how many clips went.

    The store must be open for writing (`create_store`), under the writer lock.
    """
    rows = np.union1d(rows, np.flatnonzero((corpus.listing.state == DROPPED) & ~_gone(corpus))).astype(np.int64)
    if not len(rows):
        return 0
    grow_encoders(corpus)
    _mark(corpus, rows)
    for name in corpus.encoders:
        _erase(corpus.encoder(name), rows)
    _forget(corpus, rows)
    grow_encoders(Corpus(corpus.group, corpus.path, corpus.name))
    return len(rows)


def _gone(corpus: Corpus) -> np.ndarray:
    """Return which rows were dropped to the end, bool [clip]: their ids, which go last, are tombstones."""
    tombstones = [name == f"{TOMBSTONE}{row}" for row, name in enumerate(corpus.clip)]
    return np.asarray((corpus.listing.state == DROPPED) & np.array(tombstones, dtype=bool))


def _mark(corpus: Corpus, rows: np.ndarray) -> None:
    state = corpus.listing.state.copy()
    state[rows] = DROPPED
    write_column(corpus.group, clip_spec(LISTING, len(state), "uint8"), state, nodes_of(corpus.group))
    update_attributes(corpus.group, {"listing": Listing(state).facts(corpus.clip, corpus.sha256)})


def _erase(encoder: EncoderGroup, rows: np.ndarray) -> None:
    writer = EncoderWriter(encoder, encoder.products)
    for unit in np.unique(rows // encoder.corpus.unit_rows):
        writer.erase(int(unit), rows[rows // encoder.corpus.unit_rows == unit])
    if encoder.frame_layers:
        held = nodes_of(encoder.group, below=True)
        for name in ("frames/start", "frames/length"):
            values = np.array(held[name][:])
            values[rows] = 0
            write_column(encoder.group, clip_spec(name, len(values), "int64"), values, held)


def _forget(corpus: Corpus, rows: np.ndarray) -> None:
    """Overwrite labels, lengths and hashes, then the ids."""
    held = nodes_of(corpus.group)
    for name, column in corpus.columns.items():
        number = column.values.dtype.kind == "f"
        _overwrite(corpus, name, column.values, rows, held, np.nan if number else "")
    _overwrite(corpus, "n_samples", corpus.n_samples, rows, held, 0)
    _overwrite(corpus, "sha256", corpus.sha256, rows, held, "")
    _overwrite(corpus, "clip", corpus.clip, rows, held, [f"{TOMBSTONE}{row}" for row in rows])


def _overwrite(
    corpus: Corpus, name: str, values: np.ndarray, rows: np.ndarray, held: dict[str, object], new: object
) -> None:
    values = values.copy()
    values[rows] = new
    dtype = {"f": "float64", "i": "int64"}.get(values.dtype.kind, "string")
    write_column(corpus.group, clip_spec(name, len(values), dtype), values, held)
