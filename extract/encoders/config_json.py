"""Facts about transformers models from their JSON files, in a folder or in the hub's cache. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ...errors import ConfigError, EncoderError


def shape_of(config: Mapping[str, object]) -> tuple[int, int]:
    """Return (dim, layers) from a transformers configuration, layer 0 counted."""
    dim = config.get("hidden_size", config.get("d_model"))
    blocks = config.get("num_hidden_layers") if "hidden_size" in config else config.get("encoder_layers")
    if not isinstance(dim, int) or not isinstance(blocks, int):
        raise EncoderError(
            f"model type {config.get('model_type')!r}: expected `hidden_size` and `num_hidden_layers` in its "
            f"config.json, got neither. It is not supported; write a plug-in for it (docs/encoders.md)."
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path.name} of {path.parent.name}: expected JSON, got {error}. Correct it there.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} of {path.parent.name}: expected a JSON object, got {type(content).__name__}.")
    return content
