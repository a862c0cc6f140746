"""Units of work as plain data: a process, another machine or a job of an array can do one without knowing the rest."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .encoders.base import SAMPLE_RATE_HZ
from .windows import cut_blocks

ALONE = 1
"""A batch budget, in samples, that no two windows share."""

BLOCK_S = 3600.0
"""Audio held decoded at once by a lane, in seconds: 230 MB."""


@dataclass(frozen=True, slots=True)
class ClipFile:
    """Where the audio of one row is, and its length in samples at 16 kHz; `error` says why it cannot be used."""

    row: int
    path: str
    start_s: float | None
    end_s: float | None
    n_samples: int
    error: str | None = None


@dataclass(frozen=True)
class Part:
    """What one encoder lacks of a unit: `rows` of the corpus, to be cut into batches of at most `budget_samples`."""

    encoder: str
    rows: np.ndarray
    budget_samples: int


@dataclass(frozen=True)
class UnitTask:
    """One unit of one corpus through every encoder that lacks rows of it. May be done again: the result is the same.

    Attributes:
        clips: the audio of every row that some part needs.
        blocks: those rows as they are decoded together, in order.
    """

    corpus: str
    unit: int
    clips: tuple[ClipFile, ...]
    blocks: tuple[tuple[int, ...], ...]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """One line that names it."""
        return f"{self.corpus}, unit {self.unit} ({', '.join(part.encoder for part in self.parts)})"


@dataclass(frozen=True)
class SettleTask:
    """A sample of a corpus on which an encoder's batch budget, or the cost of its precision, is to be measured.

    `remembered` are the budgets known already, by kind of device; `corpus_s` is the audio of the whole corpus.
    """

    corpus: str
    encoder: str
    clips: tuple[ClipFile, ...]
    corpus_s: float
    remembered: dict[str, int]
    calibrate: bool
    compare: bool

    @property
    def text(self) -> str:
        """One line that names it."""
        return f"{self.corpus} x {self.encoder}: measuring"


Task = UnitTask | SettleTask


def unit_blocks(unit: int, n_samples: np.ndarray, unit_rows: int) -> list[list[int]]:
    """Return the rows of a unit as they are decoded together.

    Bounds depend on the unit alone, so that a resumed run cuts the same batches.
    """
    members = range(unit * unit_rows, min((unit + 1) * unit_rows, len(n_samples)))
    lengths = [int(n) for n in n_samples[members.start : members.stop]]
    return cut_blocks(members, lengths, int(BLOCK_S * SAMPLE_RATE_HZ))


def unit_samples(n_samples: np.ndarray, unit_rows: int) -> np.ndarray:
    """Return the samples of every unit of a corpus, int64 [unit]."""
    return np.add.reduceat(n_samples, np.arange(0, len(n_samples), unit_rows)) if len(n_samples) else n_samples


def longest_first(samples: Sequence[int]) -> list[int]:
    """Return positions by falling length, ties in their order."""
    return sorted(range(len(samples)), key=lambda i: (-samples[i], i))


def share(samples: Sequence[int], worker: int, n_workers: int) -> list[int]:
    """Return which positions worker `worker` of 0 to `n_workers` - 1 takes: longest first, each to whoever has least.

    A function of the lengths alone, so that every worker finds the same shares without talking to the others. No share
    exceeds 4/3 of the best possible (Graham 1969).
    """
    loads = [(0, i) for i in range(n_workers)]
    mine: list[int] = []
    for position in longest_first(samples):
        load, i = heapq.heappop(loads)
        heapq.heappush(loads, (load + int(samples[position]), i))
        if i == worker:
            mine.append(position)
    return sorted(mine)


def spread(clips: Sequence[ClipFile], *, most_s: float, most_clips: int) -> list[ClipFile]:
    """Return clips spread evenly over the lengths there are, within both limits."""
    ordered = sorted(clips, key=lambda clip: (clip.n_samples, clip.row))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(most_clips, len(ordered))).astype(int))
    picked = [ordered[i] for i in places]
    while len(picked) > 2 and sum(clip.n_samples for clip in picked) > most_s * SAMPLE_RATE_HZ:
        picked = picked[::2]
    return picked


def wanted_blocks(blocks: Sequence[Sequence[int]], needed: set[int]) -> Iterator[tuple[int, ...]]:
    """Yield what is needed of each block, leaving out blocks of which nothing is."""
    for block in blocks:
        if rows := tuple(row for row in block if row in needed):
            yield rows
