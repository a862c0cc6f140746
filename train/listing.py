"""What `voxcache heads` prints."""

from __future__ import annotations

from collections.abc import Iterator

from ..registry import Registry
from .architecture import Architecture
from .config import ArchitectureConfig
from .fusions import FUSIONS
from .heads import HEADS


def list_heads() -> str:
    """Return every head and fusion with its options and source, as text."""
    return "\n".join(["heads", *_lines(HEADS), "", "fusions of two or more encoders", *_lines(FUSIONS)])


def _lines(registry: Registry[Architecture]) -> Iterator[str]:
    for name, entry in registry.items():
        yield f"  {name:<10} {entry.summary}  [{entry.source}]"
        options = ", ".join(f"{key}={_shown(field.default)}" for key, field in entry.options.model_fields.items())
        if options:
            yield f"  {'':<10}   {options}"


def _shown(default: object) -> str:
    return default.label if isinstance(default, ArchitectureConfig) else repr(default)
