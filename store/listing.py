"""Which clips of a corpus are in use: what was listed last, what a merge brought in, what is listed no longer, what was dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .digest import strings_digest

STATE_NAMES = ("unlisted", "listed", "merged", "dropped")
UNLISTED, LISTED, MERGED, DROPPED = range(4)

TOMBSTONE = "(dropped) "
"""Begins the id that stands in the row of a dropped clip, followed by the row's number."""


@dataclass(frozen=True)
class Listing:
    """The state of every row of a corpus, uint8 [clip]: an index into `STATE_NAMES`."""

    state: np.ndarray

    @staticmethod
    def everything(n_clips: int) -> Listing:
        """Return what holds where no listing was kept: all clips are in use."""
        return Listing(np.full(n_clips, LISTED, dtype=np.uint8))

    @cached_property
    def used(self) -> np.ndarray:
        """Clips that experiments use, bool [clip]: those listed last, and those that a merge brought in."""
        return np.asarray((self.state == LISTED) | (self.state == MERGED))

    @property
    def merged(self) -> np.ndarray:
        """Clips that a merge brought in and no listing has named since, bool [clip]."""
        return np.asarray(self.state == MERGED)

    @cached_property
    def kept(self) -> np.ndarray:
        """Clips whose embeddings are kept, listed or not, bool [clip]: all but the dropped ones."""
        return np.asarray(self.state != DROPPED)

    def counts(self) -> dict[str, int]:
        """Return the number of rows by state name."""
        return {name: int((self.state == code).sum()) for code, name in enumerate(STATE_NAMES)}

    @property
    def text(self) -> str:
        """Such as "30 clips (5 brought in by a merge), 10 more that are not listed now"."""
        counts = self.counts()
        text = f"{int(self.used.sum())} clips"
        if counts["merged"]:
            text += f" ({counts['merged']} brought in by a merge)"
        return f"{text}, {counts['unlisted']} more that are not listed now" if counts["unlisted"] else text

    def facts(self, clip: np.ndarray, sha256: np.ndarray) -> dict[str, str | int]:
        """Return what the corpus' attribute `listing` says: the counts, and a digest that two stores of one listing share."""
        return {"digest": listing_digest(clip[self.used], sha256[self.used]), **self.counts()}


def listing_digest(clip: Iterable[object], sha256: Iterable[object]) -> str:
    """Return the digest of the clips in use, in the order of their ids: whatever the order of rows."""
    pairs = sorted((str(name), str(sha)) for name, sha in zip(clip, sha256, strict=True))
    return f"{strings_digest([name for name, _ in pairs], [sha for _, sha in pairs]):016x}"


def states_after(
    old: np.ndarray, rows: np.ndarray, total: int, *, complete: bool, given: np.ndarray | None
) -> np.ndarray:
    """Return the state of every row after clips were registered, uint8 [clip].

    Args:
        old: states before; rows: those of the clips registered now.
        complete: these clips are the whole listing; what was listed before and is not among them is listed no longer.
        given: states of the registered clips that are new, uint8 [row]; else they are listed.
    """
    state = np.full(total, LISTED, dtype=np.uint8)
    state[: len(old)] = old
    if complete:
        state[: len(old)][old == LISTED] = UNLISTED
        state[rows] = LISTED
    elif given is not None:
        new = rows >= len(old)
        state[rows[new]] = given[new]
    return state


def moved_rows(
    held: Mapping[str, int], sha256: np.ndarray, state: np.ndarray, listed: Sequence[tuple[str, str]]
) -> dict[str, int]:
    """Return the row of each new id whose recording the corpus has under an id that is not listed any more.

    Recordings of equal content are matched in order. What a merge brought in stays as it is.

    Args:
        held: the row of each id; sha256, state: of each row.
        listed: id and content hash of every clip listed now.
    """
    names = {name for name, _ in listed}
    free: dict[str, list[int]] = {}
    for name, row in held.items():
        if name not in names and sha256[row] and state[row] in (LISTED, UNLISTED):
            free.setdefault(str(sha256[row]), []).append(row)
    moved = {}
    for name, sha in listed:
        if name not in held and free.get(sha):
            moved[name] = free[sha].pop(0)
    return moved
