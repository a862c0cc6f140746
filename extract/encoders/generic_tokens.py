"""Which of a model's output vectors are the clip's own: by the window it was made for, or all, where it has none.

Two kinds of window are known. Whisper's feature extractor fills 30 s, and the vectors that come out divide them evenly. AST's fills
`max_length` frames; its vectors are a class token, a distillation token, then patches band by band. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import EncoderError

OVERLAP_S = 2
FLOWING_WINDOW_SAMPLES = 30 * 16_000
FRAME, FRAME_HOP = 400, 160
"""Samples of a frame of Kaldi's filterbank, and from one to the next: 25 ms every 10 ms."""

SPECIAL = {"class": 0, "distillation": 1}
"""Where AST puts its two tokens that stand for no stretch of time."""


@dataclass(frozen=True)
class Geometry:
    """How vectors lie over the samples of a window.

    Attributes:
        window_samples: longest clip that runs in one piece.
        hops: samples from one vector to the next, of the layers before the last and of the last.
        bands: vectors that share each stretch of time, one band after the other.
        n_special: tokens before them that stand for no stretch of time.
        n_vectors: of every layer, where the configuration says so; else 0.
        fixed: the model always sees its whole window, so that some vectors stand for padding.
        frame: samples of the stretch that must lie in the clip for a vector to be its own; where `fixed`.
    """

    window_samples: int
    hops: tuple[int, int]
    bands: int = 1
    n_special: int = 0
    n_vectors: int = 0
    fixed: bool = False
    frame: int = 1

    def starts(self, n_vectors: int, *, last: bool) -> np.ndarray:
        """Return the first sample of each vector, int64 [vector]; special tokens have -1."""
        steps = (n_vectors - self.n_special) // self.bands
        time = np.tile(np.arange(steps) * self.hops[last], self.bands)
        return np.concatenate([np.full(self.n_special, -1), time])

    def own(self, n_vectors: int, n_samples: int, *, last: bool) -> np.ndarray:
        """Return which vectors are those of a clip of `n_samples`, bool [vector]; of a window that is not fixed all are."""
        starts = self.starts(n_vectors, last=last)
        inside = starts >= 0
        return inside & (starts + self.frame <= max(n_samples, self.frame)) if self.fixed else inside

    def windows(self, n_samples: int) -> Iterator[tuple[int, int, int, int]]:
        """Cut a clip: yields (start, stop, first sample kept, first sample no longer kept) of each window.

        Windows start where vectors do, and overlap by `OVERLAP_S`, or half a window; seams are in the middle of the overlaps.
        """
        longest = self.window_samples
        if n_samples <= longest:
            yield 0, n_samples, 0, n_samples
            return
        grid = int(np.lcm(*self.hops))
        half = max(min(OVERLAP_S * 16_000, longest // 2) // 2 // grid, 1) * grid
        step = (longest - 2 * half) // grid * grid
        starts = range(0, n_samples - (longest - step), step)
        for i, start in enumerate(starts):
            keep_to = n_samples if i == len(starts) - 1 else starts[i + 1] + half
            yield start, min(start + longest, n_samples), start + half if i else 0, keep_to

    def facts(self) -> dict[str, int]:
        """Return what belongs in the cache key."""
        return {"window_samples": self.window_samples, "overlap_s": OVERLAP_S}


def window_of(name: str, config: Mapping[str, object], extractor: Mapping[str, object]) -> Geometry | None:
    """Return the geometry of a model with a window of its own; None where it takes any length.

    Steps between vectors are not known yet where `n_vectors` is 0; see `generic_probe`.

    Raises:
        EncoderError: the feature extractor and the model disagree about the window.
    """
    kind = extractor.get("feature_extractor_type")
    if kind == "WhisperFeatureExtractor":
        samples = _number(extractor, "chunk_length", 30) * _number(extractor, "sampling_rate", 16_000)
        return Geometry(samples, (1, 1), fixed=True)
    if kind != "ASTFeatureExtractor":
        return None
    frames = _number(config, "max_length", 1024)
    bins = _number(config, "num_mel_bins", 128)
    theirs = (_number(extractor, "max_length", 1024), _number(extractor, "num_mel_bins", 128))
    if theirs != (frames, bins):
        raise EncoderError(
            f"{name}, preprocessor_config.json: expected `max_length` {frames} and `num_mel_bins` {bins} as in config.json, got "
            f"{theirs[0]} and {theirs[1]}. Correct the one that is wrong."
        )
    patch = _number(config, "patch_size", 16)
    bands = (bins - patch) // _number(config, "frequency_stride", 10) + 1
    stride = _number(config, "time_stride", 10)
    n_vectors = len(SPECIAL) + bands * ((frames - patch) // stride + 1)
    longest = FRAME + frames * FRAME_HOP - 1
    hops = (stride * FRAME_HOP, stride * FRAME_HOP)
    return Geometry(longest, hops, bands, len(SPECIAL), n_vectors, fixed=True, frame=FRAME)


def _number(facts: Mapping[str, object], key: str, default: int) -> int:
    value = facts.get(key, default)
    return value if isinstance(value, int) else default


def pooling_words(geometry: Geometry | None) -> str:
    """Say how clips are pooled, for people."""
    if geometry is None:
        return "mean over all time steps of the clip alone; clips over 30 s in windows"
    seconds = f"{geometry.window_samples / 16_000:.2f} s, padding included"
    if geometry.n_special:
        return (
            f"mean over the patches that begin in the clip, class and distillation tokens apart; the model sees {seconds}; "
            f"longer clips in windows"
        )
    return f"mean over the time steps that begin in the clip; the model sees {seconds}; longer clips in windows"
