"""The scaler that stands before every network: fitted on each model's own training clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .frames import Ragged, Stored

if TYPE_CHECKING:
    from .fit import Member


def scaler(x: Tensor | Ragged | Stored, members: Sequence[Member]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each member's training clips, [model, 1, ...]; 1 where a feature is constant."""
    means, stds = [], []
    for member in members:
        mean, std = _moments(x, member.train)
        constant = std <= 1e-6 * mean.abs() + 1e-12
        means.append(mean)
        stds.append(torch.where(constant, torch.ones_like(std), std))
    return torch.stack(means), torch.stack(stds)


def _moments(x: Tensor | Ragged | Stored, clips: np.ndarray) -> tuple[Tensor, Tensor]:
    if isinstance(x, Ragged | Stored):
        return x.moments(torch.from_numpy(clips).to(x.length.device))
    own = x[torch.from_numpy(clips).to(x.device)]
    return own.mean(0, keepdim=True), own.std(0, correction=0, keepdim=True)
