"""How much audio to put in one batch: measured on the user's own clips, because no fixed size is right.

On a CPU, padded batches of a transformer are slower than one clip at a time (docs/benchmarks.md); on a GPU single clips
leave most of it idle; for very short clips both change. What was chosen is kept beside the embeddings, so that a resumed
run cuts the same batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..store.schema import Products
from .embed import Batches, Cutting
from .encoders.base import SAMPLE_RATE_HZ, Encoder
from .units import ALONE

CPU_BUDGETS_S = (10.0, 30.0)
CUDA_BUDGETS_S = (80.0, 320.0, 1280.0)
MPS_BUDGETS_S = (20.0, 80.0, 320.0)
"""Smaller: a Mac's GPU has its memory in common with everything else that runs."""
SAMPLE_CLIPS = 16
SAMPLE_S = 24.0
MOST_S = 4.0
"""What one pass over the sample may take; an encoder so slow that this is one clip is not calibrated."""
SHARE = 0.25
"""Of the time that a corpus takes, what all passes may take. Too little to fill the smallest batch: nothing is measured."""

PASSES = 3
GAIN = 0.97
"""A larger batch has to take at most this share of the time, or the smaller one stays."""
FAR = 1.2
"""A batch size whose first pass takes so much longer than the best is not tried again."""


def calibrate(
    encoder: Encoder, waves: Sequence[np.ndarray], cutting: Cutting, *, corpus_s: float = math.inf
) -> int | None:
    """Return the padded samples a batch that carry these clips fastest, smaller where there is little in it.

    None where nothing was learned: fewer than two clips, or too short a corpus. What is still to do of it has no say: a run that
    goes on must cut the batches of the one that was stopped.

    Sizes take turns, and of each the fastest pass counts: a machine that is busy for a moment slows all of them alike.
    """
    if not encoder.batched:
        return ALONE
    if len(waves) < 2:
        return None
    budgets = _budgets(encoder.device)
    most_s, most_clips = sample_limits(encoder.device)
    most_s = min(most_s, SHARE * corpus_s / (PASSES * len(budgets)))
    if most_s < budgets[1] / SAMPLE_RATE_HZ:
        return None
    sample = _sample(waves, most_s, most_clips)
    pace = _pace(encoder, sample, cutting)
    sample = _sample(sample, MOST_S / pace, len(sample))
    if pace * sum(map(len, sample)) > MOST_S * SAMPLE_RATE_HZ:
        return ALONE
    fastest: dict[int, float] = {}
    for budget in budgets:
        seconds = _seconds(encoder, sample, replace(cutting, budget_samples=budget))
        if seconds is None:
            break
        fastest[budget] = seconds
    for _ in range(PASSES - 1):
        for budget in [one for one, seconds in fastest.items() if seconds < FAR * min(fastest.values())]:
            seconds = _seconds(encoder, sample, replace(cutting, budget_samples=budget))
            fastest[budget] = min(fastest[budget], seconds or fastest[budget])
    best = ALONE
    for budget, seconds in fastest.items():
        if seconds < fastest[best] * GAIN:
            best = budget
    return best


def unmeasured(device: str) -> int:
    """Return the padded samples a batch of a run that was not calibrated: clips alone on a CPU, the smallest batches on a GPU."""
    return ALONE if device == "cpu" else _budgets(device)[1]


def _budgets(device: str) -> list[int]:
    seconds = {"cpu": CPU_BUDGETS_S, "mps": MPS_BUDGETS_S}.get(device, CUDA_BUDGETS_S)
    return [ALONE, *(int(s * SAMPLE_RATE_HZ) for s in seconds)]


def sample_limits(device: str) -> tuple[float, int]:
    """Return the seconds and clips that a sample may have: a GPU needs more before a batch size shows."""
    return (SAMPLE_S, SAMPLE_CLIPS) if device == "cpu" else (SAMPLE_S * 40, SAMPLE_CLIPS * 16)


def _sample(waves: Sequence[np.ndarray], most_s: float, most_clips: int) -> list[np.ndarray]:
    """Return as many clips as both limits let in, spread evenly over the lengths there are; two at least."""
    ordered = sorted(waves, key=len)
    for n in range(min(most_clips, len(ordered)), 1, -1):
        picked = [ordered[i] for i in np.linspace(0, len(ordered) - 1, n).astype(int)]
        if sum(map(len, picked)) <= most_s * SAMPLE_RATE_HZ or n == 2:
            return picked
    return ordered


def _pace(encoder: Encoder, sample: Sequence[np.ndarray], cutting: Cutting) -> float:
    """Return the seconds that one of audio takes, of one clip alone; this warms the encoder up as well."""
    middle, alone = sample[len(sample) // 2], replace(cutting, budget_samples=ALONE)
    seconds = min(_seconds(encoder, [middle], alone) or 0.0 for _ in range(2))
    return max(seconds, 1e-6) * SAMPLE_RATE_HZ / len(middle)


def _seconds(encoder: Encoder, waves: Sequence[np.ndarray], cutting: Cutting) -> float | None:
    """Return how long the sample takes, None where a batch of that size does not fit in memory."""
    began = time.perf_counter()
    batches = Batches(encoder, waves, cutting=cutting, products=Products())
    batches.run()
    batches.finish()
    if batches.budget_samples < cutting.budget_samples:
        return None
    return time.perf_counter() - began
