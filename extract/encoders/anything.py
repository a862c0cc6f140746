"""Any transformers audio encoder by hub id or local folder; its facts are read from its config.json, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ...errors import ConfigError, EncoderError
from .base import Card, Encoder, Entry, FrameRule, Request
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
    if config.get("add_adapter") or config.get("adapter_attn_dim"):
        raise EncoderError(
            f"encoder {request.name!r}: expected a plain encoder, got one with adapters, which shorten or specialise "
            f"its output. Save the model it was built on."
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


def shape_of(config: Mapping[str, object]) -> tuple[int, int]:
    """Return (dim, layers) from a transformers configuration, layer 0 counted."""
    dim = config.get("hidden_size", config.get("d_model"))
    blocks = config.get("num_hidden_layers") if "hidden_size" in config else config.get("encoder_layers")
    if not isinstance(dim, int) or not isinstance(blocks, int):
        raise EncoderError(
            f"model type {config.get('model_type')!r}: expected `hidden_size` and `num_hidden_layers` in its "
            f"config.json, got neither. It is not supported; write a plug-in for it (docs/extending.md)."
        )
    return dim, blocks + 1


def read_json(where: str, file: str, revision: str | None) -> dict[str, object] | None:
    """Read a JSON file of a folder or hub repository; None where there is no such file."""
    if Path(where).is_dir():
        path = Path(where) / file
        return _parse(path) if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return _parse(Path(hf_hub_download(where, file, revision=revision)))
    except LocalEntryNotFoundError as error:
        if file != "config.json":
            return None
        raise EncoderError(
            f"encoder {where!r}: not in the Hugging Face cache, and the hub cannot be reached. "
            f"Fetch it once with `hf download {where}`, or give a local folder."
        ) from error
    except EntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise EncoderError(
            f"encoder {where!r}: the Hugging Face hub has no such model, or not for you ({error}). Check the id, "
            f"and `hf auth login` for gated models."
        ) from error


def _parse(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} of {path.parent.name}: expected a JSON object, got {type(content).__name__}.")
    return content
