"""What enters the last layer of a network: the embedding it learnt."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .layers import Dense


class LastInput:
    """Keeps what enters the last of the dense layers while a network is evaluated."""

    def __init__(self, network: nn.Module) -> None:
        dense = [module for module in network.modules() if isinstance(module, Dense) and len(module.hidden)]
        self.layer = dense[-1].out if dense else None
        self.parts: list[np.ndarray] = []

    def __enter__(self) -> LastInput:
        if self.layer is not None:
            self.handle = self.layer.register_forward_pre_hook(lambda _, given: self._keep(given[0]))
        return self

    def __exit__(self, *_: object) -> None:
        if self.layer is not None:
            self.handle.remove()

    def _keep(self, x: Tensor) -> None:
        largest = torch.finfo(torch.float16).max
        self.parts.append(x.detach().clamp(-largest, largest).half().cpu().numpy())

    @property
    def values(self) -> np.ndarray | None:
        """What was kept, float16 [model, row, feature]."""
        return np.concatenate(self.parts, axis=1) if self.parts else None
