"""Runs any other audio encoder of transformers, one clip at a time, through its own feature extractor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import EncoderError
from .base import SAMPLE_RATE_HZ, Card, Dtype, Emit, Encoder, Request
from .checkpoints import Loaded, load_transformers
from .inference import exact_inference, to_precision

EXTRACTOR = "generic-1"


def load_generic(
    request: Request, card: Card, device: str, *, config: Mapping[str, object], where: str, folder: str | None = None
) -> GenericEncoder:
    """Load a model and its feature extractor from `where`, a hub id or a folder."""
    from transformers import AutoFeatureExtractor

    factory: Any = AutoFeatureExtractor
    try:
        extractor = factory.from_pretrained(where, revision=request.revision)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{card.name}: expected a feature extractor beside the model, got none that can be read "
            f"({str(error).splitlines()[0]}). Save it there with `save_pretrained`."
        ) from error
    loaded = load_transformers(request, card, config, folder=folder)
    return GenericEncoder(loaded, extractor, card=card, device=device, dtype=request.dtype)


class GenericEncoder(Encoder):
    """One vector a clip and layer: the mean over what the model gives for the clip alone.

    How such a model turns samples into time steps is not known here, so it offers no frames.
    """

    batched = False

    def __init__(self, loaded: Loaded, extractor: Any, *, card: Card, device: str, dtype: Dtype) -> None:
        self.card = card
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = loaded.sha256
        self.weights_origin = loaded.origin
        self._extractor = extractor
        self._model = to_precision(loaded.model, device, dtype)
        self.preprocessing = {"extractor": EXTRACTOR, "features": type(extractor).__name__}

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch, one clip after the other; see `Encoder.encode`."""
        with exact_inference():
            clips = [self._means(wave[:n]) for wave, n in zip(waves, n_samples, strict=True)]
        for layer, states in enumerate(torch.stack(clips).unbind(1)):
            emit(layer, states[:, None])  # [clip, 1, feature]

    def _means(self, wave: torch.Tensor) -> torch.Tensor:
        """Return [layer, feature] of one clip."""
        inputs = self._extractor(wave.cpu().numpy(), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        dtype = getattr(torch, self.dtype)
        moved = {k: v.to(self.device, dtype if v.is_floating_point() else v.dtype) for k, v in inputs.items()}
        out = self._model(**moved, output_hidden_states=True)
        states = [*out.hidden_states[:-1], out.last_hidden_state]
        if len(states) != self.card.n_layers or any(state.ndim != 3 for state in states):
            raise EncoderError(
                f"{self.card.name}: expected {self.card.n_layers} layers of [clip, time, feature], got "
                f"{[tuple(state.shape) for state in states][:3]}. This model is not an audio encoder of a known shape."
            )
        return torch.stack([state[0].float().mean(0) for state in states])
