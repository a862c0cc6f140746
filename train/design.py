"""Who was tested, in which fold, and whether that is enough to say how sure a score is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..words import plural
from .scores import METRIC_NAMES, METRICS, TARGET_METRICS

LEAST_UNITS = 6
LEAST_OF_CLASS = 5
LEAST_CLIPS = 5
LEAST_DF = 2.0
FEW_UNITS = 12
UNNAMED = "(unnamed) "
_MOST_BLOCKS = 2000
_MOST_BLOCKS_TARGETS = 200  # each is a pass over all clips and targets
_ALIKE = 0.1
_LEAST_FOLDS_DF = 1.5


@dataclass(frozen=True)
class Design:
    """The tested clips of one corpus and split. Every array is int64 [clip], -1 where a clip is not tested.

    Attributes:
        y: true class; or float64 [clip, target].
        unit: whose clips count as one observation: speakers (groups) where they are known, clips otherwise.
        block: what a jackknife leaves out at once: a unit, or where there are very many a 2000th of them
            (with continuous targets a 200th).
        fold: numbered without folds that test nothing.
        n_classes: 0 with continuous targets.
        n_unnamed: units that are a clip which names no group.
        column: what groups are called; None where none are known.
        df: effective number of units minus 1, of folds minus 1, by metric.
        refused: why there is no interval, by metric; nothing where there is one.
    """

    y: np.ndarray
    unit: np.ndarray
    block: np.ndarray
    fold: np.ndarray
    n_units: int
    n_blocks: int
    n_folds: int
    n_classes: int
    n_unnamed: int
    column: str | None
    df: dict[str, tuple[float, float]]
    refused: dict[str, str]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return METRICS if self.n_classes else TARGET_METRICS

    @property
    def tested(self) -> np.ndarray:
        """The tested clips, int64 [test]."""
        return np.flatnonzero(self.fold >= 0)

    @property
    def chance(self) -> float | None:
        """The UAR of saying anything without listening; None with continuous targets."""
        return 1 / len(np.unique(self.y[self.tested])) if self.n_classes else None

    @property
    def folds_count(self) -> bool:
        """Whether there are folds enough to see what training on other clips changes."""
        return any(folds >= _LEAST_FOLDS_DF for _, folds in self.df.values())

    @property
    def units_text(self) -> str:
        """Such as "24 speakers", "5 speakers and 3 clips that name none", "240 clips"."""
        named = self.n_units - self.n_unnamed
        if self.column is None:
            return plural(self.n_units, "clip")
        text = plural(named, self.column)
        return f"{text} and {plural(self.n_unnamed, 'clip')} that name none" if self.n_unnamed else text

    @property
    def text(self) -> str:
        """What an interval rests on, and of what it speaks, in a sentence."""
        if len(self.refused) == len(self.metrics):
            return f"No interval and no test: {'; '.join(dict.fromkeys(self.refused.values()))}."
        few = "only " if self.n_units < FEW_UNITS else ""
        parts = [f"Intervals and tests rest on {few}{self.units_text}"]
        if self.column is None:
            parts.append("; they hold if clips are independent, which clips of one speaker are not")
        elif self.n_unnamed:
            parts.append("; the latter are taken as independent")
        if self.folds_count:
            parts.append(f". What training on other clips changes is seen over {self.n_folds} folds")
        else:
            folds = "one fold" if self.n_folds == 1 else f"{self.n_folds} folds"
            parts.append(f". They speak of these models: {folds} cannot tell what training on other clips changes")
        for why, names in _by_reason(self.refused):
            parts.append(f". No interval of {' and '.join(names)}: {why}")
        return "".join(parts) + "."


def design_of(
    y: np.ndarray, fold: np.ndarray, groups: np.ndarray | None, *, column: str | None, classes: Sequence[str] = ()
) -> Design:
    """Return what was tested of a corpus.

    Args:
        y: true class, int64 [clip], or continuous targets, float64 [clip, target].
        fold: the fold in which each clip is tested, [clip]; below 0 where it is not.
        groups: name of each clip's group, str [clip]; those of clips without one begin with `UNNAMED`.
        column: what groups are called.
        classes: names of the classes; none with continuous targets.
    """
    tested = np.flatnonzero(fold >= 0)
    names = np.arange(len(tested)).astype(str) if groups is None else groups[tested].astype(str)
    units, unit = np.unique(names, return_inverse=True)
    folds, numbered = np.unique(fold[tested], return_inverse=True)
    n_blocks = min(len(units), _MOST_BLOCKS if classes else _MOST_BLOCKS_TARGETS)
    block = unit % n_blocks
    shares = list(_shares(y[tested], unit, numbered, bool(classes)))
    df = {
        metric: (effective(share, block) - 1, effective(share, numbered) - 1)
        for metric, share in zip(METRICS if classes else TARGET_METRICS, shares, strict=True)
    }
    unnamed = int(np.sum(np.char.startswith(units, UNNAMED))) if groups is not None else 0
    unit_of, block_of, fold_of = (_spread(values, tested, len(y)) for values in (unit, block, numbered))
    made = Design(
        y=y,
        unit=unit_of,
        block=block_of,
        fold=fold_of,
        n_units=len(units),
        n_blocks=n_blocks,
        n_folds=len(folds),
        n_classes=len(classes),
        n_unnamed=unnamed,
        column=None if groups is None else column or "group",
        df=df,
        refused={},
    )
    return replace(made, refused=dict(_refusals(made, units, shares, classes)))


def effective(share: np.ndarray, part: np.ndarray) -> float:
    """Return how many equal parts would vary as much as these, whose clips have weights `share` [clip].

    A part's variance is taken as that of its clips, of which any two correlate by 0.1: a = sum w^2 + 0.1 ((sum w)^2 - sum w^2).
    The number is (sum a)^2 / sum a^2 (Satterthwaite, Biometrics Bulletin 2, 1946).
    """
    total, square = np.bincount(part, share), np.bincount(part, share**2)
    variance = square + _ALIKE * (total**2 - square)
    return float(variance.sum() ** 2 / np.sum(variance**2))


def fold_counts(unit: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of units and of clips of each fold, int64 [fold] each."""
    pairs = np.unique(np.stack([fold, unit]), axis=1)
    return np.bincount(pairs[0]), np.bincount(fold)


def correlated(n_clips: np.ndarray) -> np.ndarray:
    """Return which folds have clips enough for a correlation, bool [fold]; all where none has."""
    enough = n_clips >= LEAST_CLIPS
    return np.asarray(enough if enough.any() else np.ones_like(enough))


def _shares(y: np.ndarray, unit: np.ndarray, fold: np.ndarray, of_classes: bool) -> Iterator[np.ndarray]:
    """Yield each tested clip's weight in each metric, float64 [test]."""
    if of_classes:
        counts = np.bincount(y)
        by_class = 1 / (np.sum(counts > 0) * counts[y])
        yield from (np.full(len(y), 1 / len(y)), by_class, by_class)
        return
    n_units, n_clips = fold_counts(unit, fold)
    for metric in TARGET_METRICS:
        weight = n_units * (correlated(n_clips) if metric != "mae" else 1)
        yield weight[fold] / (weight.sum() * n_clips[fold])


def _refusals(
    design: Design, units: np.ndarray, shares: Sequence[np.ndarray], classes: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield the metrics that have no interval, and why."""
    tested = design.tested
    unit, noun = design.unit[tested], design.column or "clip"
    rare = _rarest(design.y[tested], unit, classes) if classes else None
    for metric, share in zip(design.metrics, shares, strict=True):
        if design.n_units < LEAST_UNITS:
            yield metric, f"{design.units_text} were tested, an interval needs {LEAST_UNITS}"
        elif rare is not None and metric != "accuracy" and rare[1] < LEAST_OF_CLASS:
            yield metric, f"class {rare[0]!r} stands in {plural(rare[1], noun)}, {LEAST_OF_CLASS} are needed"
        elif not classes and metric != "mae" and len(tested) and not _any_long(design):
            yield metric, f"no fold has {LEAST_CLIPS} clips to correlate"
        elif design.df[metric][0] < LEAST_DF:
            largest = int(np.bincount(unit, share).argmax())
            part = 100 * np.bincount(unit, share)[largest]
            yield metric, f"{noun} {str(units[largest])!r} alone makes {part:.0f} % of the score"


def _any_long(design: Design) -> bool:
    return bool(np.any(np.bincount(design.fold[design.tested]) >= LEAST_CLIPS))


def _rarest(y: np.ndarray, unit: np.ndarray, classes: Sequence[str]) -> tuple[str, int]:
    """Return the tested class that stands in the fewest units, and in how many."""
    pairs = np.unique(np.stack([y, unit]), axis=1)[0]
    present, counts = np.unique(pairs, return_counts=True)
    return classes[int(present[counts.argmin()])], int(counts.min())


def _spread(values: np.ndarray, tested: np.ndarray, n_clips: int) -> np.ndarray:
    whole = np.full(n_clips, -1, dtype=np.int64)
    whole[tested] = values
    return whole


def _by_reason(refused: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    for why in dict.fromkeys(refused.values()):
        yield why, [METRIC_NAMES[metric] for metric, said in refused.items() if said == why]
