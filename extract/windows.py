"""Cutting: long clips into overlapping windows whose frames join without a seam, windows into batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .encoders.base import SAMPLE_RATE_HZ, Card


@dataclass(frozen=True)
class Window:
    """A stretch of one clip that runs through an encoder in one piece.

    Attributes:
        clip: position of the clip in the list that was cut.
        start, stop: samples of the clip.
        keep_from, keep_to: frames of the window that belong to the clip's embedding; neighbours supply the rest.
    """

    clip: int
    start: int
    stop: int
    keep_from: int
    keep_to: int

    @property
    def n_samples(self) -> int:
        """Length in samples at 16 kHz."""
        return self.stop - self.start


def cut_windows(clip: int, n_samples: int, card: Card, *, max_s: float, overlap_s: float) -> list[Window]:
    """Cut one clip. Clips up to `max_s` stay whole; encoders without `max_window_s` take any length.

    Windows start on multiples of the hop, so that frame k of the clip is the same stretch of sound in every window that
    holds it. Each frame is taken from the window in whose inside it lies: seams are in the middle of the overlaps.
    """
    hop = card.frame.hop_samples
    longest = window_samples(card, max_s)
    if longest is None or n_samples <= longest:
        return [Window(clip, 0, n_samples, 0, card.frame.n_frames(n_samples))]
    step = longest - max(int(overlap_s * SAMPLE_RATE_HZ) // (2 * hop), 1) * 2 * hop
    starts = range(0, n_samples - (longest - step), step)
    seams = [0, *((start + (longest - step) // 2) // hop for start in starts[1:]), card.frame.n_frames(n_samples)]
    return [
        Window(clip, start, min(start + longest, n_samples), seams[i] - start // hop, seams[i + 1] - start // hop)
        for i, start in enumerate(starts)
    ]


def window_samples(card: Card, max_s: float) -> int | None:
    """Return the longest window of an encoder in samples, a multiple of its hop; None for any length."""
    if card.max_window_s is None:
        return None
    hop = card.frame.hop_samples
    return int(min(max_s, card.max_window_s) * SAMPLE_RATE_HZ) // hop * hop


def cut_batches(windows: Iterable[Window], budget_samples: int) -> list[list[Window]]:
    """Group windows of similar length, longest first, so that a padded batch stays within `budget_samples`.

    A window longer than the budget makes a batch of its own.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda w: (-w.n_samples, w.clip, w.start)):
        if batches and batches[-1][0].n_samples * (len(batches[-1]) + 1) <= budget_samples:
            batches[-1].append(window)
        else:
            batches.append([window])
    return batches


def cut_blocks(rows: Sequence[int], n_samples: Sequence[int], limit_samples: int) -> list[list[int]]:
    """Split the rows of a unit, in order, into blocks that fit in memory together; most units are one block."""
    blocks: list[list[int]] = []
    held = limit_samples + 1
    for row, n in zip(rows, n_samples, strict=True):
        if held + n > limit_samples:
            blocks.append([])
            held = 0
        blocks[-1].append(row)
        held += n
    return blocks
