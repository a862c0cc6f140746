"""Systems that the report shows beside the best: those that `shown:` names by encoders and head or fusion."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import nearest
from .cells import resolve
from .grid import Experiment


def is_named(experiment: Experiment, shown: Sequence[Sequence[str]]) -> bool:
    """Return whether an experiment is of a system that `shown` names."""
    return any(_is(experiment, system) for system in shown)


def unknown(experiments: Sequence[Experiment], shown: Sequence[Sequence[str]]) -> list[str]:
    """Return a problem for every named system that no experiment is of."""
    known = list(dict.fromkeys(f"{e.encoders} + {e.chosen.label}" for e in experiments))
    return [
        f"train.shown: [{', '.join(system)}] is no system of this grid{nearest(' + '.join(system), known)} "
        f"Name its encoders, then its head or fusion."
        for system in shown
        if not any(_is(experiment, system) for experiment in experiments)
    ]


def _is(experiment: Experiment, system: Sequence[str]) -> bool:
    *encoders, name = system
    held = [item.encoder for item in experiment.inputs]
    wanted = [resolve(encoder, held) for encoder in encoders]
    return name in (experiment.chosen.label, experiment.chosen.name) and set(wanted) == set(held)
