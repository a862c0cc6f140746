"""Which clips of a corpus experiments may use: those that are listed now, or those that `clips:` names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..words import some

if TYPE_CHECKING:
    from ..store import Corpus, Store

_SHOWN = 8


@dataclass(frozen=True)
class Listed:
    """The clips of a corpus that may be used, bool [clip].

    Attributes:
        beside: clips that the store has besides, and why they are not listed: reason and number.
        n_merged: how many of those listed a merge brought in.
    """

    rows: np.ndarray
    beside: tuple[tuple[str, int], ...] = ()
    n_merged: int = 0


@dataclass(frozen=True)
class ClipList:
    """What a file of clip ids names: (corpus, id), the corpus "" where the file does not say."""

    path: Path
    named: frozenset[tuple[str, str]]

    def rows(self, corpus: Corpus) -> np.ndarray:
        """Return which clips of a corpus it names, bool [clip]."""
        found = [("", clip) in self.named or (corpus.name, clip) in self.named for clip in map(str, corpus.clip)]
        return np.asarray(np.array(found, dtype=bool) & corpus.listing.kept)


def listed(corpus: Corpus, chosen: ClipList | None) -> Listed:
    """Return the clips that may be used: those of the last listing and of merges; or, whatever is listed, those of a file.

    Raises:
        ConfigError: the file names no clip of the corpus.
    """
    listing = corpus.listing
    if chosen is None:
        rows, why = listing.used, "not listed now"
    else:
        rows, why = chosen.rows(corpus), f"not in {chosen.path.name}"
        if not rows.any():
            raise ConfigError(
                f"train.clips: {chosen.path} names no clip of corpus {corpus.name!r}. Add some, or leave it out."
            )
    n_beside = int((listing.kept & ~rows).sum())
    return Listed(rows, ((why, n_beside),) if n_beside else (), int((rows & listing.merged).sum()))


def read_clip_list(path: Path) -> ClipList:
    """Read clip ids, one a row; or a table with a column `clip`, and `corpus` where several corpora are meant.

    Raises:
        ConfigError: it cannot be read, or names no clip.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"train.clips: {path} cannot be read ({error}). Name a file with one clip id a row."
        ) from None
    if rows and "clip" in rows[0]:
        header, rows = rows[0], rows[1:]
        places = [header.index(name) if name in header else None for name in ("corpus", "clip")]
    else:
        places = [None, 0]
    named = frozenset(tuple("" if at is None or at >= len(row) else row[at] for at in places) for row in rows)
    if not named:
        raise ConfigError(f"train.clips: {path} names no clip. Write one id a row.")
    return ClipList(path, named)  # type: ignore[arg-type]


def unknown_clips(chosen: ClipList, store: Store, corpora: Sequence[str]) -> list[str]:
    """Return a problem where the file names clips that none of these corpora has."""
    held = {name: {str(clip) for clip in store.corpus(name).clip} for name in store.corpora}
    named = [(corpus, clip) for corpus, clip in chosen.named if not corpus or corpus in corpora or corpus not in held]
    lacking = sorted(
        clip
        for corpus, clip in named
        if not any(clip in held[name] for name in ([corpus] if corpus else corpora) if name in held)
    )
    if not lacking:
        return []
    return [
        f"train.clips: {chosen.path}: {len(lacking)} clips are not in the store: {some(lacking, _SHOWN)}. Correct "
        f"the file."
    ]
