"""Weights for the models whose networks are our own: a seed, or the file that their authors published."""

from __future__ import annotations

import argparse
from collections.abc import Callable
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
    of_training: Callable[[str], bool],
    from_hub: Callable[[], tuple[Path, str]],
) -> Weighted[Model]:
    """Build a model and give it the weights that were asked for, all of them or none.

    Args:
        of_training: tells a checkpoint's keys that only training needs, which are left out, from the model's own.
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
    with _safe_training_arguments():
        state = read_state(file)
    _fill(model, state, f"{card.name} from {origin}", of_training)
    return Weighted(model, state_sha256(model.state_dict()), origin)


def _local(card: Card, wanted: str) -> Path:
    if not Path(wanted).is_file():
        raise CheckpointError(
            f"{card.name}, weights {wanted!r}: expected hub, random or a checkpoint file, got a path that is no file. "
            f"Check `weights:`."
        )
    return Path(wanted)


def _safe_training_arguments() -> torch.serialization.safe_globals:
    """Allow what training scripts keep beside their tensors: their command line, a plain bag of values."""
    from torch.serialization import safe_globals

    return safe_globals([argparse.Namespace])


def _fill(model: nn.Module, state: dict[str, torch.Tensor], where: str, of_training: Callable[[str], bool]) -> None:
    own = model.state_dict()
    refuse_misfit(
        where,
        missing=own.keys() - state.keys(),
        left_over=[key for key in state.keys() - own.keys() if not of_training(key)],
        resized=[key for key in own.keys() & state.keys() if own[key].shape != state[key].shape],
    )
    model.load_state_dict({key: state[key] for key in own})
