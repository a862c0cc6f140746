"""Is one system better than another: runs paired by seed, differences with their interval and p, correction for many of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from .design import Design
from .intervals import Estimate, LeftOut, estimate, mean_of


class _OfSeed(Protocol):
    @property
    def seed(self) -> int: ...


R = TypeVar("R", bound=_OfSeed)
P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True)
class Scored:
    """One run: its seed, and its scores without each part of what was tested."""

    seed: int
    left: LeftOut


@dataclass(frozen=True)
class Runs:
    """A system: its runs, and whether a seed can change them."""

    runs: tuple[Scored, ...]
    seeded: bool

    def score(self, design: Design, metric: str, limits: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
        """Return a metric, mean over all its seeds, with its interval."""
        return estimate(design, mean_of([run.left for run in self.runs]), metric, limits=limits)


@dataclass(frozen=True)
class Difference:
    """A metric of A minus that of B, over the runs that are paired.

    Attributes:
        a, b: their scores over these runs.
        estimate: the difference with its interval and p, uncorrected.
        p_holm: p corrected for all pairs that are shown together; p itself where it is one pair.
        seeds: of A and of B, as paired.
    """

    a: float
    b: float
    estimate: Estimate
    p_holm: float
    seeds: tuple[tuple[int, int], ...]

    @property
    def apart(self) -> bool:
        """Whether A and B are told apart at 5 %, all pairs considered."""
        return self.p_holm < 0.05

    def __neg__(self) -> Difference:
        mine = self.estimate
        turned = replace(mine, value=-mine.value, low=-mine.high, high=-mine.low)
        return Difference(self.b, self.a, turned, self.p_holm, tuple((b, a) for a, b in self.seeds))


def paired(a: Sequence[R], b: Sequence[R], seeded: tuple[bool, bool]) -> list[tuple[R, R]]:
    """Pair runs of the same seed, of those that both have; of what a seed cannot change one run stands beside all others.

    Args:
        seeded: whether a seed can change the first and the second.
    """
    if not seeded[0]:
        return [(a[0], run) for run in (b if seeded[1] else b[:1])]
    if not seeded[1]:
        return [(run, b[0]) for run in a]
    by_seed = [{run.seed: run for run in runs} for runs in (a, b)]
    return [(by_seed[0][seed], by_seed[1][seed]) for seed in sorted(by_seed[0].keys() & by_seed[1].keys())]


def differences(design: Design, a: Runs, b: Runs) -> dict[str, Difference]:
    """Return A minus B by metric; without a seed in common there is no difference, and `estimate.why` says so."""
    pairs = paired(a.runs, b.runs, (a.seeded, b.seeded))
    if not pairs:
        none = Difference(math.nan, math.nan, Estimate(math.nan, why="no seed in common"), math.nan, ())
        return dict.fromkeys(design.metrics, none)
    ours, theirs = (mean_of([run.left for run in side]) for side in zip(*pairs, strict=True))
    seeds = tuple((one.seed, other.seed) for one, other in pairs)
    found = {}
    for index, metric in enumerate(design.metrics):
        made = estimate(design, ours - theirs, metric)
        found[metric] = Difference(float(ours.whole[index]), float(theirs.whole[index]), made, made.p, seeds)
    return found


def family(design: Design, systems: Mapping[P, Runs]) -> dict[tuple[P, P], dict[str, Difference]]:
    """Return the differences of all pairs of systems that are shown together, each pair once, corrected for their number.

    Each metric is corrected over all m (m - 1) / 2 pairs, because which system is best was not known beforehand.
    """
    pairs = list(itertools.combinations(systems, 2))
    found = {(one, other): differences(design, systems[one], systems[other]) for one, other in pairs}
    for metric in design.metrics:
        known = [pair for pair in pairs if found[pair][metric].estimate.known]
        adjusted = holm([found[pair][metric].estimate.p for pair in known])
        for pair, p in zip(known, adjusted, strict=True):
            found[pair][metric] = replace(found[pair][metric], p_holm=p)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm, Scand. J. Statistics 6, 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [1.0] * len(order)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * float(p_values[index])))
        adjusted[int(index)] = highest
    return adjusted
