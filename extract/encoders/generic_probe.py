"""What a model of another kind gives for a clip, found out by running it with one block and random weights.

Cheap enough for planning: nothing of the checkpoint is read but its JSON files.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...errors import EncoderError
from .architectures import build, to_config
from .base import SAMPLE_RATE_HZ, Card, Request
from .generic_tokens import FLOWING_WINDOW_SAMPLES, Geometry, window_of
from .weights import seeded

PROBES = (32_137, 70_537)
"""Two clips whose difference, 2.4 s, is a multiple of every step between vectors that is usual."""

SHORTEST: tuple[int, ...] = (1, *range(400, 1600, 80), 1600, 2000, 2400, 3200, 4800, 8000, 16_000)
"""Lengths tried, in samples, until a model gives at least one vector for each layer."""

MASKS = ("attention_mask", "padding_mask")


@dataclass(frozen=True)
class Manner:
    """How a model runs: its geometry, and the shortest clip it takes, in samples."""

    geometry: Geometry
    shortest: int


def extractor_of(where: str, card: Card, request: Request) -> Any:
    """Return the feature extractor beside a model. Raises `EncoderError` where there is none that can be read."""
    from transformers import AutoFeatureExtractor

    factory: Any = AutoFeatureExtractor
    try:
        return factory.from_pretrained(where, revision=request.revision)
    except Exception as error:  # whatever transformers makes of a JSON file that it cannot take
        raise EncoderError(
            f"{card.name}: expected a feature extractor beside the model, got none that can be read "
            f"({_first(error)}). Save it there with `save_pretrained`."
        ) from error


def manner_of(card: Card, config: Mapping[str, object], facts: Mapping[str, object], extractor: Any) -> Manner:
    """Find out how a model runs.

    Args:
        config: its published configuration.
        facts: its preprocessor_config.json.

    Raises:
        EncoderError: it does not run, or which of its vectors are the clip's own cannot be known.
    """
    with seeded(0):
        model = build(to_config({**config, _depth(config): 1})).eval()
    window = window_of(card.name, config, facts)
    try:
        runs = [run(model, extractor, _noise(n), "cpu", torch.float32, whole=window is not None) for n in PROBES]
    except Exception as error:  # whatever a model makes of an input that is not its own
        raise EncoderError(
            f"{card.name}: expected an audio encoder that takes what its feature extractor gives, got model type "
            f"{config.get('model_type')!r}, which fails: {_first(error)}. Write a plug-in for it (docs/encoders.md)."
        ) from error
    if any(len(states) != 2 or {state.shape[-1] for state, _ in states} != {card.dim} for states in runs):
        raise _unknown(
            card, f"layers of shapes {[tuple(state.shape) for state, _ in runs[0]]} for one block of {card.dim}"
        )
    geometry = _flowing(card, model, runs) if window is None else _filled(card, window, runs)
    return Manner(geometry, _shortest(card, model, extractor, geometry))


States = list[tuple[torch.Tensor, np.ndarray | None]]
"""Of each layer, [vector, feature], and which vectors the model's own mask keeps, bool [vector]."""


def run(
    model: Any, extractor: Any, wave: np.ndarray, device: str, dtype: torch.dtype, *, whole: bool = False
) -> States:
    """Run one clip as its extractor gives it.

    Args:
        wave: float32 [sample].
        whole: the model sees its whole window: no mask is passed on.

    Raises:
        ValueError: the states are no sequences of vectors, or a mask does not fit them.
    """
    inputs = extractor(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    moved = {k: v.to(device, dtype if v.is_floating_point() else v.dtype) for k, v in inputs.items()}
    kept = {k: v for k, v in moved.items() if not (whole and k in MASKS)}
    with torch.inference_mode():
        out = model(**kept, output_hidden_states=True)
    states = [*out.hidden_states[:-1], out.last_hidden_state]
    if any(state.ndim != 3 or len(state) != 1 for state in states):
        raise ValueError(
            f"layers of shapes {[tuple(state.shape) for state in states][:3]} in place of [1, time, feature]"
        )
    mask = getattr(out, "attention_mask", None)
    mask = next((kept[key] for key in MASKS if key in kept), None) if mask is None else mask
    return [(state[0], _kept(mask, len(state[0]))) for state in states]


def _kept(mask: torch.Tensor | None, n_vectors: int) -> np.ndarray | None:
    if mask is None or bool(mask.bool().all()):
        return None
    if mask.shape != (1, n_vectors):
        raise ValueError(f"a mask of shape {tuple(mask.shape)} for {n_vectors} vectors")
    return np.asarray(mask[0].bool().cpu().numpy())


def _flowing(card: Card, model: Any, runs: list[States]) -> Geometry:
    """Return the geometry of a model that takes clips as long as they are: the steps between vectors, from two lengths."""
    tokens = [name for name in model.state_dict() if "token" in name or "cls" in name]
    if tokens:
        raise _unknown(card, f"a token that stands for no stretch of time ({tokens[0]})")
    hops = []
    for (short, _), (long, _) in zip(*runs, strict=True):
        more = len(long) - len(short)
        hop = (PROBES[1] - PROBES[0]) / more if more > 0 else 0.0
        if more <= 0 or hop != int(hop) or not -1 <= PROBES[0] / hop - len(short) <= 8:
            raise _unknown(card, f"{len(short)} vectors for {PROBES[0]} samples and {len(long)} for {PROBES[1]}")
        hops.append(int(hop))
    return Geometry(FLOWING_WINDOW_SAMPLES, (hops[0], hops[1]))


def _filled(card: Card, window: Geometry, runs: list[States]) -> Geometry:
    """Return the geometry of a model with a window, its last layer's step as found."""
    inner, last = (len(state) for state, _ in runs[0])
    same = [len(state) for state, _ in runs[1]] == [inner, last]
    divides = inner and last and not window.window_samples % inner and not window.window_samples % last
    if not same or not (window.n_vectors == inner == last if window.n_vectors else divides):
        raise _unknown(card, f"{inner} and {last} vectors for a window of {window.window_samples} samples")
    if window.n_vectors:
        return window
    return replace(window, hops=(window.window_samples // inner, window.window_samples // last))


def _shortest(card: Card, model: Any, extractor: Any, geometry: Geometry) -> int:
    for n in SHORTEST:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                states = run(model, extractor, _noise(n), "cpu", torch.float32, whole=geometry.fixed)
        except Exception:  # too short for it: each model says so in its own way
            continue
        if all(len(state) and bool(state.isfinite().all()) and (kept is None or kept.any()) for state, kept in states):
            return n
    raise _unknown(card, "no vectors for a second of noise")


def _depth(config: Mapping[str, object]) -> str:
    return "num_hidden_layers" if "num_hidden_layers" in config else "encoder_layers"


def _noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _unknown(card: Card, found: str) -> EncoderError:
    return EncoderError(
        f"{card.name}: expected a model of which it can be known which vectors are the clip's own, got {found}. It is not "
        f"supported; write a plug-in for it (docs/encoders.md)."
    )
