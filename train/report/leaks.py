"""Speakers on both sides of a fold, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import CorpusPlan


@dataclass(frozen=True)
class Leaks:
    """Tested clips whose group is also trained on: in all, and (fold, leaked, tested) of each fold."""

    column: str
    leaked: int
    tested: int
    folds: tuple[tuple[int, int, int], ...]

    @property
    def percent(self) -> float:
        """Leaked of tested clips, in percent."""
        return 100 * self.leaked / max(1, self.tested)


def leaks(corpus: CorpusPlan) -> Leaks | None:
    """Return what leaks; None where nothing does, or no groups are known."""
    counts = corpus.split.leaked
    if counts is None or not counts.any():
        return None
    folds = tuple((fold, int(counts[fold]), len(corpus.split.test(fold))) for fold in range(corpus.split.n_folds))
    tested = sum(n for _, _, n in folds)
    return Leaks(str(corpus.clips.group_column), int(counts.sum()), tested, tuple(f for f in folds if f[2]))
