"""Every encoder by name, and what else a name may be: a hub id, a local folder, a HEAR module. Imports no torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ...errors import ConfigError, UnknownName
from ...registry import Registry
from .base import Card, Encoder, Entry, Request
from .fingerprints import fingerprint_of

ENCODERS: Registry[Entry] = Registry("encoder", group="voxcache.encoders")

FAMILIES = (
    "acoustic",
    "opensmile_features",
    "wav2vec2",
    "hubert",
    "wavlm",
    "unispeech_sat",
    "data2vec",
    "whisper",
    "audio_mamba",
    "emotion2vec",
)
for _family in FAMILIES:
    for _name, _entry in import_module(f".{_family}", __package__).ENTRIES.items():
        ENCODERS.register(_name, _entry)


def resolve(request: Request) -> tuple[Card, Entry]:
    """Find what a request names, without loading it.

    Returns:
        The card, and the entry whose loader builds the encoder.

    Raises:
        UnknownName: no registry name, folder, hub id (owner/model) or HEAR module.
        ConfigError: it is one of these, but cannot be what it says.
        EncoderError: its facts cannot be had.
    """
    entry = _find(request)
    return entry.card, entry


def _find(request: Request) -> Entry:
    name = request.name
    if name in ENCODERS:
        return ENCODERS.get(name)
    if name.startswith("hear:"):
        from .hear import hear_entry

        return hear_entry(request)
    if Path(name).is_dir() or _is_hub_id(name):
        from .anything import outside_entry

        return outside_entry(request)
    if name.startswith(("/", "./", "../", "~")):
        raise ConfigError(f"encoder {name!r}: expected a folder with a transformers model, got no such folder.")
    raise UnknownName("encoder", name, ENCODERS)


def _is_hub_id(name: str) -> bool:
    owner, _, model = name.partition("/")
    return bool(owner.strip(".~")) and bool(model) and "/" not in model


def load(request: Request, device: str = "cpu") -> Encoder:
    """Load the encoder that a request names onto a device; see `resolve` for what can be wrong."""
    card, entry = resolve(request)
    return entry.load(request, card, device)


def fingerprint(request: Request) -> dict[str, object]:
    """Return what identifies an encoder's weights without loading them; JSON-able. See `fingerprints`."""
    card, entry = resolve(request)
    return fingerprint_of(request, card, entry)
