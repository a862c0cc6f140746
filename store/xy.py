"""Features and labels of a corpus as scikit-learn takes them: clips with a label and an embedding, and what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import StoreError, nearest
from .listing import UNLISTED
from .schema import WHY_NOT

if TYPE_CHECKING:
    from .corpus import Corpus


class XY(NamedTuple):
    """What a model learns from, so that `model.fit(found.x, found.y)` works as it is.

    Attributes:
        x: float32 [clip, feature].
        y: labels, str [clip], or numbers, float64 [clip].
        rows: row of each clip in the corpus' columns, int64 [clip].
        left_out: reason to number of clips; with those used they are all clips of the corpus.
    """

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    left_out: dict[str, int]

    def __str__(self) -> str:
        text = f"{len(self.rows)} of {len(self.rows) + sum(self.left_out.values())} clips used"
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{text} ({reasons})" if reasons else text


def labelled(corpus: Corpus, encoder: str, *, layer: int, target: str) -> XY:
    """Return features and labels of the clips in use that have both; see `Corpus.xy`."""
    if target not in corpus.columns:
        known = sorted(corpus.columns)
        raise StoreError(
            f"{corpus.path}: no column {target!r}{nearest(target, known)} It has: {', '.join(known) or 'none'}."
        )
    held, values = corpus.encoder(encoder), corpus.columns[target].values
    number = values.dtype.kind == "f"
    given = np.isfinite(values) if number else np.array([value != "" for value in values], dtype=bool)
    status, listing = held.ledger().status, corpus.listing
    why = np.full(corpus.n_clips, "", dtype=object)
    for code, reason in WHY_NOT.items():
        why[status == code] = reason
    why[~given] = f"without {target}"
    why[listing.state == UNLISTED] = "not listed now"
    rows = np.flatnonzero(listing.kept & (why == ""))
    reasons, counts = np.unique(why[listing.kept & (why != "")].astype(str), return_counts=True)
    y = values[rows].astype(np.float64 if number else np.str_)
    return XY(held.pooled(layer, rows), y, rows, dict(zip(reasons.tolist(), counts.tolist(), strict=True)))
