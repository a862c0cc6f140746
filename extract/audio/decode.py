"""Files to mono samples at their own rate: soundfile where libsndfile can, PyAV (FFmpeg) otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import data_chunk
from .problems import COPY_AGAIN, problem, reading, truncated, undecodable

BLOCK_FRAMES = 1 << 18
MIN_RATE_HZ = 1_000
"""Lower rates come from damaged headers, and would make thousands of samples of each one read."""

_EXACT_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "AIFF", "FLAC", "W64", "AU"})
_EXACT_SUBTYPES = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})
_MAX_FRAMES = 1 << 40

Mono = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """A file's own sample grid.

    Attributes:
        rate_hz: samples per second in the file.
        n_frames: samples per channel.
        exact: the header alone gives `n_frames`, and any position can be reached without decoding up to it.
    """

    rate_hz: int
    n_frames: int
    exact: bool


def inspect(path: Path) -> Source:
    """Return the file's rate and length, from the header where that is exact, else by decoding all of it.

    Raises `AudioError` if the file is missing, unreadable, empty, truncated or not audio.
    """
    source = header(path)
    if source is None:
        rate_hz, n_frames = 0, 0
        for rate_hz, block in blocks(path):
            n_frames += len(block)
        source = _checked(path, Source(rate_hz, n_frames, exact=False))
    return source


def header(path: Path) -> Source | None:
    """Return what the header says where it can be relied on, else None. Raises `AudioError` as `inspect` does."""
    chunk = data_chunk(path)
    with reading(path):
        if path.stat().st_size == 0:
            raise problem(path, "audio", "an empty file (0 bytes)", COPY_AGAIN)
    file = _open_soundfile(path)
    if file is None:
        return None
    with file:
        if chunk and chunk.streamed and not file.frames:
            return None
        trusted = file.format in _EXACT_FORMATS and file.subtype in _EXACT_SUBTYPES
        if not trusted or not 0 <= file.frames < _MAX_FRAMES:
            return None
        return _checked(path, Source(file.samplerate, file.frames, exact=True))


def read(path: Path, first: int, stop: int) -> Mono:
    """Return the mono samples [sample] from frame `first` up to `stop` of a file whose header is exact."""
    file = _open_soundfile(path)
    assert file is not None, "only called where header() opened the file"
    wave = np.empty(stop - first, np.float32)
    with file, _decoding(path):
        file.seek(first)
        done = 0
        while done < len(wave):
            block = file.read(min(BLOCK_FRAMES, len(wave) - done), dtype="float32", always_2d=True)
            if not len(block):
                raise truncated(path, f"{stop} samples", f"{first + done}")
            wave[done : done + len(block)] = _downmix(block)
            done += len(block)
    return wave


def read_all(path: Path) -> tuple[int, Mono]:
    """Return (rate in Hz, mono samples [sample]) by decoding the whole file."""
    rates, parts = [0], []
    for rate_hz, block in blocks(path):
        rates.append(rate_hz)
        parts.append(block)
    wave = np.concatenate(parts) if parts else np.empty(0, np.float32)
    _checked(path, Source(rates[-1], len(wave), exact=False))
    return rates[-1], wave


def blocks(path: Path) -> Iterator[tuple[int, Mono]]:
    """Yield (rate in Hz, mono samples [sample]) until the file ends. Raises `AudioError` where decoding stops early."""
    file = _open_soundfile(path)
    if file is None or not file.frames:
        yield from _av_blocks(path)
        return
    with file, _decoding(path):
        while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            yield file.samplerate, _downmix(block)
