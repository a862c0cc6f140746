"""Runs any other audio encoder of transformers, one clip at a time, through its own feature extractor and window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError, EncoderError
from .base import Card, Dtype, Emit, Encoder, Request, canonical_hash
from .checkpoints import Loaded, check_transformers, load_transformers, refuse_rate
from .config_json import read_json
from .generic_probe import Manner, extractor_of, manner_of, run
from .generic_tokens import SPECIAL
from .inference import exact_inference, to_precision

EXTRACTOR = "generic-2"
OWN = "own"


def check_generic(
    request: Request, card: Card, config: Mapping[str, object], where: str, folder: str | None
) -> tuple[Manner, Any, Mapping[str, object]]:
    """Return how a model runs, its feature extractor, and what its preprocessor_config.json says.

    Raises:
        ConfigError, EncoderError, CheckpointError: what is wrong with it, before any of its weights is read.
    """
    facts = read_json(where, "preprocessor_config.json", request.revision) or {}
    refuse_rate(card.name, facts, config)
    extractor = extractor_of(where, card, request)
    refuse_rate(card.name, {"sampling_rate": getattr(extractor, "sampling_rate", None)})
    tokens = request.options.get("tokens", OWN)
    manner = manner_of(card, config, facts, extractor)
    special = manner.geometry.n_special > 0
    if set(request.options) - {"tokens"} or (tokens != OWN and not (special and tokens in SPECIAL)):
        known = ", ".join((OWN, *SPECIAL)) if special else OWN
        raise ConfigError(f"{request.name}, options: expected `tokens:` {known}, got {dict(request.options)}.")
    check_transformers(replace(request, options={}), card, config, folder=folder)
    return manner, extractor, facts


def load_generic(
    request: Request, card: Card, device: str, *, config: Mapping[str, object], where: str, folder: str | None = None
) -> GenericEncoder:
    """Load a model and its feature extractor from `where`, a hub id or a folder."""
    manner, extractor, facts = check_generic(request, card, config, where, folder)
    loaded = load_transformers(replace(request, options={}), card, config, folder=folder)
    return GenericEncoder(
        loaded, extractor, manner, card=card, device=device, dtype=request.dtype,
        tokens=str(request.options.get("tokens", OWN)), facts=facts,
    )  # fmt: skip


class GenericEncoder(Encoder):
    """One vector a clip and layer: the mean over those of the model's vectors that are the clip's own.

    The model's vectors are no frames of one rate (patches, layers of several rates), so it offers none.
    """

    batched = False

    def __init__(
        self,
        loaded: Loaded,
        extractor: Any,
        manner: Manner,
        *,
        card: Card,
        device: str,
        dtype: Dtype,
        tokens: str = OWN,
        facts: Mapping[str, object],
    ) -> None:
        self.card = replace(card, frame=replace(card.frame, receptive_samples=manner.shortest))
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = loaded.sha256
        self.weights_origin = loaded.origin
        self.ignored = loaded.ignored
        self._geometry = manner.geometry
        self._special = SPECIAL.get(tokens)
        self._extractor = extractor
        self._model = to_precision(loaded.model, device, dtype)
        self.preprocessing = {
            "extractor": EXTRACTOR,
            "features": type(extractor).__name__,
            "feature_settings": canonical_hash(dict(facts)),
            "tokens": tokens,
            "shortest_samples": manner.shortest,
            **manner.geometry.facts(),
        }

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch, one clip after the other; see `Encoder.encode`."""
        with exact_inference():
            clips = [
                self._means(self._model, self._extractor, wave[:n].cpu().numpy())
                for wave, n in zip(waves, n_samples, strict=True)
            ]
        for layer, states in enumerate(torch.stack(clips).unbind(1)):
            emit(layer, states[:, None])  # [clip, 1, feature]

    def pooled_from(self, model: Any, extractor: Any, wave: np.ndarray) -> list[torch.Tensor]:
        """Return what another copy of the model gives for a clip, pooled as here: [1, feature] of each layer, on the CPU."""
        padded = np.pad(wave, (0, max(0, self.card.frame.receptive_samples - len(wave))))
        return [layer[None].cpu() for layer in self._means(model, extractor, padded)]

    def _means(self, model: Any, extractor: Any, wave: np.ndarray) -> torch.Tensor:
        """Return [layer, feature] of one clip, over all its windows."""
        n_layers, dim = self.card.n_layers, self.card.dim
        total = torch.zeros(n_layers, dim, dtype=torch.float64, device=self.device)
        counts = torch.zeros(n_layers, 1, dtype=torch.float64, device=self.device)
        for start, stop, keep_from, keep_to in self._geometry.windows(len(wave)):
            states = run(
                model, extractor, wave[start:stop], self.device, getattr(torch, self.dtype),
                whole=self._geometry.fixed,
            )  # fmt: skip
            if len(states) != n_layers or any(state.shape[-1] != dim for state, _ in states):
                raise EncoderError(
                    f"{self.card.name}: expected {n_layers} layers of {dim}, got {[tuple(s.shape) for s, _ in states][:3]}. "
                    f"Write a plug-in for it (docs/encoders.md)."
                )
            for layer, (state, mask) in enumerate(states):
                own = self._own(
                    len(state), stop - start, keep_from - start, keep_to - start, last=layer == n_layers - 1
                )
                kept = torch.from_numpy(own if mask is None else own & mask).to(self.device)
                n = kept.sum()
                counts[layer] += n
                chosen = state[kept].double().sum(0) if self._special is None else state[self._special].double() * n
                total[layer] += chosen
        return (total / counts).float()

    def _own(self, n_vectors: int, n_samples: int, keep_from: int, keep_to: int, *, last: bool) -> np.ndarray:
        """Return which vectors of a window count for the clip: its own, between the window's seams, in samples."""
        starts = self._geometry.starts(n_vectors, last=last)
        own = self._geometry.own(n_vectors, n_samples, last=last)
        ends_here = keep_to >= n_samples
        return np.asarray(own & (starts >= keep_from) & (ends_here | (starts < keep_to)))
