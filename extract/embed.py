"""From waveforms to what the store keeps: batches through one encoder, pooled over each clip's own frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import AudioError
from ..store.schema import FAILED, OK, Products
from ..store.write import UnitData
from .encoders.base import Encoder
from .windows import Window, cut_batches, cut_windows

FLOAT16_MAX = 65_504.0

Clip = np.ndarray | AudioError
"""A decoded clip, float32 [sample] at 16 kHz, or why there is none."""


@dataclass(frozen=True)
class Cutting:
    """How clips become batches: longest window and overlap in seconds, padded samples a batch."""

    max_s: float = 30.0
    overlap_s: float = 2.0
    budget_samples: int = 160_000


def embed(
    encoder: Encoder,
    clips: Sequence[Clip],
    *,
    cutting: Cutting,
    products: Products,
    on_batch: Callable[[int], None] | None = None,
) -> UnitData:
    """Run clips through an encoder and pool every layer over each clip's own frames.

    Args:
        clips: waveforms or failures; a failure becomes a failed row, never an exception.
        on_batch: called with the samples that each batch carried, padding not counted.

    Returns:
        One row a clip, in the order given.
    """
    waves = {i: prepare(encoder, clip) for i, clip in enumerate(clips) if isinstance(clip, np.ndarray)}
    windows = [window for i, wave in waves.items() for window in _windows(encoder, i, len(wave), cutting)]
    pool = _Pool(encoder, windows, products)
    positions = {window: position for position, window in enumerate(windows)}
    budget = cutting.budget_samples if encoder.batched else 0
    with torch.inference_mode():
        for batch in cut_batches(windows, budget):
            _run(encoder, [waves[w.clip][w.start : w.stop] for w in batch], batch, pool, positions)
            if on_batch is not None:
                on_batch(sum(window.n_samples for window in batch))
    return pool.finish(clips)


def prepare(encoder: Encoder, wave: np.ndarray) -> np.ndarray:
    """Normalise a clip over its own samples where the encoder asks for it, float32 [sample].

    The formula is that of transformers' Wav2Vec2FeatureExtractor: zero mean, unit variance, 1e-7 under the root.
    """
    if not encoder.card.normalise:
        return wave
    return np.asarray((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7), dtype=np.float32)


def _windows(encoder: Encoder, clip: int, n_samples: int, cutting: Cutting) -> list[Window]:
    return cut_windows(clip, n_samples, encoder.card, max_s=cutting.max_s, overlap_s=cutting.overlap_s)


def _run(
    encoder: Encoder, waves: Sequence[np.ndarray], batch: list[Window], pool: _Pool, positions: dict[Window, int]
) -> None:
    try:
        _run_once(encoder, waves, batch, pool, positions)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        torch.cuda.empty_cache()
        middle = len(batch) // 2
        _run(encoder, waves[:middle], batch[:middle], pool, positions)
        _run(encoder, waves[middle:], batch[middle:], pool, positions)


def _run_once(
    encoder: Encoder, waves: Sequence[np.ndarray], batch: list[Window], pool: _Pool, positions: dict[Window, int]
) -> None:
    shortest = encoder.card.frame.receptive_samples
    lengths = [max(len(wave), shortest) for wave in waves]
    padded = torch.zeros(len(waves), max(lengths))  # [clip, sample]
    for i, wave in enumerate(waves):
        padded[i, : len(wave)] = torch.from_numpy(wave)
    where = [positions[window] for window in batch]
    encoder.encode(padded.to(encoder.device), lengths, lambda layer, states: pool.add(layer, states, batch, where))


class _Pool:
    """Means (and deviations) of every window and layer, kept on the device until all batches have run."""

    def __init__(self, encoder: Encoder, windows: list[Window], products: Products) -> None:
        self.encoder = encoder
        self.windows = windows
        self.products = products
        shape = (len(windows), encoder.card.n_layers, encoder.card.dim)
        self.mean = torch.full(shape, float("nan"), device=encoder.device)
        self.square = torch.full(shape, float("nan"), device=encoder.device) if products.std else None
        self.frames: dict[int, list[np.ndarray]] = {layer: [np.empty(0)] * len(windows) for layer in products.frames}
        self.overflow: dict[int, str] = {}

    def add(self, layer: int, states: torch.Tensor, batch: list[Window], where: list[int]) -> None:
        """Pool one layer of one batch; `states` is [clip, frame, feature]."""
        for i, (window, position) in enumerate(zip(batch, where, strict=True)):
            own = states[i, window.keep_from : window.keep_to].float()  # [frame, feature]
            mean = own.mean(0)
            self.mean[position, layer] = mean
            if self.square is not None:
                self.square[position, layer] = (own - mean).square().sum(0)
            if layer in self.frames:
                self.frames[layer][position] = self._keep(layer, position, own)

    def _keep(self, layer: int, position: int, own: torch.Tensor) -> np.ndarray:
        if self.products.frames_dtype == "float16" and (peak := float(own.abs().max())) > FLOAT16_MAX:
            self.overflow[self.windows[position].clip] = (
                f"frames of layer {layer} reach {peak:.0f}, float16 ends at {FLOAT16_MAX:.0f}; extract with "
                f"`frames_dtype: float32`"
            )
        return own.to(getattr(torch, self.products.frames_dtype)).cpu().numpy()

    def finish(self, clips: Sequence[Clip]) -> UnitData:
        """Join windows into clips and name the failures."""
        n = len(clips)
        mean, square = self.mean.cpu().numpy(), None if self.square is None else self.square.cpu().numpy()
        pooled = np.full((n, *mean.shape[1:]), np.nan, dtype=np.float32)
        deviation = None if square is None else pooled.copy()
        members: dict[int, list[int]] = {}
        for position, window in enumerate(self.windows):
            members.setdefault(window.clip, []).append(position)
        for clip, positions in members.items():
            counts = np.array([self.windows[p].keep_to - self.windows[p].keep_from for p in positions])
            pooled[clip] = _joined_mean(mean[positions], counts)
            if deviation is not None and square is not None:
                deviation[clip] = _joined_std(mean[positions], square[positions], counts)
        reasons = {i: self._reason(i, clip, pooled[i]) for i, clip in enumerate(clips)}
        failed = np.array([i in self.overflow or not np.isfinite(pooled[i]).all() for i in range(n)], dtype=bool)
        pooled[failed] = np.nan
        if deviation is not None:
            deviation[failed] = np.nan
        frames = {
            layer: [None if failed[i] else np.concatenate([kept[p] for p in members[i]]) for i in range(n)]
            for layer, kept in self.frames.items()
        }
        status = np.where(failed, FAILED, OK).astype(np.uint8)
        reason = np.array([reasons[i] for i in range(n)], dtype=object)
        return UnitData(status, reason, pooled, deviation, frames)

    def _reason(self, i: int, clip: Clip, pooled: np.ndarray) -> str:
        if isinstance(clip, AudioError):
            return str(clip)
        if i in self.overflow:
            return self.overflow[i]
        if not np.isfinite(pooled).all():
            return f"{self.encoder.card.name} gave numbers that are not finite; try `dtype: float32`"
        shortest = self.encoder.card.frame.receptive_samples
        return f"padded from {len(clip)} to {shortest} samples" if len(clip) < shortest else ""


def _joined_mean(means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if len(counts) == 1:
        return np.asarray(means[0])
    return np.asarray(np.average(means.astype(np.float64), axis=0, weights=counts), dtype=np.float32)


def _joined_std(means: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the population deviation over all frames of a clip from its windows' sums of squares (Chan et al. 1979)."""
    total = _joined_mean(means, counts).astype(np.float64)
    between = (counts[:, None, None] * (means - total) ** 2).sum(0)
    return np.asarray(np.sqrt((squares.sum(0, dtype=np.float64) + between) / counts.sum()), dtype=np.float32)
