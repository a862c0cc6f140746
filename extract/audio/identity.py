"""What identifies a clip: the bytes of its file and, for a part of a file, the part's bounds."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...folders import cache_dir
from .problems import reading

__all__ = ["cache_dir", "clip_hash", "content_hash"]


def content_hash(path: Path) -> str:
    """Return the sha256 of the file's bytes, in hex. Raises `AudioError` if it cannot be read."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip_hash(file_sha256: str, start_s: float | None = None, end_s: float | None = None) -> str:
    """Return what identifies a clip: the file's own hash for a whole file, else a hash of it and the bounds."""
    if end_s is None and not start_s:
        return file_sha256
    bounds = [float(start_s or 0.0), None if end_s is None else float(end_s)]
    return hashlib.sha256(f"{file_sha256}:{bounds[0]!r}:{bounds[1]!r}".encode()).hexdigest()
