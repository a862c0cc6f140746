"""An encoder as a package of its own: the rate of zero crossings and the energy of every 20 ms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voxcache.extract.encoders.base import Card, Emit, Encoder, Entry, FrameRule, Request
from voxcache.registry import Registry

if TYPE_CHECKING:
    import torch

CARD = Card(
    name="zero-crossings",
    family="zero-crossings",
    source="computed",
    dim=2,
    n_layers=1,
    frame=FrameRule("framed", hop_samples=320, receptive_samples=320),
    max_window_s=None,
    licence="none needed",
    citation="textbook",
    weights="none",
    n_parameters=0,
)


class ZeroCrossings(Encoder):
    """Frames do not overlap and see nothing but their own samples, so padding cannot reach them."""

    def __init__(self, request: Request, card: Card, device: str) -> None:
        self.card = card
        self.device = device
        self.dtype = "float32"
        self.weights_sha256 = "0" * 64
        self.weights_origin = "none"
        self.preprocessing = {"extractor": "zero-crossings-1"}

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Emit [clip, frame, 2]: crossings per sample, mean square."""
        import torch

        frames = waves[:, : max(n_samples)].unfold(1, 320, 320)  # [clip, frame, sample]
        crossings = (frames[..., 1:].sign() != frames[..., :-1].sign()).float().mean(-1)
        emit(0, torch.stack([crossings, frames.square().mean(-1)], -1))


def register(encoders: Registry[Entry]) -> None:
    """Called by voxcache the first time it looks up an encoder."""
    encoders.register("zero-crossings", Entry(CARD, ZeroCrossings))
