"""What a head or a fusion is: plain data that can be listed without torch, and a builder that may import anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import nearest

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
        engine: "torch" networks are trained by `fit`, "sklearn" pipelines bring their own `fit`.
        build: torch: (shape, options, rngs) -> module over a stack of len(rngs) models, see `networks`;
            sklearn: (options, seed, class_weights) -> estimator with predict_proba or decision_function.
        seeded: False where the seed changes nothing, so that one seed is run instead of many.
        n_encoders: least and most encoders it takes.
        frames: True where it reads frames, whatever statistics the inputs have: its xs are `frames.Padded`.
        classifies: False where it predicts continuous targets only.
        regressor: sklearn: (options, seed) -> estimator of one target; None where there is none. Networks need none.
    """

    summary: str
    source: str
    options: type[Options]
    engine: Literal["torch", "sklearn"]
    build: Callable[..., Any]
    seeded: bool = True
    n_encoders: tuple[int, int | None] = (1, 1)
    frames: bool = False
    classifies: bool = True
    regressor: Callable[..., Any] | None = None

    @property
    def regresses(self) -> bool:
        """Whether it predicts continuous targets."""
        return self.engine == "torch" or self.regressor is not None


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
