"""Means and deviations over each window's own frames, kept on the device until all batches of a unit have run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import AudioError
from ..store.schema import FAILED, OK, Products
from ..store.write import UnitData
from .encoders.base import Encoder
from .windows import Window

FLOAT16_MAX = 65_504.0


class Pool:
    """What has come out of the windows of a unit so far.

    Attributes:
        too_large: clips of which a window does not fit in the device's memory, even alone.
    """

    def __init__(self, encoder: Encoder, windows: list[Window], products: Products) -> None:
        self.encoder = encoder
        self.windows = windows
        self.products = products
        self.too_large: set[int] = set()
        shape = (len(windows), encoder.card.n_layers, encoder.card.dim)
        self.mean = torch.full(shape, float("nan"), device=encoder.device)
        self.square = torch.full(shape, float("nan"), device=encoder.device) if products.std else None
        self.frames: dict[int, list[torch.Tensor]] = {
            layer: [torch.empty(0)] * len(windows) for layer in products.frames
        }
        self.peaks: dict[int, list[tuple[list[int], torch.Tensor]]] = {layer: [] for layer in products.frames}

    def batch(self, windows: list[Window], where: list[int]) -> EachWindow | AllWindows:
        """Return what pools the layers of one batch: window by window on a CPU, all at once on a GPU.

        A GPU would idle over the thousands of small kernels of the first; on a CPU the second touches the padding too,
        and a sum over more frames than a clip has may round differently.
        """
        if self.encoder.device == "cpu":
            return EachWindow(self, windows, where)
        return AllWindows.of(self, windows, where)

    def refuse(self, window: Window) -> None:
        """Count a window's clip as failed: it does not fit in memory."""
        self.too_large.add(window.clip)

    def finish(self, clips: Sequence[AudioError | int]) -> UnitData:
        """Join windows into clips, of which `clips` holds the lengths in samples, and name the failures."""
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
        overflow = self._overflow()
        reasons = [self._reason(i, clip, overflow, pooled[i]) for i, clip in enumerate(clips)]
        failed = np.array([i in overflow or not np.isfinite(pooled[i]).all() for i in range(n)], dtype=bool)
        pooled[failed] = np.nan
        if deviation is not None:
            deviation[failed] = np.nan
        frames = {
            layer: [None if failed[i] else np.concatenate([kept[p].numpy() for p in members[i]]) for i in range(n)]
            for layer, kept in self.frames.items()
        }
        status = np.where(failed, FAILED, OK).astype(np.uint8)
        return UnitData(status, np.array(reasons, dtype=object), pooled, deviation, frames)

    def _overflow(self) -> dict[int, str]:
        """Return why frames of some clips cannot be kept in float16."""
        found: dict[int, str] = {}
        if self.products.frames_dtype != "float16":
            return found
        for layer, peaks in self.peaks.items():
            for where, values in peaks:
                for position, peak in zip(where, values.tolist(), strict=True):
                    if peak > FLOAT16_MAX:
                        found[self.windows[position].clip] = (
                            f"frames of layer {layer} reach {peak:.0f}, float16 ends at {FLOAT16_MAX:.0f}; extract with "
                            f"`frames_dtype: float32`"
                        )
        return found

    def _reason(self, i: int, clip: AudioError | int, overflow: dict[int, str], pooled: np.ndarray) -> str:
        if isinstance(clip, AudioError):
            return str(clip)
        if i in self.too_large:
            return (
                f"did not fit in the memory of {self.encoder.device} with {self.encoder.card.name}, even alone; lower `max_s` "
                f"or use another device, and add --retry-failed"
            )
        if i in overflow:
            return overflow[i]
        if not np.isfinite(pooled).all():
            return f"{self.encoder.card.name} gave numbers that are not finite; try `dtype: float32`"
        shortest = self.encoder.card.frame.receptive_samples
        return f"padded from {clip} to {shortest} samples" if clip < shortest else ""


@dataclass(frozen=True)
class EachWindow:
    """Pools a batch window by window, each over its own frames only."""

    pool: Pool
    windows: list[Window]
    where: list[int]

    def add(self, layer: int, states: torch.Tensor) -> None:
        """Pool one layer; `states` is [clip, frame, feature]."""
        pool = self.pool
        for i, (window, position) in enumerate(zip(self.windows, self.where, strict=True)):
            own = states[i, window.keep_from : window.keep_to].float()  # [frame, feature]
            mean = own.mean(0)
            pool.mean[position, layer] = mean
            if pool.square is not None:
                pool.square[position, layer] = (own - mean).square().sum(0)
            if layer in pool.frames:
                pool.frames[layer][position] = own.to(getattr(torch, pool.products.frames_dtype), copy=True)
                pool.peaks[layer].append(([position], own.abs().max()[None]))


@dataclass(frozen=True)
class AllWindows:
    """Pools a batch in a few operations on the device, without waiting for any of them.

    `first`, `stop` are int64 [clip], the frames that are the window's own; `rows` int64 [clip], its place in the pool.
    """

    pool: Pool
    windows: list[Window]
    where: list[int]
    first: torch.Tensor
    stop: torch.Tensor
    rows: torch.Tensor

    @staticmethod
    def of(pool: Pool, windows: list[Window], where: list[int]) -> AllWindows:
        """Put the bounds of a batch on the device, in one copy."""
        bounds = torch.tensor([(w.keep_from, w.keep_to, row) for w, row in zip(windows, where, strict=True)])
        on_cuda = pool.encoder.device.startswith("cuda")  # MPS reads what is copied later, when it may be gone
        if on_cuda:
            bounds = bounds.pin_memory()
        first, stop, rows = bounds.to(pool.encoder.device, non_blocking=on_cuda).T
        return AllWindows(pool, windows, where, first, stop, rows)

    def add(self, layer: int, states: torch.Tensor) -> None:
        """Pool one layer; `states` is [clip, frame, feature], undefined past a clip's own frames, perhaps NaN."""
        pool = self.pool
        frame = torch.arange(states.shape[1], device=states.device)
        own = ((frame >= self.first[:, None]) & (frame < self.stop[:, None]))[..., None]  # [clip, frame, 1]
        zero = torch.zeros((), device=states.device)
        values = states.float()
        mean = torch.where(own, values, zero).sum(1) / (self.stop - self.first)[:, None]  # [clip, feature]
        pool.mean[self.rows, layer] = mean
        if pool.square is not None:
            pool.square[self.rows, layer] = torch.where(own, values - mean[:, None], zero).square().sum(1)
        if layer in pool.frames:
            self._keep(layer, states, torch.where(own, values.abs(), zero).amax((1, 2)))

    def _keep(self, layer: int, states: torch.Tensor, peaks: torch.Tensor) -> None:
        pool = self.pool
        kept = states.to(getattr(torch, pool.products.frames_dtype)).to("cpu", non_blocking=states.is_cuda)
        for i, (window, position) in enumerate(zip(self.windows, self.where, strict=True)):
            pool.frames[layer][position] = kept[i, window.keep_from : window.keep_to]
        pool.peaks[layer].append((self.where, peaks))


def _joined_mean(means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if len(counts) == 1:
        return np.asarray(means[0])
    return np.asarray(np.average(means.astype(np.float64), axis=0, weights=counts), dtype=np.float32)


def _joined_std(means: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the population deviation over all frames of a clip from its windows' sums of squares (Chan et al. 1979)."""
    total = _joined_mean(means, counts).astype(np.float64)
    between = (counts[:, None, None] * (means - total) ** 2).sum(0)
    return np.asarray(np.sqrt((squares.sum(0, dtype=np.float64) + between) / counts.sum()), dtype=np.float32)
