"""How much audio to put in one batch: measured on the user's own clips, because no fixed size is right.

On a CPU, padded batches of a transformer are slower than one clip at a time (docs/benchmarks.md); on a GPU single clips
leave most of it idle; for very short clips both change. What was chosen is kept beside the embeddings, so that a resumed
run cuts the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..store.schema import Products
from .embed import Batches, Cutting
from .encoders.base import SAMPLE_RATE_HZ, Encoder

ALONE = 1
"""A budget that no two windows share."""

CPU_BUDGETS_S = (10.0, 30.0)
CUDA_BUDGETS_S = (80.0, 320.0, 1280.0)
SAMPLE_CLIPS = 16
SAMPLE_S = 24.0
MOST_S = 4.0
"""What one pass over the sample may take; an encoder so slow that this is one clip is not calibrated."""

GAIN = 0.95
"""A larger batch has to take at most this share of the time, or the smaller one stays."""


def calibrate(encoder: Encoder, waves: Sequence[np.ndarray], cutting: Cutting) -> int:
    """Return the padded samples a batch that carry these clips fastest, smaller where there is little in it."""
    if not encoder.batched:
        return ALONE
    sample = _sample(waves, *sample_limits(encoder.device))
    if len(sample) < 2:
        return ALONE
    one_s = min(_seconds(encoder, sample[:1], replace(cutting, budget_samples=ALONE)) or 0.0 for _ in range(2))
    sample = sample[: max(int(MOST_S / max(one_s, 1e-6)), 0)]
    if len(sample) < 2:
        return ALONE
    cuda = encoder.device.startswith("cuda")
    budgets = [ALONE, *(int(s * SAMPLE_RATE_HZ) for s in (CUDA_BUDGETS_S if cuda else CPU_BUDGETS_S))]
    best, best_s = ALONE, float("inf")
    for budget in budgets:
        times = [_seconds(encoder, sample, replace(cutting, budget_samples=budget)) for _ in range(2)]
        seconds = [time for time in times if time is not None]
        if not seconds:
            break
        if min(seconds) < best_s * GAIN:
            best, best_s = budget, min(seconds)
    return best


def sample_limits(device: str) -> tuple[float, int]:
    """Return the seconds and clips that a sample may have: a GPU needs more before a batch size shows."""
    return (SAMPLE_S * 40, SAMPLE_CLIPS * 16) if device.startswith("cuda") else (SAMPLE_S, SAMPLE_CLIPS)


def _sample(waves: Sequence[np.ndarray], most_s: float, most_clips: int) -> list[np.ndarray]:
    """Return clips spread evenly over the lengths there are, within both limits."""
    ordered = sorted(waves, key=len)
    picked = [
        ordered[i] for i in np.unique(np.linspace(0, len(ordered) - 1, min(most_clips, len(ordered))).astype(int))
    ]
    while len(picked) > 2 and sum(map(len, picked)) > most_s * SAMPLE_RATE_HZ:
        picked = picked[::2]
    return picked


def _seconds(encoder: Encoder, waves: Sequence[np.ndarray], cutting: Cutting) -> float | None:
    """Return how long the sample takes, None where a batch of that size does not fit in memory."""
    began = time.perf_counter()
    batches = Batches(encoder, waves, cutting=cutting, products=Products())
    batches.run()
    batches.finish()
    if batches.budget_samples < cutting.budget_samples:
        return None
    return time.perf_counter() - began
