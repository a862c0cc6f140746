"""The one rule by which a checkpoint fits an encoder: compared by name and shape, before any value is read.

The encoder is built, without memory, from the checkpoint's own published configuration. Its parameters must all be there
in their shapes; tensors beside them under the encoder's own prefix refuse the checkpoint; tensors outside of it are
somebody's head or decoder, are named and ignored. What only training needs, such as the mask vector, has its place
and is not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CheckpointError
from .tensors import Shapes
from .weights import refuse_misfit

WEIGHT_NORM = ((re.compile(r"\bweight_g$"), "parametrizations.weight.original0"),
               (re.compile(r"\bweight_v$"), "parametrizations.weight.original1"))  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How a checkpoint's tensors go into an encoder.

    Attributes:
        prefix: what stands before the encoder's own names, such as "wav2vec2.".
        source: name in the checkpoint of each tensor of the encoder's state.
        ignored: what lies outside of the encoder, as {name of the part: tensors in it}.
    """

    prefix: str
    source: Mapping[str, str]
    ignored: Mapping[str, int]


@dataclass(frozen=True)
class Blueprint:
    """The state an encoder has in use, and what names it may have besides; `model` is built without memory."""

    needed: Shapes
    allowed: frozenset[str]
    model: Any

    @staticmethod
    def of(in_use: Any, others: Sequence[Any]) -> Blueprint:
        """Describe `in_use`; `others` are the same encoder as published and as trained."""
        needed = {name: tuple(tensor.shape) for name, tensor in in_use.state_dict().items()}
        allowed = {name for model in (in_use, *others) for name in model.state_dict()}
        return Blueprint(needed, frozenset(allowed), in_use)

    def passes(self, name: str) -> bool:
        """Return whether a name is the encoder's, or one that its class says to pass over."""
        patterns = getattr(self.model, "_keys_to_ignore_on_load_unexpected", None) or ()
        return name in self.allowed or any(re.search(pattern, name) for pattern in patterns)


def fit(where: str, shapes: Shapes, blueprint: Blueprint) -> Fit:
    """Say how a checkpoint's tensors go into an encoder.

    Args:
        where: which weights were offered to which architecture, for the message.
        shapes: the checkpoint's tensors.

    Raises:
        CheckpointError: parameters are missing or misshapen, or tensors are left over inside the encoder's prefix.
    """
    rename = _renaming(blueprint.model)
    views = [(prefix, _under(prefix, shapes, rename, blueprint)) for prefix in _prefixes(shapes, len(blueprint.needed))]
    views.sort(key=lambda view: (-len(view[1].keys() & blueprint.needed.keys()), view[0].count("."), view[0]))
    whole = [prefix for prefix, names in views if blueprint.needed.keys() <= names.keys()]
    if len(whole) > 1:
        raise CheckpointError(
            f"{where}: expected one encoder of this architecture, got {len(whole)}, under "
            f"{' and '.join(repr(prefix) for prefix in whole)}. Save the one you mean with `save_pretrained`."
        )
    prefix, names = views[0]
    refuse_misfit(
        where,
        missing=blueprint.needed.keys() - names.keys(),
        left_over=[name for name in names if not blueprint.passes(name)],
        resized=[name for name, shape in blueprint.needed.items() if name in names and shapes[names[name]] != shape],
    )
    outside = shapes.keys() - set(names.values())
    return Fit(prefix, {name: names[name] for name in blueprint.needed}, _parts(outside, prefix))


def _prefixes(shapes: Shapes, n_needed: int) -> list[str]:
    """Return what may stand before the encoder's names: beginnings that enough of the checkpoint's names have."""
    counts: Counter[str] = Counter({"": len(shapes)})
    for name in shapes:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 5)))
    return [prefix for prefix, count in counts.items() if prefix == "" or 2 * count >= n_needed]


def _under(prefix: str, shapes: Shapes, rename: Any, blueprint: Blueprint) -> dict[str, str]:
    """Return {the encoder's name: the checkpoint's name} of what lies inside the encoder, if it stood under a prefix.

    Where nothing stands before the encoder's names, inside is what begins as one of its own modules does.
    """
    names = {rename(name[len(prefix) :]): name for name in shapes if name.startswith(prefix)}
    if prefix:
        return names
    own = {name.partition(".")[0] for name in blueprint.allowed}
    return {name: source for name, source in names.items() if name.partition(".")[0] in own}


def _parts(names: Iterable[str], prefix: str) -> dict[str, int]:
    """Count tensors by the part of the checkpoint they belong to: the shortest beginning that the encoder does not share."""

    def part(name: str) -> str:
        pieces = name.split(".")
        starts = (".".join(pieces[:depth]) for depth in range(1, len(pieces)))
        return next((start for start in starts if not prefix.startswith(f"{start}.")), name)

    return dict(sorted(Counter(map(part, names)).items()))


def _renaming(model: Any) -> Any:
    """Return what turns a name of an older release of transformers into the present one, as `from_pretrained` does."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping

        steps = [step.rename_source_key for step in get_model_conversion_mapping(model)]
    except (ImportError, AttributeError):  # a release that keeps its names elsewhere: weight norm is what matters
        steps = []

    def rename(name: str) -> str:
        for step in steps:
            name = step(name)[0]
        for pattern, new in WEIGHT_NORM:
            name = pattern.sub(new, name)
        return name

    return rename
