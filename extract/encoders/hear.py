"""Any module with the HEAR 2021 API (Turian et al. 2022): `hear:package.module`.

The module is imported to learn its dimension, so planning with such an encoder costs what importing it costs.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, EncoderError
from .base import SAMPLE_RATE_HZ, Card, Emit, Encoder, Entry, FrameRule, Request

if TYPE_CHECKING:
    import torch

PREFIX = "hear:"
EXTRACTOR = "hear-1"
NEEDED = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")
OUTPUTS = ("scene", "timestamps")
CITATION = "Turian et al., HEAR: Holistic Evaluation of Audio Representations, NeurIPS 2021 Competitions track"
FRAME = FrameRule("clip", hop_samples=160, receptive_samples=1)


class HearEncoder(Encoder):
    """One vector a clip: the scene embedding, or with `options: {output: timestamps}` the mean over timestamps.

    The API gives no rule from samples to timestamps, so they cannot be registered as frames.
    """

    batched = False

    def __init__(self, module: ModuleType, model: Any, *, request: Request, card: Card, device: str) -> None:
        self.card = card
        self.device = device
        self.dtype = "float32"
        self._model = model
        self._embed = _embedder(module, _output(request))
        self.weights_sha256 = _identity(module, model, request)
        self.weights_origin = f"hear:{module.__name__}"
        self.preprocessing = {"extractor": EXTRACTOR, "output": _output(request), "sample_rate_hz": SAMPLE_RATE_HZ}

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch, one clip after the other; see `Encoder.encode`."""
        import torch

        with torch.inference_mode():
            vectors = [
                self._embed(wave[None, :n], self._model).float() for wave, n in zip(waves, n_samples, strict=True)
            ]
        emit(0, torch.stack(vectors))  # [clip, 1, feature]


def hear_entry(request: Request) -> Entry:
    """Return the entry of a HEAR module.

    Raises:
        ConfigError: the module cannot be imported, lacks part of the API, or the options are not known.
    """
    module = _import(request.name)
    model = _load_model(module, request)
    size = model.scene_embedding_size if _output(request) == "scene" else model.timestamp_embedding_size
    card = Card(
        name=request.name,
        family="hear",
        source=request.name.removeprefix(PREFIX),
        dim=int(size),
        n_layers=1,
        frame=FRAME,
        max_window_s=None,
        citation=CITATION,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        on_device = model.to(device) if hasattr(model, "to") else model
        return HearEncoder(module, on_device, request=request, card=card, device=device)

    return Entry(card, load, {"identity": _identity(module, model, request)})


def _output(request: Request) -> str:
    output = request.options.get("output", "scene")
    if output not in OUTPUTS or set(request.options) - {"output"}:
        raise ConfigError(
            f"{request.name}, options: expected `output: scene` or `output: timestamps`, got {dict(request.options)}."
        )
    return str(output)


def _import(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name.removeprefix(PREFIX))
    except ImportError as error:
        raise ConfigError(
            f"{name}: expected a module that can be imported, got {error}. Install the package or correct the name."
        ) from error
    missing = [function for function in NEEDED if not callable(getattr(module, function, None))]
    if missing:
        raise ConfigError(
            f"{name}: expected the HEAR 2021 API, got a module without {', '.join(missing)}. "
            f"See docs/encoders.md for what it must define."
        )
    return module


def _load_model(module: ModuleType, request: Request) -> Any:
    path = None if request.weights in (None, "hub", "none") else request.weights
    if path is not None and not Path(path).exists():
        raise ConfigError(f"{request.name}, weights {path!r}: not there. Give a path, or leave `weights:` out.")
    model = module.load_model() if path is None else module.load_model(path)
    facts = ("sample_rate", "scene_embedding_size", "timestamp_embedding_size")
    lacking = [fact for fact in facts if not hasattr(model, fact)]
    if lacking:
        raise EncoderError(f"{request.name}: its model lacks {', '.join(lacking)}, which the HEAR 2021 API asks for.")
    if int(model.sample_rate) != SAMPLE_RATE_HZ:
        raise EncoderError(
            f"{request.name}: expected a module made for {SAMPLE_RATE_HZ} Hz, got one for {int(model.sample_rate)} Hz. Clips are "
            f"brought to {SAMPLE_RATE_HZ} Hz before any encoder; sent to another rate they would lack what it was trained on."
        )
    return model


def _embedder(module: ModuleType, output: str) -> Callable[[Any, Any], Any]:
    if output == "scene":
        return lambda clip, model: module.get_scene_embeddings(clip, model)
    return lambda clip, model: module.get_timestamp_embeddings(clip, model)[0].mean(1)


def _identity(module: ModuleType, model: Any, request: Request) -> str:
    """Hash what decides the numbers, as far as the API lets it be seen: tensors, the checkpoint file, the source."""
    from .weights import state_sha256

    digest = hashlib.sha256(Path(str(module.__file__)).read_bytes())
    if hasattr(model, "state_dict"):
        digest.update(state_sha256(model.state_dict()).encode())
    if request.weights is not None and Path(request.weights).is_file():
        digest.update(Path(request.weights).read_bytes())
    return digest.hexdigest()
