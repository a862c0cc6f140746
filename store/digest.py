"""Digests that bind data to its place: checksums find a flipped bit, these find a shard that belongs elsewhere.

Beside every committed unit stands a number that follows from its values; two swapped shards pass every checksum, but
not this. Columns and attributes, which one process writes, carry theirs in the attributes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LEDGER = "ledger"


def values_digest(blocks: Iterable[np.ndarray]) -> int:
    """Return a 63-bit digest of arrays in order: their little-endian bytes, C order."""
    digest = hashlib.sha256()
    for block in blocks:
        little = np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<"))
        digest.update(little.reshape(-1).view(np.uint8).data)
    return _number(digest)


def strings_digest(*columns: Iterable[object]) -> int:
    """Return a 63-bit digest of columns of text or numbers."""
    digest = hashlib.sha256()
    for column in columns:
        for value in column:
            digest.update(f"{value}\0".encode())
        digest.update(b"\n")
    return _number(digest)


def column_digest(values: np.ndarray) -> str:
    """Return the digest of a whole column as text, for an attribute."""
    plain = values_digest([values]) if values.dtype.kind in "fiu" else strings_digest(values)
    return f"{plain:016x}"


def column_facts_digest(attributes: Mapping[str, Any]) -> str:
    """Return the digest of what a column says about itself beside its values."""
    return attributes_digest({name: attributes.get(name) for name in ("role", "description")})


def attributes_digest(attributes: Mapping[str, Any]) -> str:
    """Return the digest of a group's attributes, its own entry left out."""
    kept = {key: value for key, value in attributes.items() if key != "digest"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def sealed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with their own digest in them."""
    return {**attributes, "digest": attributes_digest(attributes)}


def _number(digest: Any) -> int:
    return int.from_bytes(digest.digest()[:8], "big") >> 1
