"""Any transformers audio encoder by hub id or local folder; its facts are read from its config.json, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import ConfigError, EncoderError
from .base import Card, Encoder, Entry, FrameRule, Request
from .config_json import read_json, shape_of
from .generic_tokens import pooling_words, window_of
from .speech_cards import speech_entry
from .whisper import whisper_entry

SPEECH_TYPES = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio")
INSIDE = ("audio", "encoder", "speech", "acoustic")
"""What configurations call the part that hears."""
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


def refuse_nested(name: str, config: Mapping[str, object]) -> None:
    """Raise `EncoderError` for a model that holds its encoder among other things, and name the encoder."""
    kind = config["model_type"]
    for key, part in config.items():
        if isinstance(part, dict) and key.endswith("_config") and any(word in key for word in INSIDE):
            inside = f"{part.get('model_type', 'of a type that is not named')} (`{key}` of its config.json)"
            break
    else:
        if not (config.get("is_encoder_decoder") or {"decoder_layers", "decoder_num_hidden_layers"} & config.keys()):
            return
        inside = f"the encoder of {kind}, before its decoder"
    raise EncoderError(
        f"encoder {name!r}: expected an audio encoder, got a {kind} model, which holds one inside: {inside}. Save that part alone "
        f"with `save_pretrained`, its feature extractor beside it, and name its folder; or write a plug-in (docs/encoders.md)."
    )


def _generic_entry(name: str, config: Mapping[str, object], request: Request, folder: str | None) -> Entry:
    refuse_nested(name, config)
    dim, n_layers = shape_of(config)
    facts = read_json(request.name, "preprocessor_config.json", request.revision) or {}
    card = Card(
        name=name,
        family="transformers",
        source=f"local:{name}" if folder else name,
        revision=request.revision,
        dim=dim,
        n_layers=n_layers,
        frame=PLAIN,
        max_window_s=None,
        pooling=pooling_words(window_of(name, config, facts)),
    )
    where = folder or request.name

    def load(request: Request, card: Card, device: str) -> Encoder:
        from .generic_model import load_generic

        return load_generic(request, card, device, config=config, where=where, folder=folder)

    def check(request: Request, card: Card) -> object:
        from .generic_model import check_generic

        return check_generic(request, card, config, where, folder)

    return Entry(card, load, config, check)
