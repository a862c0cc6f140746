"""Languages of adapters (MMS; Pratap et al. 2024): which one an encoder speaks, and where its tensors are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import CheckpointError, ConfigError
from .base import Request
from .config_json import read_json
from .requests import refuse_options

OPTION = "target_lang"
IN_CHECKPOINT = "as in the checkpoint"


def language_of(request: Request, config: Mapping[str, object], where: str | None) -> str | None:
    """Return the language of an encoder's adapters; None where it has no adapters.

    It is the one asked for, else what the checkpoint's tokenizer names, else only known to be the checkpoint's own.

    Raises:
        ConfigError: options that the encoder does not take.
    """
    if not config.get("adapter_attn_dim"):
        refuse_options(request)
        return None
    asked = request.options.get(OPTION)
    if set(request.options) - {OPTION} or (asked is not None and not _is_language(asked)):
        raise ConfigError(
            f"{request.name}, options: expected `{OPTION}:` with a language such as fra, got {dict(request.options)}."
        )
    if asked is not None:
        return str(asked)
    tokenizer = None if where is None else read_json(where, "tokenizer_config.json", request.revision)
    said = (tokenizer or {}).get(OPTION)
    return said if isinstance(said, str) else IN_CHECKPOINT


def _is_language(value: object) -> bool:
    return isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum()


def adapter_file(where: str, revision: str | None, language: str) -> Path:
    """Return the file with a language's adapters, of a folder or hub id. Raises `CheckpointError` where there is none."""
    names = [f"adapter.{language}.{ending}" for ending in ("safetensors", "bin")]
    for name in names:
        file = _file(where, name, revision)
        if file is not None:
            return file
    raise CheckpointError(
        f"{where}, {OPTION} {language!r}: expected {names[0]} beside the checkpoint, got no such file. Choose a language "
        f"that it has, or download the file."
    )


def _file(where: str, name: str, revision: str | None) -> Path | None:
    if Path(where).is_dir():
        return Path(where) / name if (Path(where) / name).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(where, name, revision=revision))
    except EntryNotFoundError:  # also what is not in the cache while offline
        return None
