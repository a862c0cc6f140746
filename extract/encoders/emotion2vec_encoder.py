"""Runs emotion2vec and finds its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from ...errors import EncoderError
from .author_weights import Weighted, load_weights
from .base import Card, Dtype, Emit, Encoder, Request
from .emotion2vec import Shape
from .emotion2vec_model import Emotion2vec
from .inference import exact_inference, to_precision
from .requests import refuse_options

EXTRACTOR = "emotion2vec-2"
"""Part of the cache key; raise it when a change here changes numbers."""

WRAPPERS = re.compile(r"^(d2v_model\.|w2v_encoder\.w2v_model\.)")
"""The fine-tuned models (plus) stand inside the class they were fine-tuned as."""

OF_TRAINING = re.compile(r"^(modality_encoders\.AUDIO\.decoder|_ema|(w2v_encoder\.)?proj)\.")
"""The decoder of masked prediction, the teacher, and the emotion classifier."""


def load_emotion2vec(request: Request, card: Card, device: str, *, shape: Shape, file: str) -> Emotion2vecEncoder:
    """Load an emotion2vec of a shape; `file` is the checkpoint's name in the hub repository.

    Raises:
        CheckpointError: weights that do not fit.
        EncoderError: weights that cannot be had.
    """
    refuse_options(request)
    loaded = load_weights(
        request,
        card,
        lambda: Emotion2vec(shape),
        own_key=own_key,
        from_hub=lambda: _from_hub(card, request.revision or card.revision, file),
    )
    return Emotion2vecEncoder(loaded, card=card, device=device, dtype=request.dtype)


def own_key(key: str) -> str | None:
    """Return the model's key for a checkpoint's; None for what only training needs."""
    key = WRAPPERS.sub("", key)
    return None if OF_TRAINING.match(key) else key


def _from_hub(card: Card, revision: str | None, file: str) -> tuple[Path, str]:
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(card.source, file, revision=revision))
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{card.name}, weights hub:{card.source}: expected {file} in that repository or in the local cache, got "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__} Download it once where there is a "
            f"network, or give `weights:` the path of the file."
        ) from error
    return path, f"hub:{card.source}@{path.parent.name}"


class Emotion2vecEncoder(Encoder):
    """Layer 0 is the input to the first block, layer k the output of block k, prenet blocks first."""

    def __init__(self, loaded: Weighted[Emotion2vec], *, card: Card, device: str, dtype: Dtype) -> None:
        self.card = card
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = loaded.sha256
        self.weights_origin = loaded.origin
        self.preprocessing = {"extractor": EXTRACTOR, "normalise": f"zero mean, unit variance + {card.normalise_eps:g}"}
        self._model = to_precision(loaded.model, device, dtype)

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch; see `Encoder.encode`."""
        with exact_inference():
            n_frames = [self.card.frame.n_frames(n) for n in n_samples]
            self._model(waves[:, : max(n_samples)].to(getattr(torch, self.dtype)), n_frames, emit)
