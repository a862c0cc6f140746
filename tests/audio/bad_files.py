"""Audio files that must be refused, and odd ones that must not, each written by one function of its path."""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np


def tone(seconds: float, rate_hz: int, channels: int = 1, hz: float = 300.0) -> np.ndarray:
    """Return int16 [sample, channel]: a sine, quieter in each further channel."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    levels = 12_000 / (1 + np.arange(channels))
    return (np.sin(2 * np.pi * hz * t)[:, None] * levels).astype("<i2")


def write_wav(path: Path, samples: np.ndarray, rate_hz: int) -> Path:
    """Write int16 [sample, channel] by the standard library, so that nothing under test made the file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    return path


def write_float_wav(path: Path, samples: np.ndarray, rate_hz: int) -> Path:
    """Write float32 [sample], mono; the only way to get NaN into a file."""
    data = samples.astype("<f4").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate_hz, rate_hz * 4, 4, 32)
    fact = struct.pack("<4sII", b"fact", 4, len(samples))
    body = b"WAVE" + fmt + fact + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    return path


def missing(path: Path) -> None:
    """Leave nothing there."""


def empty(path: Path) -> None:
    """Write no bytes."""
    path.touch()


def zero_length(path: Path) -> None:
    """Write a header without a sample."""
    write_wav(path, tone(0, 16_000), 16_000)


def truncated(path: Path) -> None:
    """Write half of a WAV file, as an interrupted copy leaves it."""
    write_wav(path, tone(1, 16_000), 16_000)
    path.write_bytes(path.read_bytes()[:16_000])


def ends_in_ds64(path: Path) -> None:
    """Write the beginning of an RF64 file, cut within the chunk that holds its sizes."""
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQ", 28, 1 << 33))


def text(path: Path) -> None:
    """Write prose, whatever the name says."""
    path.write_text("This is not audio.\nIt is a note that someone renamed.\n" * 20)


def noise_bytes(path: Path) -> None:
    """Write bytes that are no known format."""
    path.write_bytes(np.random.RandomState(0).bytes(4096))


def all_nan(path: Path) -> None:
    """Write floats that are all NaN."""
    write_float_wav(path, np.full(8000, np.nan), 16_000)


def one_infinite(path: Path) -> None:
    """Write a tone in which one sample is infinite."""
    samples = tone(0.5, 16_000)[:, 0] / 32768.0
    samples[100] = np.inf
    write_float_wav(path, samples, 16_000)


def silent(path: Path) -> None:
    """Write zeros."""
    write_wav(path, np.zeros((8000, 1), "<i2"), 16_000)


def directory(path: Path) -> None:
    """Make a folder of that name."""
    path.mkdir()


BAD_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing.wav": (missing, "missing.wav: expected a file, got none at this path."),
    "empty.wav": (empty, "empty.wav: expected audio, got an empty file (0 bytes)."),
    "zero-length.wav": (zero_length, "zero-length.wav: expected at least one sample, got a file whose audio has zero"),
    "truncated.wav": (truncated, "truncated.wav: expected 32000 bytes of samples, got 15956: the file is truncated."),
    "ds64.wav": (ends_in_ds64, "ds64.wav: expected audio, got data that cannot be decoded"),
    "text.wav": (text, "text.wav: expected audio, got text."),
    "text.mp3": (text, "text.mp3: expected audio, got text."),
    "noise.m4a": (noise_bytes, "noise.m4a: expected audio, got data that cannot be decoded"),
    "nan.wav": (all_nan, "nan.wav: expected finite samples, got 8000 of 8000 that are NaN or infinite."),
    "infinite.wav": (one_infinite, "infinite.wav: expected finite samples, got 1 of 8000 that are NaN or infinite."),
    "silent.wav": (silent, "silent.wav: expected sound, got silence (every sample is zero)."),
    "folder.wav": (directory, "folder.wav: expected an audio file, got a directory."),
}
"""Name of the file: how it is made, and how the reason begins."""

NOTICED_ON_LOAD = frozenset({"nan.wav", "infinite.wav", "silent.wav"})
"""What a header cannot tell: these have a length, and fail when their samples are read."""


def one_sample(path: Path) -> None:
    """Write a single sample."""
    write_wav(path, np.array([[5000]], "<i2"), 16_000)


def twenty_minutes(path: Path) -> None:
    """Write 20 minutes at 8 kHz."""
    write_wav(path, np.tile(tone(1, 8000), (1200, 1)), 8000)


def eight_channels(path: Path) -> None:
    """Write eight channels."""
    write_wav(path, tone(0.5, 44_100, channels=8), 44_100)


def rate_7350(path: Path) -> None:
    """Write at 7,350 Hz, the lowest rate of AAC."""
    write_wav(path, tone(0.5, 7350), 7350)


def streamed(path: Path) -> None:
    """Write a WAV file whose sizes were never filled in, as a pipe leaves it."""
    write_wav(path, tone(0.5, 16_000), 16_000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))


ODD_FILES: dict[str, tuple[Callable[[Path], None], int]] = {
    "one-sample.wav": (one_sample, 1),
    "twenty-minutes.wav": (twenty_minutes, 1200 * 16_000),
    "eight-channels.wav": (eight_channels, 8000),
    "rate-7350.wav": (rate_7350, 8000),
    "streamed.wav": (streamed, 8000),
}
"""Name of the file: how it is made, and the samples at 16 kHz it must give."""


def write_bad_files(folder: Path) -> dict[str, str]:
    """Write every bad file into `folder`; return name to how its reason begins."""
    for name, (make, _) in BAD_FILES.items():
        make(folder / name)
    return {name: reason for name, (_, reason) in BAD_FILES.items()}
