"""Reading pooled statistics: the rows and layers asked for, NaN where a clip is not ok, never a lost shard passed off as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import IntegrityError, StoreError
from .shard_index import lost
from .shards import open_shards

if TYPE_CHECKING:
    from .encoder import EncoderGroup

Rows = Sequence[int] | np.ndarray


def read_pooled(encoder: EncoderGroup, name: str, positions: Sequence[int], rows: Rows | None) -> np.ndarray:
    """Return some rows of some layers of `pooled` or `pooled_std`, float32 [row, layer, feature].

    Args:
        positions: places of the layers along the array's second axis.
        rows: int [row] or bool [clip]; None for all clips.

    Raises:
        IntegrityError: a checksum does not match, or values that the ledger counts are not there.
        StoreError: a row that is no clip's.
    """
    ok = encoder.ledger(name).ok
    wanted = None if rows is None else row_numbers(encoder.path, rows, len(ok))
    given = ok if wanted is None else ok[wanted]
    shape = (len(given), len(positions), encoder.dim)
    if not given.any():
        return np.full(shape, np.nan, dtype=np.float32)
    values = _values(encoder, name, positions, wanted)[: len(given)]
    if len(values) < len(given):  # clips registered after this encoder
        values = np.concatenate([values, np.empty((len(given) - len(values), *shape[1:]), np.float32)])
    if not given.all():
        values[~given] = np.nan
    _require_values(encoder, name, values, np.arange(len(ok)) if wanted is None else wanted, given)
    return values


def row_numbers(path: str, rows: Rows, n_clips: int) -> np.ndarray:
    """Return int64 [row] of row numbers or of a mask. Raises `StoreError` where one is no clip's."""
    given = np.asarray(rows)
    if given.dtype == bool and given.shape == (n_clips,):
        return np.flatnonzero(given)
    if given.ndim != 1 or (len(given) and given.dtype.kind not in "iu"):
        raise StoreError(
            f"{path}: expected rows as a list of whole numbers or a mask of {n_clips} clips, got {given.dtype} "
            f"{list(given.shape)}. Take them from the corpus' columns."
        )
    if len(given) and not 0 <= given.min() <= given.max() < n_clips:
        outside = int(given.min() if given.min() < 0 else given.max())
        raise StoreError(f"{path}: expected rows from 0 to {n_clips - 1}, got {outside}. Count from the corpus' clips.")
    return given.astype(np.int64)


def _values(encoder: EncoderGroup, name: str, positions: Sequence[int], rows: np.ndarray | None) -> np.ndarray:
    array = encoder._array(name)
    if rows is not None:
        rows = np.minimum(rows, array.shape[0] - 1)
    shards = open_shards(array)
    if shards is not None:
        return shards.layers(positions, rows)
    # All rows of a layer, then those wanted: zarr's own selection of rows in shards is nine times slower.
    found = np.stack([encoder._read(name, (slice(None), position)) for position in positions], axis=1)
    return found if rows is None else found[rows]


def _require_values(encoder: EncoderGroup, name: str, values: np.ndarray, rows: np.ndarray, given: np.ndarray) -> None:
    """A shard that is gone reads as NaN: look at the first ok row of each unit."""
    places = np.flatnonzero(given)
    units, first = np.unique(rows[places] // encoder.corpus.unit_rows, return_index=True)
    for unit, place in zip(units, places[first], strict=True):
        if np.isnan(values[place]).all():
            raise IntegrityError(lost(f"{encoder.path}/{name}", f"unit {unit}"))
