"""How far apart two ways to compute the same embedding are: alone or in a batch, ours or theirs, float32 or half.

Used by the tests, by `voxcache store verify --re-embed` and by the report on reduced precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .base import Encoder

TOLERANCE = 1e-5
"""Largest relative error, in float32, between a clip alone and the same clip in any batch."""


@dataclass(frozen=True)
class Errors:
    """Largest relative error over clips, for each layer: of the frames, and of their mean."""

    frames: tuple[float, ...]
    pooled: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The largest of all."""
        return max(*self.frames, *self.pooled)


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Return ||ours - reference|| / ||reference||, in float64; infinite where shapes differ, 0 where both are zero."""
    if ours.shape != reference.shape:
        return float("inf")
    a, b = ours.detach().cpu().double(), reference.detach().cpu().double()
    difference, size = float((a - b).norm()), float(b.norm())
    if difference == 0.0:
        return 0.0
    return difference / size if size else float("inf")


def collect(encoder: Encoder, waves: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Run clips as one batch and keep every layer of each clip's own frames.

    Args:
        waves: one [sample] float32 a clip, normalised where the card says so.

    Returns:
        For each clip, for each layer, [frame, feature] float32 on the CPU.
    """
    import torch

    shortest = encoder.card.frame.receptive_samples
    lengths = [max(len(wave), shortest) for wave in waves]
    padded = torch.zeros(len(waves), max(lengths), device=encoder.device)  # [clip, sample]
    for i, wave in enumerate(waves):
        padded[i, : len(wave)] = wave
    kept: list[list[torch.Tensor]] = [[] for _ in waves]

    def emit(layer: int, states: torch.Tensor) -> None:
        for i, n in enumerate(lengths):
            assert len(kept[i]) == layer, "layers are emitted once, in order"
            kept[i].append(states[i, : encoder.card.frame.n_frames(n)].float().cpu().clone())

    encoder.encode(padded, lengths, emit)
    return kept


def compare(ours: Sequence[Sequence[torch.Tensor]], reference: Sequence[Sequence[torch.Tensor]]) -> Errors:
    """Compare two results of `collect`, clip by clip and layer by layer."""
    frames = [[relative_error(a, b) for a, b in zip(x, y, strict=True)] for x, y in zip(ours, reference, strict=True)]
    pooled = [
        [relative_error(a.cpu().double().mean(0), b.cpu().double().mean(0)) for a, b in zip(x, y, strict=True)]
        for x, y in zip(ours, reference, strict=True)
    ]
    worst = [tuple(max(layer) for layer in zip(*rows, strict=True)) for rows in (frames, pooled)]
    return Errors(*worst)


def compare_alone(encoder: Encoder, waves: Sequence[torch.Tensor]) -> Errors:
    """Compare clips in one batch, in the order given, with each of them run alone."""
    return compare(collect(encoder, waves), [collect(encoder, [wave])[0] for wave in waves])
