"""Any transformers audio encoder by hub id or local folder; its facts are read from its config.json, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import ConfigError, EncoderError
from .base import Card, Encoder, Entry, FrameRule, Request
from .config_json import read_json, shape_of
from .speech_cards import speech_entry
from .whisper import whisper_entry

SPEECH_TYPES = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio")
PLAIN = FrameRule("clip", hop_samples=160, receptive_samples=400)


def outside_entry(request: Request) -> Entry:
    """Return the entry of a model that the registry does not hold.

    Raises:
        ConfigError: the folder holds no transformers model.
        EncoderError: the hub cannot be reached and the cache does not hold the model, or it is not supported.
    """
    folder = request.name if Path(request.name).is_dir() else None
    config = read_json(request.name, "config.json", request.revision)
    if config is None or "model_type" not in config:
        raise ConfigError(
            f"encoder {request.name!r}: expected a transformers model, got no config.json with a `model_type`. "
            f"Save it with `save_pretrained`, or name an encoder of `voxcache encoders`."
        )
    name = Path(request.name).name if folder else request.name
    return _entry(name, config, request, folder)


def _entry(name: str, config: Mapping[str, object], request: Request, folder: str | None) -> Entry:
    model_type = config["model_type"]
    source = f"local:{name}" if folder else name
    if model_type == "whisper":
        return whisper_entry(name, config, source=source, revision=request.revision, folder=folder)
    if model_type not in SPEECH_TYPES:
        return _generic_entry(name, config, request, folder)
    if config.get("add_adapter"):
        raise EncoderError(
            f"encoder {request.name!r}: expected a plain encoder, got one with an adapter, which shortens its output by "
            f"rules of its own. Save the model it was built on."
        )
    extractor = read_json(request.name, "preprocessor_config.json", request.revision) or {}
    return speech_entry(
        name,
        config,
        source=source,
        revision=request.revision,
        normalise=bool(extractor.get("do_normalize", True)),
        citation="",
        pretraining=(),
        folder=folder,
    )


def _generic_entry(name: str, config: Mapping[str, object], request: Request, folder: str | None) -> Entry:
    dim, n_layers = shape_of(config)
    card = Card(
        name=name,
        family="transformers",
        source=f"local:{name}" if folder else name,
        revision=request.revision,
        dim=dim,
        n_layers=n_layers,
        frame=PLAIN,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        from .generic_model import load_generic

        where = folder or request.name
        return load_generic(request, card, device, config=config, where=where, folder=folder)

    return Entry(card, load, config)
