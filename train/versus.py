"""One system against another: the difference of their scores with an interval, and two paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from .compare import corrected_t, mcnemar, paired
from .grid import Chosen, Kind
from .intervals import Predictions, draw, interval
from .splits import TRAIN_ONLY
from .systems import Kept, KeptClips, Run, System
from .targets import TARGET_METRICS, Regressed, draw_targets


@dataclass(frozen=True)
class Difference:
    """A metric of A and of B.

    Attributes:
        difference: A - B; low, high: its 95 % interval, by a bootstrap over groups that draws both systems alike.
        p: of the corrected resampled t-test over the folds and seeds that both have.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same folds.

    Attributes:
        seeds: of A and of B that were paired, in order.
        only_a, only_b: clips that just one is right about, by the mean of its outputs over seeds; None with continuous targets.
        p_mcnemar: of the exact McNemar test on them.
    """

    a: System
    b: System
    seeds: tuple[tuple[int, int], ...]
    differences: tuple[Difference, ...]
    only_a: int | None
    only_b: int | None
    p_mcnemar: float | None


def compare(kept: Kept, a: System, b: System) -> Comparison:
    """Return how A differs from B.

    Raises:
        ConfigError: they were not tested on the same clips and folds, so that nothing is paired.
    """
    if (a.clips, a.split) != (b.clips, b.split):
        what = "clips or labels" if a.clips != b.clips else "folds"
        raise ConfigError(
            f"results {kept.path}: expected two systems on the same clips and folds, got other {what} for {a.id} ({a.text}) "
            f"and {b.id} ({b.text}). Compare systems of one corpus and split; `voxcache results` lists them."
        )
    pairs = _pairs(a, b)
    clips, (fold, _) = kept.clips(a), kept.split(a)
    said = [[kept.predictions(run, len(clips.names)) for run in side] for side in zip(*pairs, strict=True)]
    drawn = [_draws(outputs, clips, a.metrics) for outputs in said]
    found = []
    for metric in a.metrics:
        values = [np.concatenate([run.folds[metric] for run in side]) for side in zip(*pairs, strict=True)]
        low, high = interval(drawn[0][metric] - drawn[1][metric])
        means = [float(np.mean(side)) for side in values]
        p = corrected_t(values[0] - values[1], test_share=test_share(fold))
        a_mean, b_mean = means
        found.append(Difference(metric, a_mean, b_mean, a_mean - b_mean, low, high, p))
    seeds = tuple((one.seed, other.seed) for one, other in pairs)
    return Comparison(a, b, seeds, tuple(found), *_mcnemar(said, clips))


def test_share(fold: np.ndarray) -> float:
    """Return tested over trained clips, mean over folds."""
    folds = range(int(fold.max()) + 1)
    return float(np.mean([np.sum(fold == i) / max(1, int(np.sum((fold != i) & (fold >= TRAIN_ONLY)))) for i in folds]))


def _pairs(a: System, b: System) -> list[tuple[Run, Run]]:
    pairs = paired(a.runs, b.runs, (_seeded(a), _seeded(b)))
    if not pairs:
        raise ConfigError(
            f"systems {a.id} and {b.id}: no seed in common, so nothing is paired. Train both with one seed."
        )
    return pairs


def _seeded(system: System) -> bool:
    """Return whether a seed can change what was learnt; an architecture that is not installed here counts as one."""
    kind: Kind = "head" if system.kind == "head" else "fusion"
    try:
        return Chosen(kind, system.architecture, system.label, system.options).learner.seeded
    except (ConfigError, ValueError):
        return True


Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]


def _draws(said: Sequence[Outputs], clips: KeptClips, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    if "uar" in metrics:
        runs = [Predictions(clip, fold, table.argmax(1)) for clip, fold, table in said]
        return draw(runs, clips.y, clips.unit, n_classes=len(clips.names))
    values = draw_targets([Regressed(*outputs) for outputs in said], clips.y, clips.unit)
    return dict(zip(TARGET_METRICS, values, strict=True))


def _mcnemar(said: Sequence[Sequence[Outputs]], clips: KeptClips) -> tuple[int | None, int | None, float | None]:
    if clips.y.ndim == 2:
        return None, None, None
    right_a, right_b = (_right(side, clips.y) for side in said)
    return int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a)), mcnemar(right_a, right_b)


def _right(said: Sequence[Outputs], y: np.ndarray) -> np.ndarray:
    """Return whether the mean of the outputs over seeds is right, bool [tested clip], in the order of the clips."""
    total = np.zeros((len(y), said[0][2].shape[1]))
    tested = np.zeros(len(y), dtype=bool)
    for clip, _, table in said:
        total[clip] += table
        tested[clip] = True
    return np.asarray((total.argmax(1) == y)[tested])
