"""Training a stack of models together: all folds and seeds of one architecture on one set of inputs.

What a model becomes depends on its own seed, fold and clips alone, whichever models stand beside it (to float tolerance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..allocator import keep_freed_memory
from ..errors import Diverged
from .batching import ahead, bucketed
from .config import Training
from .frame_source import FrameSource
from .frames import Padded, Ragged, Stored
from .last_input import LastInput
from .layers import Linear, Noise
from .losses import loss_for, weighted_mean
from .networks import Network, n_parameters
from .optimiser import StackedAdam
from .scaling import scaler
from .seeding import generator

EVALUATED_ROWS = 512
STACK_BYTES = 1_500_000_000
CACHED_BYTES = 64_000_000
"""Weights, gradients and Adam's moments of a stack on a CPU. More of them leave its last cache between two steps: five models
of `cnn` (102 MB each) took 2.6 s an epoch as one stack and 2.1 one after the other; five of `fcn` (7 MB each) 0.12 and 0.21."""
_FRAME_COPIES = 6  # a padded batch, scaled, its neighbours side by side, and their gradients
_TOUCHED = 4  # a parameter, its gradient, Adam's two moments
_COPIES = _TOUCHED + 1  # and the best so far

Build = Callable[[Sequence[np.random.Generator]], nn.Module]


@dataclass(frozen=True)
class Member:
    """One model of a stack: its seed, its fold, and the clips it learns from, is stopped by and is tested on, int64 each.

    Attributes:
        targets: columns of the continuous targets it predicts; none for classes.
        stream: sets its random numbers apart from those of other models of its seed and fold.
    """

    seed: int
    fold: int
    train: np.ndarray
    inner: np.ndarray
    test: np.ndarray
    targets: tuple[int, ...] = ()
    stream: str = ""

    def generator(self, purpose: str) -> np.random.Generator:
        """Return the generator of this model for one purpose, whatever else stands in the stack."""
        path = (self.seed, self.fold, self.stream) if self.stream else (self.seed, self.fold)
        return generator(*path, purpose)


@dataclass(frozen=True)
class Data:
    """Inputs, one tensor an encoder, [clip, feature] or [clip, layer, feature], or frames; and what is to be learnt.

    `y` holds classes, int64 [clip], or, where `n_classes` is 0, continuous targets, float64 [clip, target], which stay on the
    CPU: not every device has float64.
    """

    xs: tuple[Tensor | Ragged | Stored, ...]
    y: Tensor
    n_classes: int

    @property
    def device(self) -> torch.device:
        """Where the inputs are, and the network will be."""
        first = self.xs[0]
        return first.length.device if isinstance(first, Ragged | Stored) else first.device

    @property
    def length(self) -> np.ndarray | None:
        """Frames of each clip, int64 [clip]; None where there are none."""
        return next((x.length.cpu().numpy() for x in self.xs if isinstance(x, Ragged | Stored)), None)

    @property
    def stored(self) -> bool:
        """Whether inputs are read when a batch wants them."""
        return any(isinstance(x, Stored) for x in self.xs)

    def take(self, rows: Tensor) -> list[Tensor | Padded]:
        """Return the inputs of clips, int64 [model, row]."""
        return [x[rows] for x in self.xs]

    @staticmethod
    def of(xs: Sequence[np.ndarray | Sequence[np.ndarray]], y: np.ndarray, n_classes: int, device: str) -> Data:
        """Return the arrays as tensors on a device."""
        return Data(
            tuple(_on(x, device) for x in xs), torch.from_numpy(y).to(device if n_classes else "cpu"), n_classes
        )


def _on(x: np.ndarray | Sequence[np.ndarray], device: str) -> Tensor | Ragged | Stored:
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x).to(device)
    return Stored.of(x, device) if isinstance(x, FrameSource) else Ragged.of(x, device)


@dataclass(frozen=True)
class Fitted:
    """What became of one model.

    Attributes:
        outputs: probabilities float32 [test, class], or predicted targets float32 [test, target].
        best_epoch: the epoch whose weights were kept, from 1; n_epochs: epochs trained.
        layer_weights: one list an encoder, empty where it gives one layer.
        features: what enters the last layer for the test clips, float16 [test, feature]; None where no layer stands before it.
        state: weights, scaler and the targets' scale by name, without the model axis, where they were to be kept.
    """

    outputs: np.ndarray
    best_epoch: int
    n_epochs: int
    n_parameters: int
    layer_weights: tuple[tuple[float, ...], ...]
    state: dict[str, np.ndarray] | None = None
    features: np.ndarray | None = None


def fit(build: Build, data: Data, members: Sequence[Member], training: Training, *, keep: bool = False) -> list[Fitted]:
    """Train every member and return what became of it, in order; in as few stacks as memory and cache allow.

    Args:
        keep: return each member's weights and scaler, too.
    """
    weights = n_parameters(build([generator("size")])) * 4
    per_stack = STACK_BYTES // (weights * _COPIES + _activation_bytes(data, training))
    if data.device.type == "cpu":
        keep_freed_memory()
        # models on frames would pad each other's batches
        per_stack = 1 if data.length is not None else min(per_stack, CACHED_BYTES // (weights * _TOUCHED))
    per_stack = max(1, per_stack)
    fitted: list[Fitted] = []
    for start in range(0, len(members), per_stack):
        fitted += fit_stack(build, data, members[start : start + per_stack], training, keep=keep)
    return fitted


def _activation_bytes(data: Data, training: Training) -> int:
    """Return about what a batch of frames takes while it is trained on; vectors take next to nothing."""
    clip = sum(x.clip_bytes for x in data.xs if isinstance(x, Ragged | Stored))
    return training.batch * clip * _FRAME_COPIES


def fit_stack(
    build: Build, data: Data, members: Sequence[Member], training: Training, *, keep: bool = False
) -> list[Fitted]:
    """Train the members as one stack."""
    stack = _Stack(build, data, members, training)
    for epoch in range(1, training.epochs + 1):
        stack.train_epoch()
        stack.keep_best(epoch)
        if not stack.drop_stopped(epoch):
            break
    return stack.finish(keep=keep)


class _Stack:
    """The state of a stack while it trains. `alive` are the members still training; parameters hold only these."""

    def __init__(self, build: Build, data: Data, members: Sequence[Member], training: Training) -> None:
        self.data, self.members, self.training = data, members, training
        self.alive = list(range(len(members)))
        device = data.device
        body = build([member.generator("weights") for member in members])
        self.network = Network(body, [scaler(x, members) for x in data.xs]).to(device)
        self.orders = [member.generator("order") for member in members]
        self.noises = [member.generator("dropout") for member in members]
        self.loss = loss_for(data, members, training)
        steps = [training.epochs * _n_steps(member, training) for member in members]
        buffers = [module.buffer for module in body.modules() if isinstance(module, Linear)]
        self.optimiser = StackedAdam(list(self.network.parameters()), training, steps, buffers)
        self.best = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.all_stats = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        self.best_loss = np.full(len(members), np.inf)
        self.best_epoch = np.zeros(len(members), dtype=int)
        self.n_epochs = np.zeros(len(members), dtype=int)
        self.length = data.length
        self.evaluated_rows = training.batch if self.length is not None else EVALUATED_ROWS

    def train_epoch(self) -> None:
        for (rows, n_rows), xs in ahead(
            self._batches(), lambda batch: self.data.take(batch[0]), threaded=self.data.stored
        ):
            self._step(rows, n_rows, xs)

    def keep_best(self, epoch: int) -> None:
        """Keep the weights of each member whose inner loss is the lowest yet; the last weights where nothing is watched."""
        losses = self._inner_losses()
        for place, member in enumerate(self.alive):
            self.n_epochs[member] = epoch
            if losses[place] < self.best_loss[member] or not len(self.members[member].inner):
                self.best_loss[member], self.best_epoch[member] = losses[place], epoch
                for best, parameter in zip(self.best, self.network.parameters(), strict=True):
                    best[member].copy_(parameter.detach()[place])

    def drop_stopped(self, epoch: int) -> bool:
        """Take members out that have not improved for `patience` epochs. Returns whether any are left."""
        going = [
            place for place, member in enumerate(self.alive) if epoch - self.best_epoch[member] < self.training.patience
        ]
        if len(going) < len(self.alive):
            self.alive = [self.alive[place] for place in going]
            self.optimiser.keep(going)
            self._set_stats(self.alive)
        return bool(self.alive)

    def finish(self, *, keep: bool) -> list[Fitted]:
        """Put every member's best weights back and predict its test clips. Raises `Diverged`."""
        self.alive = list(range(len(self.members)))
        for parameter, best in zip(self.network.parameters(), self.best, strict=True):
            parameter.grad = None
            parameter.data = best
        self._set_stats(self.alive)
        tests, places = zip(*(self._by_length(member.test) for member in self.members), strict=True)
        with LastInput(self.network) as last:
            outputs = self.loss.finish(self._evaluate(tests)).float().cpu().numpy()
        self._refuse_diverged([outputs[index, place] for index, place in enumerate(places)])
        features = last.values
        return [
            Fitted(
                outputs=outputs[index, places[index]],
                best_epoch=int(self.best_epoch[index]),
                n_epochs=int(self.n_epochs[index]),
                n_parameters=n_parameters(self.network),
                layer_weights=self._layer_weights(index),
                state=self._state(index) if keep else None,
                features=None if features is None else features[index, places[index]],
            )
            for index in range(len(tests))
        ]

    def _refuse_diverged(self, outputs: Sequence[np.ndarray]) -> None:
        """Raise `Diverged` for members that no epoch gave a finite inner loss, or whose outputs are not finite."""
        bad = [
            member
            for member, best, said in zip(self.members, self.best_epoch, outputs, strict=True)
            if best == 0 or not np.isfinite(said).all()
        ]
        if bad:
            fold = f", fold {bad[0].fold}" if bad[0].fold >= 0 else ""
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise Diverged(
                f"network of seed {bad[0].seed}{fold}{more}: diverged: expected finite losses and outputs, got NaN or infinity. "
                f"Use a lower `lr`.",
                seeds=[member.seed for member in bad],
            )

    def _batches(self) -> Iterator[tuple[Tensor, list[int]]]:
        """Yield rows int64 [model, row], padded with clip 0, and how many of them are each model's own."""
        members = [self.members[index] for index in self.alive]
        batch = self.training.batch
        n_steps = max(_n_steps(member, self.training) for member in members)
        shuffled = np.zeros((len(members), n_steps * batch), dtype=np.int64)
        for place, (index, member) in enumerate(zip(self.alive, members, strict=True)):
            order = self.orders[index].permutation(member.train)
            if self.length is not None:
                order = bucketed(order, self.length, batch, self.orders[index])
            shuffled[place, : len(member.train)] = order
        epoch = torch.from_numpy(shuffled).to(self.data.device)
        sizes = [len(member.train) for member in members]
        for start in range(0, n_steps * batch, batch):
            n_rows = [min(batch, max(0, size - start)) for size in sizes]
            yield epoch[:, start : start + max(n_rows)], n_rows

    def _step(self, rows: Tensor, n_rows: list[int], xs: list[Tensor | Padded]) -> None:
        own = torch.arange(rows.shape[1], device=rows.device) < torch.tensor(n_rows, device=rows.device).unsqueeze(1)
        noise = Noise([self.noises[index] for index in self.alive], n_rows, rows.shape[1])
        self.optimiser.begin([count > 0 for count in n_rows])
        output = self.network(xs, noise)
        loss = self.loss(output.logits, rows, own, self.alive)
        if output.extra_loss is not None:
            loss = loss + weighted_mean(output.extra_loss, own.to(output.extra_loss.dtype))
        loss.sum().backward()
        self.optimiser.step()

    def _inner_losses(self) -> np.ndarray:
        inner = [self._by_length(self.members[index].inner)[0] for index in self.alive]
        if not max(len(rows) for rows in inner):
            return np.full(len(inner), np.inf)
        logits = self._evaluate(inner)
        rows, n_rows = _padded(inner)
        own = torch.arange(rows.shape[1]) < torch.tensor(n_rows).unsqueeze(1)
        device = logits.device
        losses = self.loss(logits, torch.from_numpy(rows).to(device), own.to(device), self.alive)
        return losses.cpu().double().numpy()

    def _by_length(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return clips from the shortest on, so that batches of frames need little padding, and where each of them went."""
        if self.length is None:
            return clips, np.arange(len(clips))
        order = np.argsort(self.length[clips], kind="stable")
        return clips[order], np.argsort(order, kind="stable")

    @torch.no_grad()
    def _evaluate(self, wanted: Sequence[np.ndarray]) -> Tensor:
        """Return logits [model, row, class] for each model's own rows, padded with clip 0."""
        rows = torch.from_numpy(_padded(wanted)[0]).to(self.data.device)
        wide = torch.split(rows, self.evaluated_rows, dim=1)
        parts = [self.network(xs).logits for _, xs in ahead(iter(wide), self.data.take, threaded=self.data.stored)]
        return torch.cat(parts, dim=1)

    def _set_stats(self, members: Sequence[int]) -> None:
        for name, stat in self.all_stats.items():
            setattr(self.network, name, stat[list(members)])

    def _state(self, member: int) -> dict[str, np.ndarray]:
        tensors = {**self.network.state_dict(), **self.loss.state()}
        return {name: tensor[member].cpu().numpy().copy() for name, tensor in tensors.items()}

    def _layer_weights(self, member: int) -> tuple[tuple[float, ...], ...]:
        weights = [self.network.layer_weights(index) for index in range(len(self.data.xs))]
        return tuple(() if weight is None else tuple(weight[member].tolist()) for weight in weights)


def _n_steps(member: Member, training: Training) -> int:
    return -(-len(member.train) // training.batch)


def _padded(wanted: Sequence[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    sizes = [len(rows) for rows in wanted]
    padded = np.zeros((len(wanted), max(sizes)), dtype=np.int64)
    for place, rows in zip(padded, wanted, strict=True):
        place[: len(rows)] = rows
    return padded, sizes
