"""What loading an encoder told us last time, so that a second run need not load it to know its cache key.

Kept in the user's cache directory, by a fingerprint that changes whenever the weights could have: file sizes and times,
resolved commit, or seed and library versions.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..store.files import move
from .encoders.base import Encoder, Scalar, canonical_hash


@dataclass(frozen=True)
class Identity:
    """What identifies an encoder's numbers: weights and everything before them. `ignored` as in `Encoder`."""

    weights_sha256: str
    weights_origin: str
    preprocessing: dict[str, Scalar]
    n_layers: int
    dim: int
    ignored: Mapping[str, int] = field(default_factory=dict)


def identity_of(encoder: Encoder) -> Identity:
    """Return the identity of a loaded encoder."""
    return Identity(
        encoder.weights_sha256,
        encoder.weights_origin,
        dict(encoder.preprocessing),
        encoder.card.n_layers,
        encoder.card.dim,
        dict(encoder.ignored),
    )


def recall(folder: Path, fingerprint: Mapping[str, object]) -> Identity | None:
    """Return what is known under this fingerprint, or None; a damaged note counts as none."""
    try:
        return Identity(**json.loads(_file(folder, fingerprint).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def remember(folder: Path, fingerprint: Mapping[str, object], identity: Identity) -> None:
    """Keep an identity under a fingerprint."""
    file = _file(folder, fingerprint)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    partial.write_text(json.dumps(asdict(identity)), encoding="utf-8")
    move(partial, file)


def _file(folder: Path, fingerprint: Mapping[str, object]) -> Path:
    return folder / "weights" / f"{canonical_hash(dict(fingerprint))}.json"
