"""What networks are trained towards: classes by cross-entropy, or continuous targets by squared error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import Training

if TYPE_CHECKING:
    from .fit import Data, Member


class Loss(Protocol):
    """The loss of each model of a stack over its own rows, and what its outputs mean."""

    def __call__(self, outputs: Tensor, rows: Tensor, own: Tensor, alive: Sequence[int]) -> Tensor:
        """Return [model]. `outputs` [model, row, output], `rows` int64 [model, row], `own` bool [model, row]."""
        ...

    def finish(self, outputs: Tensor) -> Tensor:
        """Return what is reported of the outputs of all models: probabilities, or targets in their own units."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what `finish` knows of each model's training clips, [model, ...] by name."""
        ...


class ClassLoss:
    """Weighted cross-entropy."""

    def __init__(self, data: Data, members: Sequence[Member], training: Training) -> None:
        self.y = data.y
        self.weights = torch.from_numpy(class_weights(data, members, training)).to(data.device)

    def __call__(self, outputs: Tensor, rows: Tensor, own: Tensor, alive: Sequence[int]) -> Tensor:
        """Return the weighted mean of each model's rows."""
        y = self.y[rows]
        entropy = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
        return weighted_mean(entropy, self.weights[list(alive)].gather(1, y) * own)

    def finish(self, outputs: Tensor) -> Tensor:
        """Return class probabilities."""
        return outputs.softmax(dim=-1)

    def state(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}


class TargetLoss:
    """Mean squared error of targets standardised over each model's training clips, so that all targets weigh the same."""

    def __init__(self, data: Data, members: Sequence[Member]) -> None:
        own = [data.y[:, list(member.targets)] for member in members]
        trained = [y[torch.from_numpy(member.train)] for y, member in zip(own, members, strict=True)]
        self.mean = torch.stack([y.mean(0, keepdim=True) for y in trained])  # [model, 1, target]
        std = torch.stack([y.std(0, correction=0, keepdim=True) for y in trained])
        self.std = torch.where(std > 1e-12, std, torch.ones_like(std))
        self.goal = ((torch.stack(own) - self.mean) / self.std).float().to(data.device)  # [model, clip, target]

    def __call__(self, outputs: Tensor, rows: Tensor, own: Tensor, alive: Sequence[int]) -> Tensor:
        """Return the mean over each model's rows and targets."""
        goal = self.goal[list(alive)].gather(1, rows.unsqueeze(-1).expand(-1, -1, outputs.shape[-1]))
        return weighted_mean((outputs - goal).square().mean(-1), own.to(outputs.dtype))

    def finish(self, outputs: Tensor) -> Tensor:
        """Return predictions in the units of the targets."""
        mean, std = (values.to(outputs.dtype).to(outputs.device) for values in (self.mean, self.std))
        return outputs * std + mean

    def state(self) -> dict[str, Tensor]:
        """Return means and deviations of the targets."""
        return {"target_mean": self.mean, "target_std": self.std}


def loss_for(data: Data, members: Sequence[Member], training: Training) -> Loss:
    """Return the loss that suits the data."""
    return ClassLoss(data, members, training) if data.n_classes else TargetLoss(data, members)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of each row; 0 where it has no weight at all."""
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1e-12)


def class_weights(data: Data, members: Sequence[Member], training: Training) -> np.ndarray:
    """Return float32 [model, class]: 1, or where balanced n / (classes present x clips of the class), 0 for absent ones."""
    weights = np.ones((len(members), data.n_classes), dtype=np.float32)
    if training.class_weights == "none":
        return weights
    y = data.y.cpu().numpy()
    for row, member in zip(weights, members, strict=True):
        counts = np.bincount(y[member.train], minlength=data.n_classes)
        row[:] = (counts > 0) * len(member.train) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return weights
