"""Whether networks had stopped improving when their training ended: what best and last epoch of each fold tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Convergence:
    """What is known of the folds of one or more runs.

    Attributes:
        folds: folds, of all seeds.
        improving: those whose best epoch is their last, on clips set aside: more epochs may give another score.
        capped: those that ended by their number of epochs or iterations with nothing watched: nobody knows.
        unknown: those that do not train by epochs, or of which nothing was kept.
    """

    folds: int = 0
    improving: int = 0
    capped: int = 0
    unknown: int = 0

    @property
    def text(self) -> str:
        """Such as "still improving in 15 of 20 folds"; empty where nothing is to be said."""
        said = [("still improving", self.improving), ("ended by its cap, unwatched,", self.capped)]
        return "; ".join(f"{what} in {count} of {self.folds} folds" for what, count in said if count)

    @property
    def numbers(self) -> tuple[int | None, int | None]:
        """`improving` and `capped`; None where nothing is known of any fold."""
        return (None, None) if self.unknown == self.folds else (self.improving, self.capped)


NAMES = ("folds_still_improving", "folds_ended_by_cap")
"""What tables for programs call `Convergence.numbers`."""
EXPLAINED = (
    "still improving: the best epoch of a fold was its last, so more epochs may give another score; "
    "raise `training: {epochs: …}`, or read the score as that of a preset's epochs"
)


def convergence(folds: Iterable[tuple[int, int | None, int | None]]) -> Convergence:
    """Return what (clips watched, best epoch, epochs trained) of each fold tell."""
    listed = list(folds)
    at_end = [watched for watched, best, last in listed if best is not None and best == last]
    return Convergence(
        len(listed),
        sum(watched > 0 for watched in at_end),
        sum(watched == 0 for watched in at_end),
        sum(best is None or last is None for _, best, last in listed),
    )


def total(parts: Iterable[Convergence]) -> Convergence:
    """Return what is known of several runs together."""
    listed = list(parts)
    return Convergence(*(sum(getattr(one, name) for one in listed) for name in Convergence.__dataclass_fields__))
