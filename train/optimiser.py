"""Adam over a stack of models, one slice a model: each has its own step count, and one that has no batch is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .config import Training


class StackedAdam:
    """Fused Adam on views of stacked parameters.

    A stacked parameter seen as one tensor would share its step count, and move models that had no batch by their momentum;
    as slices, every model is updated exactly as it would be alone.

    Args:
        parameters: each [model, ...].
        steps: optimiser steps each model will take at most, for the decay of the learning rate.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], training: Training, steps: Sequence[int]) -> None:
        self.parameters = list(parameters)
        self.training = training
        self.steps = list(steps)
        self.taken = [0] * len(steps)
        self.scheduled = training.warmup_steps > 0 or training.decay != "none"
        self.slices = self._slices()
        self.adam = self._adam()

    def step(self, active: Sequence[bool]) -> None:
        """Update the models that are `active` with the gradients their parameters hold."""
        for parameter, slices in zip(self.parameters, self.slices, strict=True):
            grads = parameter.grad.unbind(0) if parameter.grad is not None else [None] * len(slices)
            for view, grad, moves in zip(slices, grads, active, strict=True):
                view.grad = grad if moves else None
        if self.scheduled:
            for group, taken, total in zip(self.adam.param_groups, self.taken, self.steps, strict=True):
                group["lr"] = learning_rate(self.training, taken, total)
        self.adam.step()
        self.taken = [taken + int(moves) for taken, moves in zip(self.taken, active, strict=True)]

    def keep(self, models: Sequence[int]) -> None:
        """Drop all models but `models` from the parameters, which are changed in place, and from the optimiser's state."""
        states = [[self.adam.state.get(slices[model], {}) for model in models] for slices in self.slices]
        for parameter in self.parameters:
            parameter.grad = None
            parameter.data = parameter.data[list(models)].contiguous()
        self.steps = [self.steps[model] for model in models]
        self.taken = [self.taken[model] for model in models]
        self.slices = self._slices()
        self.adam = self._adam()
        for slices, kept in zip(self.slices, states, strict=True):
            for view, state in zip(slices, kept, strict=True):
                self.adam.state[view] = state

    def _slices(self) -> list[list[Tensor]]:
        return [list(parameter.detach().unbind(0)) for parameter in self.parameters]

    def _adam(self) -> torch.optim.Adam:
        by_model = [list(views) for views in zip(*self.slices, strict=True)]
        groups = by_model if self.scheduled else [[view for views in by_model for view in views]]
        return torch.optim.Adam(
            [{"params": group} for group in groups],
            lr=self.training.lr,
            weight_decay=self.training.weight_decay,
            fused=True,
        )


def learning_rate(training: Training, taken: int, total: int) -> float:
    """Return the rate for the step after `taken` ones: a linear rise, then constant or a linear fall to 0 at `total`."""
    if taken < training.warmup_steps:
        return training.lr * (taken + 1) / training.warmup_steps
    if training.decay == "none":
        return training.lr
    return training.lr * max(0.0, (total - taken) / max(1, total - training.warmup_steps))
