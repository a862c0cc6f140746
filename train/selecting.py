"""Choosing systems by what they are: `head=fcn`, `encoder=wavlm*`, `corpus=vivae`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import ConfigError, nearest
from .scores import LOWER_IS_BETTER
from .systems import System

FIELDS: dict[str, Callable[[System], Sequence[str]]] = {
    "id": lambda s: [s.id],
    "corpus": lambda s: [s.corpus],
    "encoder": lambda s: [*s.encoders, s.encoder],
    "input": lambda s: [s.input],
    "layer": lambda s: [part.removeprefix("layer ").split(",")[0] for part in s.input.split(" | ")],
    "kind": lambda s: [s.kind],
    "head": lambda s: [s.architecture, s.label] if s.kind == "head" else [],
    "fusion": lambda s: [s.architecture, s.label] if s.kind == "fusion" else [],
    "architecture": lambda s: [s.architecture, s.label],
    "target": lambda s: [s.target, *s.target.split(", ")],
    "seed": lambda s: [str(run.seed) for run in s.runs],
}
"""What a system may be chosen by, and what it is called there."""


@dataclass(frozen=True)
class Condition:
    """A field and a pattern; `*` stands for anything."""

    field: str
    pattern: str

    def holds(self, system: System) -> bool:
        """Return whether a system is meant."""
        pattern = self.pattern.replace("[", "[[]")  # labels have brackets of their own
        return any(fnmatchcase(name, pattern) for name in FIELDS[self.field](system))


def conditions(texts: Sequence[str]) -> list[Condition]:
    """Return `field=pattern` as conditions; several may stand in one text, with commas between.

    What lists print can be given back: `head=fcn (hidden=[64], dropout=0.5)` and `input=layer 2, mean` are one condition each.

    Raises:
        ConfigError: a part that is none, or a field that systems do not have.
    """
    found, problems = [], []
    for part in (part for text in texts for part in _parts(text) if part.strip()):
        field, equals, pattern = (piece.strip() for piece in part.partition("="))
        if not equals or not pattern:
            problems.append(f"condition {part!r}: expected field=value, such as head=fcn. Fields: {', '.join(FIELDS)}.")
        elif field not in FIELDS:
            problems.append(f"condition {part!r}: unknown field{nearest(field, FIELDS)} Fields: {', '.join(FIELDS)}.")
        else:
            found.append(Condition(field, pattern))
    if problems:
        raise ConfigError(problems)
    return found


_NEXT = re.compile(r",\s*(\w+\s*=|$)")


def _parts(text: str) -> list[str]:
    """Return a text cut at those commas that stand in no brackets and have a `field=` behind them."""
    parts, start, depth = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if depth <= 0 and _NEXT.match(text, place):
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def select(systems: Sequence[System], wanted: Sequence[Condition]) -> list[System]:
    """Return the systems for which every condition holds."""
    return [system for system in systems if all(condition.holds(system) for condition in wanted)]


def one(systems: Sequence[System], text: str) -> System:
    """Return the system that an id or conditions name.

    Raises:
        ConfigError: none, or more than one.
    """
    wanted = conditions([text]) if "=" in text else [Condition("id", f"{text}*")]
    found = select(systems, wanted)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"system {text!r}: no such result. `voxcache results` lists them with their ids.")
    first = "".join(f"\n  {system.id}  {system.text}" for system in found[:8])
    raise ConfigError(
        f"system {text!r}: expected one, got {len(found)}:{first}\nName an id, or add a condition such as head=fcn."
    )


def order(systems: Sequence[System], by: str, *, reverse: bool = False) -> list[System]:
    """Return systems sorted by a score, best first, or by a field; those without that score come last.

    Raises:
        ConfigError: neither a score nor a field.
    """
    scores = {metric for system in systems for metric in system.metrics}
    if by in scores:
        sign = 1 if by in LOWER_IS_BETTER else -1
        have = sorted((s for s in systems if by in s.metrics), key=lambda s: sign * s.mean(by), reverse=reverse)
        return [*have, *(s for s in systems if by not in s.metrics)]
    if by == "seconds":
        return sorted(systems, key=lambda s: -sum(run.train_s for run in s.runs), reverse=reverse)
    if by == "finished":
        return sorted(systems, key=lambda s: max(run.finished for run in s.runs), reverse=reverse)
    if by in FIELDS:
        return sorted(systems, key=lambda s: tuple(FIELDS[by](s)), reverse=reverse)
    known = (*sorted(scores), *FIELDS, "seconds", "finished")
    raise ConfigError(f"--sort {by}: neither a score nor a field{nearest(by, known)} Known: {', '.join(known)}.")
