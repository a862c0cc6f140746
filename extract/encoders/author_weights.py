"""Weights for the models whose networks are our own: a seed, or the file that their authors published."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ...errors import CheckpointError, EncoderError
from .base import Card, Request
from .weights import read_state, refuse_misfit, seeded, state_sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

    Model = TypeVar("Model", bound=nn.Module)
else:
    Model = TypeVar("Model")


@dataclass(frozen=True)
class Weighted(Generic[Model]):
    """A model in evaluation mode, float32, on the CPU; the hash of its tensors; where they came from, in words."""

    model: Model
    sha256: str
    origin: str


def load_weights(
    request: Request,
    card: Card,
    build: Callable[[], Model],
    *,
    own_key: Callable[[str], str | None],
    from_hub: Callable[[], tuple[Path, str]],
) -> Weighted[Model]:
    """Build a model and give it the weights that were asked for, all of them or none.

    Args:
        own_key: turns a checkpoint's key into the model's; None for what only training needs, which is left out.
        from_hub: finds the published file where none is given, and says where it is from; raises `EncoderError` where
            it cannot.

    Raises:
        CheckpointError: the file is not there, cannot be read, or does not fit.
        EncoderError: weights of a kind this encoder does not have.
    """
    with seeded(request.seed):
        model = build().eval().requires_grad_(False)
    wanted = request.weights or card.weights
    if wanted == "none":
        raise EncoderError(f"{card.name}, weights 'none': expected hub, random or a file. It has weights to load.")
    if wanted == "random":
        return Weighted(model, state_sha256(model.state_dict()), f"random:seed={request.seed}")
    file, origin = from_hub() if wanted == "hub" else (_local(card, wanted), f"local:{Path(wanted).name}")
    with _inert_classes(file):
        state = {own_key(key): tensor for key, tensor in read_state(file).items()}
    _fill(model, {key: tensor for key, tensor in state.items() if key is not None}, f"{card.name} from {origin}")
    return Weighted(model, state_sha256(model.state_dict()), origin)


def _local(card: Card, wanted: str) -> Path:
    if not Path(wanted).is_file():
        raise CheckpointError(
            f"{card.name}, weights {wanted!r}: expected hub, random or a checkpoint file, got a path that is no file. "
            f"Check `weights:`."
        )
    return Path(wanted)


class _Inert:
    """Stands for every class that a training script left in its checkpoint beside the tensors; does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _inert_classes(file: Path) -> AbstractContextManager[object]:
    """Read a torch file although it names classes (options, configurations): none of them is looked up or run."""
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        names = get_unsafe_globals_in_checkpoint(file)
    except Exception:  # not a torch file: `read_state` says what is wrong with it, if anything is
        return nullcontext()
    return safe_globals([(_Inert, name) for name in names])


def _fill(model: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    own = model.state_dict()
    refuse_misfit(
        where,
        missing=own.keys() - state.keys(),
        left_over=state.keys() - own.keys(),
        resized=[key for key in own.keys() & state.keys() if own[key].shape != state[key].shape],
    )
    model.load_state_dict(state)
