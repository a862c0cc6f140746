"""One system against another, from what a results file keeps."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from .compare import Difference, Runs, Scored, differences
from .design import Design, design_of
from .grid import Chosen, Kind
from .intervals import LeftOut, Predictions, left_out
from .systems import Kept, KeptClips, Run, System
from .targets import Regressed, left_out_targets


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same folds.

    Attributes:
        seeds: of A and of B that were paired, in order.
        differences: A - B by metric, with interval and p.
    """

    a: System
    b: System
    seeds: tuple[tuple[int, int], ...]
    differences: dict[str, Difference]
    design: Design


def compare(kept: Kept, a: System, b: System) -> Comparison:
    """Return how A differs from B.

    Raises:
        ConfigError: they were not tested on the same clips and folds, or have no seed in common, so that nothing is paired.
    """
    if (a.clips, a.split) != (b.clips, b.split):
        what = "clips or labels" if a.clips != b.clips else "folds"
        raise ConfigError(
            f"results {kept.path}: expected two systems on the same clips and folds, got other {what} for {a.id} ({a.text}) "
            f"and {b.id} ({b.text}). Compare systems of one corpus and split; `voxcache results` lists them."
        )
    clips, (fold, _) = kept.clips(a), kept.split(a)
    classes = clips.names if "uar" in a.metrics else ()
    design = design_of(clips.y, fold, clips.groups, column="group", classes=classes)
    sides = [Runs(tuple(_scored(kept, run, clips, design) for run in s.runs), _seeded(s)) for s in (a, b)]
    found = differences(design, *sides)
    seeds = next(iter(found.values())).seeds
    if not seeds:
        raise ConfigError(
            f"systems {a.id} and {b.id}: no seed in common, so nothing is paired. Train both with one seed."
        )
    return Comparison(a, b, seeds, found, design)


def _scored(kept: Kept, run: Run, clips: KeptClips, design: Design) -> Scored:
    clip, fold, said = kept.predictions(run, len(clips.names))
    left: LeftOut
    if design.n_classes:
        left = left_out(design, Predictions(clip, fold, said.argmax(1)))
    else:
        left = left_out_targets(design, Regressed(clip, fold, said))
    return Scored(run.seed, left)


def _seeded(system: System) -> bool:
    """Return whether a seed can change what was learnt; an architecture that is not installed here counts as one."""
    kind: Kind = "head" if system.kind == "head" else "fusion"
    try:
        return Chosen(kind, system.architecture, system.label, system.options).learner.seeded
    except (ConfigError, ValueError):
        return True
