"""From waveforms to what the store keeps: batches through one encoder, pooled over each clip's own frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import AudioError
from ..store.schema import Products
from ..store.write import UnitData
from .encoders.base import Encoder
from .pooling import Pool
from .windows import Window, cut_batches, cut_windows

Clip = np.ndarray | AudioError
"""A decoded clip, float32 [sample] at 16 kHz, or why there is none."""


@dataclass(frozen=True)
class Cutting:
    """How clips become batches: longest window and overlap in seconds, padded samples a batch."""

    max_s: float = 30.0
    overlap_s: float = 2.0
    budget_samples: int = 160_000


def embed(encoder: Encoder, clips: Sequence[Clip], *, cutting: Cutting, products: Products) -> UnitData:
    """Run clips through an encoder and pool every layer over each clip's own frames.

    Args:
        clips: waveforms or failures; a failure becomes a failed row, never an exception.

    Returns:
        One row a clip, in the order given.
    """
    batches = Batches(encoder, clips, cutting=cutting, products=products)
    batches.run()
    return batches.finish()


class Batches:
    """Clips on their way through one encoder, in three steps that different threads may take one after the other.

    Making it normalises and cuts, `run` needs the device, `finish` brings the results back.

    Attributes:
        budget_samples: padded samples a batch; halved whenever a batch does not fit in memory.
    """

    def __init__(self, encoder: Encoder, clips: Sequence[Clip], *, cutting: Cutting, products: Products) -> None:
        self.encoder = encoder
        self.budget_samples = cutting.budget_samples if encoder.batched else 0
        self._clips = [clip if isinstance(clip, AudioError) else len(clip) for clip in clips]
        self._waves = {i: prepare(encoder, clip) for i, clip in enumerate(clips) if isinstance(clip, np.ndarray)}
        windows = [window for i, wave in self._waves.items() for window in _windows(encoder, i, len(wave), cutting)]
        self._windows = windows
        self._products = products
        self._positions = {window: position for position, window in enumerate(windows)}
        self._pool: Pool | None = None

    def run(self, on_batch: Callable[[int], None] | None = None) -> None:
        """Run every batch. One that does not fit in memory halves the budget of all that follow.

        A window that does not fit alone fails its clip. On CUDA nothing is waited for until the last batch is launched.
        `on_batch` is called with the samples that each batch carried, padding not counted.
        """
        pool = self._pool = Pool(self.encoder, self._windows, self._products)
        left = cut_batches(self._windows, self.budget_samples)
        with torch.inference_mode():
            while left:
                batch = left.pop(0)
                try:
                    self._run_once(batch, pool)
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    left = self._smaller(batch, left, pool)
                    continue
                if on_batch is not None:
                    on_batch(sum(window.n_samples for window in batch))
        self._waves = {}
        synchronise(self.encoder.device)

    @property
    def n_windows(self) -> int:
        """Windows to run."""
        return len(self._windows)

    @property
    def any_fits(self) -> bool:
        """Whether at least one clip got through the device's memory."""
        assert self._pool is not None, "run() comes first"
        return len(self._pool.too_large) < len({window.clip for window in self._windows})

    def _smaller(self, batch: list[Window], left: list[list[Window]], pool: Pool) -> list[list[Window]]:
        _free_memory(self.encoder.device)
        if len(batch) == 1:
            pool.refuse(batch[0])
            return left
        self.budget_samples = batch[0].n_samples * len(batch) // 2
        return cut_batches([window for part in (batch, *left) for window in part], self.budget_samples)

    def _run_once(self, batch: list[Window], pool: Pool) -> None:
        shortest = self.encoder.card.frame.receptive_samples
        lengths = [max(window.n_samples, shortest) for window in batch]
        on_gpu = self.encoder.device.startswith("cuda")
        padded = torch.zeros(len(batch), max(lengths), pin_memory=on_gpu)  # [clip, sample]
        for i, window in enumerate(batch):
            padded[i, : window.n_samples] = torch.from_numpy(self._waves[window.clip][window.start : window.stop])
        own = pool.batch(batch, [self._positions[window] for window in batch])
        self.encoder.encode(padded.to(self.encoder.device, non_blocking=on_gpu), lengths, own.add)

    def finish(self) -> UnitData:
        """Bring the results to the host, join windows into clips and name the failures."""
        assert self._pool is not None, "run() comes before finish()"
        return self._pool.finish(self._clips)


def prepare(encoder: Encoder, wave: np.ndarray) -> np.ndarray:
    """Normalise a clip over its own samples where the encoder asks for it, float32 [sample].

    Zero mean, unit variance: transformers' Wav2Vec2FeatureExtractor with 1e-7 under the root, torch's layer norm of the
    whole clip with 1e-5.
    """
    if not encoder.card.normalise:
        return wave
    return np.asarray((wave - wave.mean()) / np.sqrt(wave.var() + encoder.card.normalise_eps), dtype=np.float32)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device's memory is full; a CPU's and a Mac's allocators raise plain RuntimeErrors."""
    plain = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory", "Invalid buffer size")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in plain)


def synchronise(device: str) -> None:
    """Wait until a GPU has done all that was launched, so that times are those of the work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def _free_memory(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def _windows(encoder: Encoder, clip: int, n_samples: int, cutting: Cutting) -> list[Window]:
    return cut_windows(clip, n_samples, encoder.card, max_s=cutting.max_s, overlap_s=cutting.overlap_s)
