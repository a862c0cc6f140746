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
from .embed import Cutting, embed
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
    cuda = encoder.device.startswith("cuda")
    sample = _sample(waves, SAMPLE_S * (40 if cuda else 1), SAMPLE_CLIPS * (16 if cuda else 1))
    if len(sample) < 2:
        return ALONE
    one_s = min(_seconds(encoder, sample[:1], replace(cutting, budget_samples=ALONE)) for _ in range(2))
    sample = sample[: max(int(MOST_S / one_s), 0)]
    if len(sample) < 2:
        return ALONE
    budgets = [ALONE, *(int(s * SAMPLE_RATE_HZ) for s in (CUDA_BUDGETS_S if cuda else CPU_BUDGETS_S))]
    best, best_s = ALONE, float("inf")
    for budget in budgets:
        seconds = min(_seconds(encoder, sample, replace(cutting, budget_samples=budget)) for _ in range(2))
        if seconds < best_s * GAIN:
            best, best_s = budget, seconds
    return best


def _sample(waves: Sequence[np.ndarray], most_s: float, most_clips: int) -> list[np.ndarray]:
    """Return clips spread evenly over the lengths there are, within both limits."""
    ordered = sorted(waves, key=len)
    picked = [
        ordered[i] for i in np.unique(np.linspace(0, len(ordered) - 1, min(most_clips, len(ordered))).astype(int))
    ]
    while len(picked) > 2 and sum(map(len, picked)) > most_s * SAMPLE_RATE_HZ:
        picked = picked[::2]
    return picked


def _seconds(encoder: Encoder, waves: Sequence[np.ndarray], cutting: Cutting) -> float:
    began = time.perf_counter()
    embed(encoder, waves, cutting=cutting, products=Products())
    return time.perf_counter() - began
