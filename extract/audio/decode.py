"""Files to mono samples at their own rate: soundfile where libsndfile can, PyAV (FFmpeg) otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...installed import need
from .container import data_chunk
from .problems import COPY_AGAIN, problem, reading, refuse_text, truncated, undecodable

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
        for block_rate_hz, block in blocks(path):
            rate_hz, n_frames = block_rate_hz, n_frames + len(block)
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
    if file is None or not 0 < file.frames < _MAX_FRAMES:
        yield from _av_blocks(path)
        return
    with file, _decoding(path):
        while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            yield file.samplerate, _downmix(block)


def _open_soundfile(path: Path) -> Any:
    """Return an open `soundfile.SoundFile`, or None if libsndfile does not know the format or would cut it short.

    It guesses the length of an MP3 file without a Xing header from its first frame and stops there: of 20 s that
    began loud, 3.4 s were read.
    """
    import soundfile

    with reading(path), open(path, "rb") as raw:
        start = raw.read(3)
    if start == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0"):  # MPEG audio, with or without a tag
        return None
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a .raw file, which has no header to go by
        return None
    if file.format == "MP3" or file.subtype.startswith("MPEG"):
        file.close()
        return None
    return file


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn libsndfile's errors midway into an `AudioError`; its own text would name the folder."""
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        got = f"data that cannot be decoded to its end ({error.error_string.rstrip('.')})"
        raise problem(path, "whole audio", got, COPY_AGAIN) from error


def _av_blocks(path: Path) -> Iterator[tuple[int, Mono]]:
    need("av")
    import av

    refuse_text(path)
    try:
        # Only local files: what names addresses or pipes must not be followed.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise undecodable(path, _av_reason(error)) from error
    n_done = 0
    with container:
        try:
            for rate_hz, block in _av_frames(path, container):
                n_done += len(block)
                yield rate_hz, block
        except (av.FFmpegError, ValueError) as error:
            if not n_done:
                raise undecodable(path, _av_reason(error)) from error
            got = f"data that cannot be decoded after {n_done} samples ({_av_reason(error)})"
            raise problem(path, "whole audio", got, COPY_AGAIN) from error


def _av_frames(path: Path, container: Any) -> Iterator[tuple[int, Mono]]:
    import av

    if not container.streams.audio:
        raise problem(path, "an audio track", "a file without one", "Check that the file is what its name says.")
    stream = container.streams.audio[0]
    to_float = av.AudioResampler(format="fltp")
    rate_hz, n_done = 0, 0
    for frame in chain(container.decode(stream), [None]):
        for part in to_float.resample(frame) if frame or n_done else ():
            rate_hz = part.sample_rate
            n_done += part.samples
            planes: Mono = part.to_ndarray().astype(np.float32, copy=False)  # [channel, sample]
            yield rate_hz, _downmix(planes.T)
    if rate_hz and stream.duration and _states_length(path, container.format.name):
        stated = round(float(stream.duration * stream.time_base) * rate_hz)
        _check_whole(path, n_done, stated, rate_hz)


def _states_length(path: Path, container_format: str) -> bool:
    """Return whether the file says how long it is; for other formats FFmpeg makes a guess from the bit rate."""
    if container_format != "mp3":
        return bool({"mov", "caf"} & set(container_format.split(",")))
    with open(path, "rb") as file:
        tag = file.read(10)
        if tag.startswith(b"ID3"):  # id3.org, ID3v2.4 section 3.1: a size of four bytes of seven bits
            file.seek(sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)), 1)
        start = file.read(4096)
    return b"Xing" in start or b"Info" in start


def _check_whole(path: Path, n_done: int, stated: int, rate_hz: int) -> None:
    """Raise if clearly less came than the file states: FFmpeg does not mind such files."""
    if n_done < 0.9 * stated - rate_hz // 4:
        raise truncated(path, f"{stated} samples", f"{n_done}")


def _av_reason(error: Exception) -> str:
    return f"{getattr(error, 'strerror', None) or type(error).__name__}"


def _downmix(block: Mono) -> Mono:
    """Return the mean over channels: [sample, channel] to [sample], float32."""
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _checked(path: Path, source: Source) -> Source:
    if not source.n_frames:
        raise problem(path, "at least one sample", "a file whose audio has zero length", COPY_AGAIN)
    if source.rate_hz < MIN_RATE_HZ:
        expected = f"a sample rate of {MIN_RATE_HZ} Hz or more"
        raise problem(path, expected, f"{source.rate_hz} Hz", "Correct the header or convert the file.")
    return source
