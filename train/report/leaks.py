"""What stands on both sides of a fold, in plain words: speakers, and audio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..grid import CorpusPlan


@dataclass(frozen=True)
class Leaks:
    """Tested clips that share something with a clip trained on: in all, and (fold, leaked, tested) of each fold.

    Attributes:
        column: what is shared: the group column, or "recording" for audio.
        shares: what such a clip does, such as "have a clip of the same speaker among those trained on".
        remedy: the split that keeps them apart.
    """

    column: str
    shares: str
    remedy: str
    leaked: int
    tested: int
    folds: tuple[tuple[int, int, int], ...]

    @property
    def percent(self) -> float:
        """Leaked of tested clips, in percent."""
        return 100 * self.leaked / max(1, self.tested)


def leaks(corpus: CorpusPlan) -> tuple[Leaks, ...]:
    """Return what leaks, groups first; nothing where nothing does, or where neither groups nor audio are known."""
    column = str(corpus.clips.group_column)
    found = (
        _leaks(
            corpus,
            corpus.split.leaked,
            column,
            f"have a clip of the same {column} among those trained on",
            f"split: {{kind: kfold, group: {column}}}",
        ),
        _leaks(
            corpus,
            corpus.split.heard,
            "recording",
            "hold audio that is also trained on (the same file, or an overlapping part of one)",
            "split: {kind: kfold, group: auto}",
        ),
    )
    return tuple(one for one in found if one is not None)


def _leaks(corpus: CorpusPlan, counts: np.ndarray | None, column: str, shares: str, remedy: str) -> Leaks | None:
    if counts is None or not counts.any():
        return None
    folds = tuple((fold, int(counts[fold]), len(corpus.split.test(fold))) for fold in range(corpus.split.n_folds))
    tested = sum(n for _, _, n in folds)
    return Leaks(column, shares, remedy, int(counts.sum()), tested, tuple(f for f in folds if f[2]))


def looked_for(corpus: CorpusPlan) -> str:
    """Return what was looked for and found in no fold, and what cannot be known, in two sentences."""
    clips, split = corpus.clips, corpus.split
    n_tested = int((split.fold >= 0).sum())
    absent = []
    if split.leaked is not None and not split.leaked.any():
        absent.append(f"a {clips.group_column} by name")
    if split.heard is not None and clips.audio is not None and not split.heard.any() and not clips.audio.unknown.all():
        absent.append("the bytes of a file, or an overlapping part of it")
    found = f"Of {n_tested} tested clips none shares with those trained on: {'; '.join(absent)}. " if absent else ""
    return f"{found}Not to be known from names and bytes: one person under two names, one recording in two formats, altered copies."
