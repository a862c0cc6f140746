"""Audio files in, mono float32 at 16 kHz out, and what identifies a clip.

Planning uses `probe`, the hashes and `FileIndex`, none of which imports torch; `load` imports torchaudio when it first
has to resample. One bad file raises `AudioError`, whose text names the file without its folder, because it is stored.
"""

from __future__ import annotations

from .clip import load, probe
from .identity import cache_dir, clip_hash, content_hash
from .index import FileIndex, Scanned
from .problems import CHECK_THEN_RETRY, foreseen
from .resample import RESAMPLER, n_resampled

__all__ = [
    "CHECK_THEN_RETRY",
    "RESAMPLER",
    "FileIndex",
    "Scanned",
    "cache_dir",
    "clip_hash",
    "content_hash",
    "foreseen",
    "load",
    "n_resampled",
    "probe",
]
