"""What a head or a fusion is: plain data that can be listed without torch, and a builder that may import anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError

from ..errors import ConfigError, nearest

Rngs = Sequence[np.random.Generator]


class Options(BaseModel):
    """Base of the options an architecture takes. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Shape:
    """What an architecture is built for.

    Attributes:
        dims: length of the vector that each encoder gives.
        n_outputs: classes, or continuous targets.
    """

    dims: tuple[int, ...]
    n_outputs: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A registry entry.

    Attributes:
        summary: one line for lists.
        source: where it comes from.
        options: what may be set in pipeline.yaml, with defaults.
        engine: "torch" networks are trained by `fit`, "sklearn" pipelines bring their own `fit`; "late" is a head for each
            encoder whose outputs are fused, see `nested`.
        build: torch: (shape, options, rngs) -> module over a stack of len(rngs) models, see `networks`;
            sklearn: (options, seed, class_weights) -> estimator with predict_proba or decision_function; late: not called.
        seeded: False where the seed changes nothing, so that one seed is run instead of many.
        n_encoders: least and most encoders it takes.
        frames: True where it reads frames, whatever statistics the inputs have: its xs are `frames.Padded`.
        classifies: False where it predicts continuous targets only.
        regressor: sklearn: (options, seed) -> estimator of one target; None where there is none. Networks need none.
        weighs_classes: False where `class_weights` cannot be followed.
        least_dim: the shortest vector it takes.
        training: what it is trained by in every preset, such as {"epochs": 1000}, where `training:` states nothing else.
    """

    summary: str
    source: str
    options: type[Options]
    engine: Literal["torch", "sklearn", "late"]
    build: Callable[..., Any]
    seeded: bool = True
    n_encoders: tuple[int, int | None] = (1, 1)
    frames: bool = False
    classifies: bool = True
    regressor: Callable[..., Any] | None = None
    weighs_classes: bool = True
    least_dim: int = 1
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def regresses(self) -> bool:
        """Whether it predicts continuous targets."""
        return self.engine == "torch" or self.regressor is not None


def candidates_of(
    kind: str, name: str, model: type[Options], given: dict[str, Any], search: dict[str, Any]
) -> tuple[list[Options], tuple[str, ...]]:
    """Return the options of every candidate of a search (of one where nothing is searched), and the searched names.

    Raises:
        ConfigError: one sentence for each thing wrong with them.
    """
    problems = [
        f"{kind} {name!r}, option {key!r}: stated and searched. Remove one of the two."
        for key in search
        if key in given
    ]
    found: list[Options] = []
    for values in itertools.product(*search.values()):
        options, wrong = check_options(kind, name, model, {**given, **dict(zip(search, values, strict=True))})
        problems += wrong
        found += [options] if options is not None else []
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return found, tuple(_canonical(model, key) for key in search)


def _canonical(model: type[Options], key: str) -> str:
    """Return the name of the option that `key` may be another word for."""
    for name, known in model.model_fields.items():
        if isinstance(known.validation_alias, AliasChoices) and key in known.validation_alias.choices:
            return name
    return key


def check_options(
    kind: str, name: str, model: type[Options], given: dict[str, Any]
) -> tuple[Options | None, list[str]]:
    """Return the options as a model, or None and one sentence for each thing wrong with them."""
    try:
        return model(**given), []
    except ValidationError as error:
        return None, [_sentence(kind, name, model, problem) for problem in error.errors()]


def _sentence(kind: str, name: str, model: type[Options], problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        return f"{kind} {name!r}, option {key!r}: unknown{nearest(key, known)} Known: {', '.join(known) or 'none'}."
    return f"{kind} {name!r}, option {key!r}: {problem['msg']}, got {problem['input']!r}."
