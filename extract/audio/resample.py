"""Any rate to 16 kHz, once, by windowed sinc interpolation as torchaudio defines it."""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..encoders.base import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

METHOD = "sinc_interp_hann"
WIDTH = 6
"""Zero crossings of the sinc kept on each side."""
ROLLOFF = 0.99
"""Cut-off as a part of the lower Nyquist frequency."""

MAX_KERNEL = 1 << 22
"""Largest kernel bank, in numbers, handed to torchaudio. Its size is the product of both rates over their common
divisor: 44,101 Hz would take 2.8 GB where 44,100 Hz takes 300 kB."""


def _torchaudio_release() -> str:
    try:
        return ".".join(version("torchaudio").split("+")[0].split(".")[:2])
    except PackageNotFoundError:
        return "none"


RESAMPLER = f"torchaudio-{_torchaudio_release()}/{METHOD}/width{WIDTH}/rolloff{ROLLOFF}"
"""What resampled the audio; part of every cache key."""


def n_resampled(n_samples: int, rate_hz: int) -> int:
    """Return the samples at 16 kHz that `n_samples` at `rate_hz` become: exactly ceil(n * 16000 / rate)."""
    return -(-n_samples * SAMPLE_RATE_HZ // rate_hz)


def resample(wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Return `wave` [sample] at 16 kHz, `n_resampled(len(wave), rate_hz)` samples of float32."""
    if rate_hz == SAMPLE_RATE_HZ:
        return wave
    old, new, width = _ratio(rate_hz)
    if new * (old + 2 * width) > MAX_KERNEL:
        return resample_directly(wave, rate_hz)
    import torch

    # torchaudio rounds the target length in float32, wrong from 2**24 samples (17 minutes) on; `old` zeros more are
    # `new` samples more, which settles the count and is what it pads with anyway.
    spare = -(-len(wave) // (1 << 20)) * old
    padded = torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(wave)), (0, spare))
    out: NDArray[np.float32] = _kernel(rate_hz)(padded).numpy()
    return out[: n_resampled(len(wave), rate_hz)].copy()


def resample_directly(wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Return what `resample` does, from the formula itself, for rates whose kernel bank would be too large.

    y[j] = sum_i x[i] h(i / old - j / new), h a sinc under a squared-cosine window (torchaudio.functional.resample).
    torchaudio rounds j / new to float32, so that the two differ by up to 2e-5 of full scale at 44,100 Hz.
    """
    old, new, width = _ratio(rate_hz)
    cutoff = min(old, new) * ROLLOFF
    taps = np.arange(-width - 1, width + 2)
    padded = np.pad(wave, (width + 1, 2 * width + 2))
    out = np.empty(n_resampled(len(wave), rate_hz), np.float32)
    for first in range(0, len(out), 1 << 16):
        j = np.arange(first, min(first + (1 << 16), len(out)))
        centre, rest = np.divmod(j * old, new)
        t = (taps / old - (rest / (old * new))[:, None]) * cutoff  # [sample, tap], in zero crossings
        t = t.clip(-WIDTH, WIDTH)
        weights = np.sinc(t) * np.cos(t * (math.pi / WIDTH / 2)) ** 2 * (cutoff / old)
        out[j] = np.einsum("jt,jt->j", padded[centre[:, None] + taps + width + 1], weights)
    return out


def _ratio(rate_hz: int) -> tuple[int, int, int]:
    """Return both rates over their common divisor, and the kernel's half width in source samples."""
    divisor = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    old, new = rate_hz // divisor, SAMPLE_RATE_HZ // divisor
    return old, new, math.ceil(WIDTH * old / (min(old, new) * ROLLOFF))


@lru_cache(maxsize=16)
def _kernel(rate_hz: int) -> Resample:
    from torchaudio.transforms import Resample

    return Resample(rate_hz, SAMPLE_RATE_HZ, METHOD, lowpass_filter_width=WIDTH, rolloff=ROLLOFF)
