"""A clip: a file or a part of one, as it goes to the encoders.

A part is cut from the mono samples before resampling, on the file's own sample grid: from sample round(start_s * rate)
up to, not including, sample round(end_s * rate). Neighbouring parts therefore share no sample and lose none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import decode
from .decode import Mono, Source
from .problems import COPY_AGAIN, problem
from .resample import n_resampled, resample

END_TOLERANCE_S = 0.01
"""A part may end this much after its file: annotation tools round."""


def probe(path: Path, start_s: float | None = None, end_s: float | None = None) -> int:
    """Return the number of samples at 16 kHz that `load` gives for this clip.

    Reads only the header of PCM, float and FLAC files (soundfile); decodes others. Never imports torch.

    Raises:
        AudioError: the file cannot be used, or the part lies outside it.
    """
    path = Path(path)
    return n_clip_samples(decode.inspect(path), path.name, start_s, end_s)


def n_clip_samples(source: Source, name: str, start_s: float | None, end_s: float | None) -> int:
    """Return the number of samples at 16 kHz of a part of `source`. Raises `AudioError` if it lies outside."""
    first, stop = bounds(source, name, start_s, end_s)
    return n_resampled(stop - first, source.rate_hz)


def load(path: Path, start_s: float | None = None, end_s: float | None = None) -> Mono:
    """Return the clip as mono float32 [sample] at 16 kHz.

    Raises:
        AudioError: the file cannot be used, the part lies outside it, or its samples are not finite or all zero.
    """
    path = Path(path)
    source = decode.header(path)
    if source is not None:
        first, stop = bounds(source, path.name, start_s, end_s)
        wave, rate_hz = decode.read(path, first, stop), source.rate_hz
    else:
        rate_hz, whole = decode.read_all(path)
        first, stop = bounds(Source(rate_hz, len(whole), exact=False), path.name, start_s, end_s)
        wave = whole[first:stop]
    _check_values(path, wave)
    return resample(wave, rate_hz)


def bounds(source: Source, name: str, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """Return (first, stop) of a part on the file's own sample grid. Raises `AudioError` if it lies outside."""
    rate_hz, n = source.rate_hz, source.n_frames
    first = 0 if start_s is None else round(start_s * rate_hz)
    stop = n if end_s is None else round(end_s * rate_hz)
    if n < stop <= n + END_TOLERANCE_S * rate_hz:
        stop = n
    if not 0 <= first < stop <= n:
        asked = f"{start_s or 0:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise problem(
            Path(name), f"a part of at least one sample within its {n / rate_hz:.3f} s", asked, "Correct the bounds."
        )
    return first, stop


def _check_values(path: Path, wave: Mono) -> None:
    finite = np.isfinite(wave)
    if not finite.all():
        got = f"{np.count_nonzero(~finite)} of {len(wave)} that are NaN or infinite"
        raise problem(path, "finite samples", got, "Export it again from its source.")
    if not wave.any():
        raise problem(path, "sound", "silence (every sample is zero)", COPY_AGAIN)
