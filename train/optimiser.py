"""Adam over a stack of models, one slice a model: each has its own step count, and one that has no batch is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .config import Training
from .dense_native import Adam, kernel
from .layers import GradBuffer

BETAS, EPS = (0.9, 0.999), 1e-8
BLOCK_BYTES = 1_000_000
"""How much of a gradient is computed at once for Adam to use while it is in cache."""


class StackedAdam:
    """Fused Adam on views of stacked parameters.

    A stacked parameter seen as one tensor would share its step count, and move models that had no batch by their momentum;
    as slices, every model is updated exactly as it would be alone.

    Args:
        parameters: each [model, ...].
        steps: optimiser steps each model will take at most, for the decay of the learning rate.
        buffers: of weights among them; the large ones are updated block by block. See `GradBuffer`.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        training: Training,
        steps: Sequence[int],
        buffers: Sequence[GradBuffer] = (),
    ) -> None:
        self.parameters = list(parameters)
        self.large = [buffer for buffer in buffers if buffer.is_large]
        for buffer in self.large:
            buffer.update = partial(self._update, buffer)
        self.training = training
        self.steps = list(steps)
        self.taken = [0] * len(steps)
        self.active = [True] * len(steps)
        self.scheduled = training.warmup_steps > 0 or training.decay != "none"
        self.slices = self._slices()
        self.adam = self._adam()

    def begin(self, active: Sequence[bool]) -> None:
        """Begin a step that updates the models that are `active`: large weights already move in its backward pass."""
        self.active = list(active)
        for parameter in self.parameters:
            parameter.grad = None
        for buffer in self.large:
            buffer.n_uses = 0
            buffer.factors.clear()
        if self.scheduled:
            for group, taken, total in zip(self.adam.param_groups, self.taken, self.steps, strict=True):
                group["lr"] = learning_rate(self.training, taken, total)

    def step(self) -> None:
        """Update with the gradients that parameters and buffers hold."""
        for parameter, slices in zip(self.parameters, self.slices, strict=True):
            grads = parameter.grad.unbind(0) if parameter.grad is not None else [None] * len(slices)
            for view, grad, moves in zip(slices, grads, self.active, strict=True):
                view.grad = grad if moves else None
        self.adam.step()
        for buffer in self.large:
            if buffer.factors:
                self._move(buffer, buffer.factors, None)
        self.taken = [taken + int(moves) for taken, moves in zip(self.taken, self.active, strict=True)]

    def _update(self, buffer: GradBuffer, x: Tensor, dy: Tensor, wants_dx: bool) -> Tensor | None:
        """See `GradBuffer.update`: each block of the weight comes out of memory once for both products and Adam."""
        dx = torch.empty_like(x) if wants_dx else None
        self._move(buffer, [(x, dy)], dx)
        return dx

    @torch.no_grad()
    def _move(self, buffer: GradBuffer, factors: Sequence[tuple[Tensor, Tensor]], dx: Tensor | None) -> None:
        """Update a weight [model, in, out] by the sum of x^T dy over its factors, and write dx = dy W^T where it is wanted."""
        place = next(i for i, parameter in enumerate(self.parameters) if parameter is buffer.weight)
        for model, (view, moves) in enumerate(zip(self.slices[place], self.active, strict=True)):
            mine = [(x[model], dy[model]) for x, dy in factors]
            if moves:
                group = self.adam.param_groups[model if self.scheduled else 0]
                self._move_blocks(view, mine, group["lr"], None if dx is None else dx[model])
            elif dx is not None:
                torch.mm(mine[0][1], view.T, out=dx[model])

    def _move_blocks(
        self, weight: Tensor, factors: Sequence[tuple[Tensor, Tensor]], lr: float, dx: Tensor | None
    ) -> None:
        state = self.adam.state[weight]
        if not state:
            state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight))
        state["step"] += 1
        found = kernel()
        if found is not None and found.fits(weight) and len(factors) == 1:
            adam = Adam(lr, BETAS, EPS, self.training.weight_decay)
            found.run(weight, state, *factors[0], dx, adam)
            return
        n_rows = max(1, BLOCK_BYTES // (4 * weight.shape[1]))
        scratch = weight.new_empty(min(n_rows, len(weight)), weight.shape[1])
        for start in range(0, len(weight), n_rows):
            rows = slice(start, start + n_rows)
            block, grad = weight[rows], scratch[: len(weight[rows])]
            if dx is not None:
                torch.mm(factors[0][1], block.T, out=dx[:, rows])
            for i, (x, dy) in enumerate(factors):
                torch.addmm(grad, x[:, rows].T, dy, beta=int(i > 0), out=grad)
            torch._fused_adam_(
                [block],
                [grad],
                [state["exp_avg"][rows]],
                [state["exp_avg_sq"][rows]],
                [],
                [state["step"]],
                lr=lr,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=self.training.weight_decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
            )

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
            betas=BETAS,
            eps=EPS,
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
