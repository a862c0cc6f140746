"""Corpora with known truth, and what two systems say of them: for `uncertainty.py` and the tests of intervals.

Three ways. `predictions` draws right and wrong answers on a latent scale, with effects of speakers, clips, seeds and the model of
each fold. `learner` draws features and trains in every fold (nearest class mean). `regression` does the same with a continuous
target (least squares). A and B are equal in truth unless `worse` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from voxcache.train.splits import deal, deal_groups

EQUAL = (0.25, 0.25, 0.25, 0.25)
RARE = (0.34, 0.33, 0.31, 0.02)
RECALLS = {EQUAL: (0.75, 0.65, 0.55, 0.45), RARE: (0.70, 0.62, 0.55, 0.35)}
_DIM = 6
_NEW = 4000
_CENTRES = 0.6 * np.random.default_rng(0).normal(size=(len(EQUAL), _DIM))
_WAY = np.random.default_rng(1).normal(size=_DIM) / np.sqrt(_DIM)


@dataclass(frozen=True)
class Plan:
    """A design: so many speakers of about so many clips, in so many folds.

    Attributes:
        folds: 0: one speaker left out in turn; 1: these speakers are tested by models trained on others.
        known: whether it is said who speaks.
    """

    name: str
    speakers: int
    clips: int
    folds: int = 5
    known: bool = True
    shares: tuple[float, ...] = EQUAL


PLANS = (
    Plan("logo 4", 4, 105, 0),
    Plan("logo 6", 6, 80, 0),
    Plan("logo 8", 8, 60, 0),
    Plan("logo 24", 24, 20, 0),
    Plan("grouped 8", 8, 60),
    Plan("grouped 24", 24, 20),
    Plan("grouped 60", 60, 10),
    Plan("plain 240", 240, 1),
    Plan("hidden 24", 24, 10, known=False),
    Plan("one fold 10", 10, 16, 1),
)


def plans(shares: tuple[float, ...] = EQUAL) -> dict[str, Plan]:
    """Return every design with these shares of classes."""
    return {plan.name: replace(plan, shares=shares) for plan in PLANS}


@dataclass(frozen=True)
class Drawn:
    """A corpus with what A and B said of it.

    Attributes:
        y: int64 [clip], or float64 [clip, 1]; fold: int64 [clip], -1 where only trained on; groups: str [clip] or None.
        said: of each system, A and B first, [seed, clip] or [seed, clip, 1].
        models: UAR of the very models trained, on speakers and clips without end, of A and of B; NaN where it is not reckoned.
    """

    y: np.ndarray
    fold: np.ndarray
    groups: np.ndarray | None
    said: tuple[np.ndarray, ...]
    models: tuple[float, float] = (np.nan, np.nan)


Draw = Callable[..., Drawn]
"""Draws a corpus: (design, seeds, number of the corpus, by how much all but A are worse, number of systems)."""


def predictions(plan: Plan, seeds: int, number: int, worse: float = 0.0, systems: int = 2) -> Drawn:
    """Draw answers on a latent scale: right where the sum of all effects is above 0. `worse`: parts of 1 of recall."""
    rng = np.random.default_rng([number, plan.speakers, seeds, len(plan.name), 1])
    speaker, y, fold = _corpus(plan, rng)
    n, n_classes, n_folds = len(y), len(plan.shares), int(fold.max()) + 1
    shared = _effect(rng, 0.05, plan.speakers)[speaker] + _effect(rng, 0.5, n)
    shared += _effect(rng, 0.04, plan.speakers, n_classes)[speaker, y]
    said, truths = [], []
    for less in _worse(worse, systems):
        own = _effect(rng, 0.02, plan.speakers)[speaker] + _effect(rng, 0.02, plan.speakers, n_classes)[speaker, y]
        own += _effect(rng, 0.3, n)
        model = _effect(rng, 0.01, seeds, n_folds)
        hard = np.sqrt(1.14) * ndtri(np.array(RECALLS[plan.shares]) - less)
        margin = hard[y] + shared + own + _effect(rng, 0.2, seeds, n) + model[:, fold]
        wrong = (y + rng.integers(1, n_classes, (seeds, n))) % n_classes
        said.append(np.where(margin > 0, y, wrong))
        recall = ndtr((hard[y] + model[:, fold]) / np.sqrt(1.13))
        truths.append(float(np.mean([recall[:, y == c].mean() for c in np.unique(y)])))
    groups = _names(plan, speaker)
    return Drawn(y, fold, groups, tuple(said), (truths[0], truths[1]))


def learner(plan: Plan, seeds: int, number: int, worse: float = 0.0, systems: int = 2) -> Drawn:
    """Train nearest class means in every fold on features of two encoders. `worse`: how much more noise B's features have."""
    rng = np.random.default_rng([number, plan.speakers, seeds, len(plan.name), 2])
    speaker, y, fold = _corpus(plan, rng, trained=24)
    new = np.arange(_NEW if plan.folds == 1 else 0) % 200
    new_y = rng.choice(len(plan.shares), len(new))
    clip, whose = np.concatenate([y, new_y]), np.concatenate([speaker, speaker.max() + 1 + new])
    shared = _CENTRES[: len(plan.shares)][clip] + _of_speakers(rng, 0.3, whose) + rng.normal(size=(len(clip), _DIM))
    said, truths = [], []
    for more in _worse(worse, systems):
        x = shared + _of_speakers(rng, 0.15, whose) + (0.7 + more) * rng.normal(size=shared.shape)
        answers, right = np.zeros((seeds, len(y)), dtype=np.int64), []
        for seed, test, part in _trained(fold, rng, seeds):
            guess = _nearest_mean(x[part], y[part], np.concatenate([x[test], x[len(y) :]]), len(plan.shares))
            answers[seed, test] = guess[: len(test)]
            if len(new):
                right.append(np.mean([np.mean(guess[len(test) :][new_y == c] == c) for c in range(len(plan.shares))]))
        said.append(answers)
        truths.append(float(np.mean(right)) if right else np.nan)
    return Drawn(y, fold, _names(plan, speaker), tuple(said), (truths[0], truths[1]))


def regression(plan: Plan, seeds: int, number: int, worse: float = 0.0, systems: int = 2) -> Drawn:
    """Train least squares in every fold on features of two encoders that carry a continuous target."""
    rng = np.random.default_rng([number, plan.speakers, seeds, len(plan.name), 3])
    speaker, _, fold = _corpus(plan, rng, trained=24)
    n_speakers = int(speaker.max()) + 1
    strength = 1 + _effect(rng, 0.04, n_speakers)[speaker]  # of what is heard of the target
    y = _effect(rng, 0.3, n_speakers)[speaker] + rng.normal(size=len(speaker))
    shared = (strength * y)[:, None] * _WAY + _of_speakers(rng, 0.3, speaker) + rng.normal(size=(len(y), _DIM))
    said = []
    for more in _worse(worse, systems):
        x = shared + _of_speakers(rng, 0.15, speaker) + (0.7 + more) * rng.normal(size=shared.shape)
        x = np.column_stack([x, np.ones(len(x))])
        answers = np.zeros((seeds, len(y), 1))
        for seed, test, part in _trained(fold, rng, seeds):
            answers[seed, test, 0] = x[test] @ np.linalg.lstsq(x[part], y[part], rcond=None)[0]
        said.append(answers)
    return Drawn(y[:, None], fold, _names(plan, speaker), tuple(said))


def _worse(worse: float, systems: int) -> list[float]:
    return [0.0, *[worse] * (systems - 1)]


def _corpus(plan: Plan, rng: np.random.Generator, trained: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return speaker, class and fold of each clip, int64 [clip]; with one fold, clips of `trained` other speakers as well."""
    sizes = np.maximum(1, np.round(plan.clips * rng.gamma(6.25, 1 / 6.25, plan.speakers))).astype(int)
    if plan.clips == 1:
        sizes[:] = 1
    speaker = np.repeat(np.arange(plan.speakers), sizes)
    y = rng.choice(len(plan.shares), len(speaker), p=plan.shares)
    fold = _folds(plan, speaker, y, rng)
    if plan.folds == 1 and trained:
        others = plan.speakers + np.repeat(np.arange(trained), plan.clips)
        speaker = np.concatenate([speaker, others])
        y = np.concatenate([y, rng.choice(len(plan.shares), len(others), p=plan.shares)])
        fold = np.concatenate([fold, np.full(len(others), -1)])
    y[np.flatnonzero(fold >= 0)[: len(plan.shares)]] = np.arange(len(plan.shares))  # no class is missing
    return speaker, y, fold


def _folds(plan: Plan, speaker: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if plan.folds == 0:
        return speaker
    if plan.folds == 1:
        return np.zeros_like(speaker)
    dealt = deal_groups(y, speaker, plan.folds, rng) if plan.known and plan.clips > 1 else deal(y, plan.folds, rng)
    return dealt.astype(np.int64)


def _trained(fold: np.ndarray, rng: np.random.Generator, seeds: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield seed, tested clips and the four fifths of the training clips that the seed draws."""
    for seed in range(seeds):
        for index in range(int(fold.max()) + 1):
            train = np.flatnonzero(fold != index)
            yield seed, np.flatnonzero(fold == index), rng.permutation(train)[: round(0.8 * len(train))]


def _nearest_mean(x: np.ndarray, y: np.ndarray, asked: np.ndarray, n_classes: int) -> np.ndarray:
    mean, std = x.mean(0), x.std(0)
    known = [c for c in range(n_classes) if np.any(y == c)]
    centres = np.stack([x[y == c].mean(0) for c in known])
    scaled, centres = (asked - mean) / std, (centres - mean) / std
    return np.array(known)[np.argmin(np.sum(centres**2, 1) - 2 * scaled @ centres.T, axis=1)]


def _effect(rng: np.random.Generator, variance: float, *shape: int) -> np.ndarray:
    return np.sqrt(variance) * rng.normal(size=shape)


def _of_speakers(rng: np.random.Generator, deviation: float, speaker: np.ndarray) -> np.ndarray:
    return deviation * rng.normal(size=(int(speaker.max()) + 1, _DIM))[speaker]


def _names(plan: Plan, speaker: np.ndarray) -> np.ndarray | None:
    return speaker.astype(str) if plan.known and plan.clips > 1 else None
