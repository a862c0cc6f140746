"""A user's own checkpoint against transformers, layer by layer: a report that can be sent to whoever maintains this.

transformers loads the checkpoint by itself and runs every clip alone; voxcache loads it its way and runs all clips as one batch.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError, EncoderError
from ..embed import prepare
from .anything import SPEECH_TYPES
from .base import SAMPLE_RATE_HZ, Encoder, Request
from .checkpoints import quietly
from .exactness import TOLERANCE, Errors, collect, compare
from .generic_model import GenericEncoder
from .registry import resolve

CLIPS_S = (1.0, 0.05, 3.7, 11.0)
FAMILIES = (*SPEECH_TYPES, "whisper", "transformers")
PACKAGES = ("voxcache", "torch", "transformers")


@dataclass(frozen=True)
class Comparison:
    """How far voxcache is from transformers on a checkpoint.

    Attributes:
        frames, pooled: worst relative error of each layer over the clips, of single vectors and of their mean.
        missing: parameters that transformers did not find in the checkpoint and made up.
    """

    name: str
    weights_origin: str
    weights_sha256: str
    preprocessing: dict[str, Any]
    ignored_tensors: dict[str, int]
    clips_s: tuple[float, ...]
    frames: tuple[float, ...]
    pooled: tuple[float, ...]
    missing: tuple[str, ...]
    versions: dict[str, str]
    machine: str

    @property
    def agrees(self) -> bool:
        """Whether every layer is within `TOLERANCE`."""
        return max(*self.frames, *self.pooled) <= TOLERANCE

    def as_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps({**asdict(self), "agrees": self.agrees}, indent=2)

    def __str__(self) -> str:
        facts = {
            "weights": f"{self.weights_origin}, sha256 {self.weights_sha256}",
            "preprocessing": json.dumps(self.preprocessing),
            "ignored tensors": json.dumps(self.ignored_tensors),
            "not found by transformers": ", ".join(self.missing) or "none",
            "versions": ", ".join(f"{package} {number}" for package, number in self.versions.items()),
            "machine": self.machine,
            "clips": ", ".join(f"{seconds:g} s" for seconds in self.clips_s) + "; one batch here, each alone there",
        }
        rows = [
            f"{layer:5}  {f:.1e}  {p:.1e}" for layer, (f, p) in enumerate(zip(self.frames, self.pooled, strict=True))
        ]
        verdict = "agrees with" if self.agrees else "DIFFERS from"
        return "\n".join([
            f"{self.name} {verdict} transformers (tolerance {TOLERANCE:g})",
            *(f"  {name}: {value}" for name, value in facts.items()),
            "layer  frames   mean", *rows,
        ])  # fmt: skip


def check_against_transformers(name: str) -> Comparison:
    """Compare an encoder with transformers on a few made clips, on the CPU, in float32.

    Args:
        name: registry name, hub id or folder.

    Raises:
        ConfigError: no transformers model, or one that has no published weights.
        EncoderError, CheckpointError: it cannot be loaded.
    """
    request = Request(name=name)
    card, entry = resolve(request)
    if card.family not in FAMILIES or card.weights != "hub":
        raise ConfigError(
            f"{name}, --check: expected a transformers model with published weights, got {card.family} "
            f"({card.weights}). There is nothing to compare it with."
        )
    ours = entry.load(request, card, "cpu")
    where = name if Path(name).is_dir() else card.source
    theirs, missing = _reference_model(where, request.revision or card.revision)
    extractor = _reference_extractor(where, request.revision or card.revision, ours)
    waves = [_clip(i, int(seconds * SAMPLE_RATE_HZ)) for i, seconds in enumerate(CLIPS_S)]
    found = collect(ours, [torch.from_numpy(prepare(ours, wave)) for wave in waves])
    errors: Errors = compare(found, [_layers(ours, theirs, extractor, wave) for wave in waves])
    return Comparison(
        name=card.name,
        weights_origin=ours.weights_origin,
        weights_sha256=ours.weights_sha256,
        preprocessing=dict(ours.preprocessing),
        ignored_tensors=dict(ours.ignored),
        clips_s=CLIPS_S,
        frames=errors.frames,
        pooled=errors.pooled,
        missing=tuple(missing),
        versions={package: version(package) for package in PACKAGES} | {"python": platform.python_version()},
        machine=platform.platform(),
    )


def _clip(seed: int, n_samples: int) -> np.ndarray:
    """Return noise that swells and fades, float32 [sample]."""
    swell = 1 + np.sin(np.arange(n_samples) / SAMPLE_RATE_HZ * 5)
    return np.asarray(np.random.default_rng(seed).normal(0, 0.1, n_samples) * swell, dtype=np.float32)


def _reference_model(where: str, revision: str | None) -> tuple[Any, Sequence[str]]:
    from transformers import AutoModel

    with quietly():
        model, info = AutoModel.from_pretrained(where, revision=revision, dtype=torch.float32, output_loading_info=True)
    model.eval()
    if model.config.model_type == "whisper":
        return model.get_encoder(), [
            key for key in info["missing_keys"] if "encoder." in f".{key}" and "decoder" not in key
        ]
    return model, sorted(info["missing_keys"])


def _reference_extractor(where: str, revision: str | None, ours: Encoder) -> Any:
    from transformers import AutoFeatureExtractor, Wav2Vec2FeatureExtractor

    factory: Any = AutoFeatureExtractor
    plain: Any = Wav2Vec2FeatureExtractor
    try:
        return factory.from_pretrained(where, revision=revision)
    except (OSError, ValueError) as error:
        if ours.card.family not in SPEECH_TYPES:
            raise EncoderError(f"{ours.card.name}, --check: no feature extractor beside it ({error}).") from error
        return plain(do_normalize=ours.card.normalise, return_attention_mask=False)


def _layers(ours: Encoder, theirs: Any, extractor: Any, wave: np.ndarray) -> list[torch.Tensor]:
    """Return every layer of one clip from transformers alone, [frame, feature], cut to the clip's own vectors."""
    if isinstance(ours, GenericEncoder):
        return ours.pooled_from(theirs, extractor, wave)
    inputs = dict(extractor(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"))
    inputs.pop("attention_mask", None)  # of a clip alone it is all ones
    with torch.inference_mode():
        out = theirs(**inputs, output_hidden_states=True)
    n_frames = ours.card.frame.n_frames(len(wave))
    return [state[0, :n_frames].float() for state in (*out.hidden_states[:-1], out.last_hidden_state)]
