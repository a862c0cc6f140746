"""The cache key of an encoder group: everything but the audio that can change a number in it.

The audio's own content hash stands beside every row, so the whole key of one embedding is
(audio content) x (weights, preprocessing, extractor version, dtype).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

Scalar = str | int | float | bool | None
Key = Mapping[str, Scalar]


def key_hash(key: Key) -> str:
    """Return the sha256 of a key, independent of the order of its fields."""
    text = json.dumps(dict(key), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(stored: Key, wanted: Key) -> list[str]:
    """Return one phrase for every field in which two keys differ, such as "dtype: float32 in the store, bfloat16 now"."""
    fields = sorted({*stored, *wanted})
    return [
        f"{field}: {_short(stored.get(field, 'absent'))} in the store, {_short(wanted.get(field, 'absent'))} now"
        for field in fields
        if stored.get(field, "absent") != wanted.get(field, "absent")
    ]


def _short(value: Scalar) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text
