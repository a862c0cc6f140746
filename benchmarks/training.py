"""Training all folds of a head as one stack against a plain PyTorch loop, fold after fold, in one run.

    python benchmarks/training.py [fcn cnn mlp2 linear reno reno-1024 concat cnn-lstm] [--epochs 3] [--rounds 3]

The plain loop is what one would write: nn.Module layers with the same sizes, batches by index, the inner split watched after every
epoch, torch.optim.Adam with its defaults; once more with `fused=True`. Fusions take two encoders; `cnn-lstm` takes 300
clips of 50 to 299 frames. Rounds alternate; medians of
seconds an epoch of all folds. The limit is what this machine could do at best: the matrix products at the rate of a large one,
plus Adam's seven passes over the parameters at the rate of a fused Adam.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from voxcache.train.architecture import Shape
from voxcache.train.config import Training
from voxcache.train.fit import Data, Member, fit
from voxcache.train.frames import Ragged
from voxcache.train.fusion_networks import renyi_divergence
from voxcache.train.fusions import FUSIONS
from voxcache.train.heads import HEADS

CLIPS, FOLDS, CLASSES, BATCH = 1085, 5, 7, 32
FRAME_CLIPS, FRAMES = 300, (50, 300)
DIMS = {"reno": (768, 768), "concat": (768, 768), "reno-1024": (768, 1024)}


def dense(n_in: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise([n_in, *hidden]):
        layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear([n_in, *hidden][-1], CLASSES))


def branch() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
    )  # fmt: skip


class PlainCnn(nn.Module):
    """The paper's CNN."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.features, self.dense = branch(), dense(dim // 4 * 64, (512, 128), 0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.dense(self.features(x.unsqueeze(1)).flatten(1))


class PlainFusion(nn.Module):
    """RENO, or its baseline without attention and divergence."""

    def __init__(self, dims: Sequence[int], *, attention: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branch() for _ in dims)
        self.tokens = 40 // len(dims)
        self.within = nn.ModuleList(nn.MultiheadAttention(64, 2, batch_first=True) for _ in dims if attention)
        self.across = nn.MultiheadAttention(64, 2, batch_first=True) if attention else None
        self.dense = dense(40 * 64, (512, 128), 0.3)
        self.extra: Tensor | float = 0.0

    def forward(self, *xs: Tensor) -> Tensor:
        """Return logits, and keep the divergence for the loss."""
        pooled = [
            F.adaptive_avg_pool1d(way(x.unsqueeze(1)), self.tokens).transpose(1, 2)
            for way, x in zip(self.branches, xs, strict=True)
        ]
        if self.across is None:
            return self.dense(torch.cat(pooled, 1).flatten(1))
        pooled = [x + way(x, x, x, need_weights=False)[0] for way, x in zip(self.within, pooled, strict=True)]
        p, q = (F.log_softmax(x.flatten(1), -1) for x in pooled)
        self.extra = 0.1 * renyi_divergence(p, q, alpha=0.5, eps=1e-8).mean()
        joint = torch.cat(pooled, 1)
        joint = joint + self.across(joint, joint, joint, need_weights=False)[0]
        return self.dense(joint.flatten(1))


class PlainCnnLstm(nn.Module):
    """EmotionShare's architecture 1 over padded frames and their lengths."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(dim, 128, 3, stride=2, padding=1), nn.LSTM(128, 128, 2, batch_first=True)
        self.dense = dense(128, (64,), 0.3)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        """Return logits."""
        steps = self.lstm(F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))[0]
        length = (length + 1) // 2
        own = torch.arange(steps.shape[1]) < length.unsqueeze(1)
        return self.dense((steps * own.unsqueeze(-1)).sum(1) / length.unsqueeze(1))


def plain(name: str, dims: Sequence[int]) -> nn.Module:
    """Return the same architecture as one would write it."""
    if name == "cnn":
        return PlainCnn(dims[0])
    if name == "cnn-lstm":
        return PlainCnnLstm(dims[0])
    if name in ("reno", "concat"):
        return PlainFusion(dims, attention=name == "reno")
    hidden = {"fcn": (512, 128), "mlp2": (256,), "linear": ()}[name]
    return dense(dims[0], hidden, 0.3 if name == "fcn" else 0.0)


def dims_of(data: Data) -> tuple[int, ...]:
    return tuple(x.dim if isinstance(x, Ragged) else x.shape[1] for x in data.xs)  # type: ignore[union-attr]


def scaled(data: Data, train: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """Return what gives the standardised inputs of clips: vectors, or padded frames and their lengths."""
    x = data.xs[0]
    if not isinstance(x, Ragged):
        stats = [(x[train].mean(0), x[train].std(0)) for x in data.xs]  # type: ignore[index]
        xs = [(x - mean) / std for x, (mean, std) in zip(data.xs, stats, strict=True)]
        return lambda rows: [x[rows] for x in xs]
    clips = [values.float() for values in x.values.split(x.length.tolist())]
    stacked = torch.cat([clips[clip] for clip in train])
    mean, std = stacked.mean(0), stacked.std(0)
    clips = [(clip - mean) / std for clip in clips]
    return lambda rows: [pad_sequence([clips[row] for row in rows], batch_first=True), x.length[rows]]


def plain_epochs(name: str, data: Data, members: Sequence[Member], *, epochs: int, fused: bool | None) -> None:
    """Train fold after fold."""
    for member in members:
        train, inner = torch.from_numpy(member.train), torch.from_numpy(member.inner)
        take = scaled(data, train)
        model, best, lowest = plain(name, dims_of(data)), None, float("inf")
        adam = torch.optim.Adam(model.parameters(), 1e-3, fused=fused)
        for _ in range(epochs):
            model.train()
            for rows in train[torch.randperm(len(train))].split(BATCH):
                adam.zero_grad()
                loss = F.cross_entropy(model(*take(rows)), data.y[rows]) + getattr(model, "extra", 0.0)
                loss.backward()
                adam.step()
            model.eval()
            with torch.no_grad():
                parts = inner.split(BATCH if name == "cnn-lstm" else len(inner))
                watched = float(F.cross_entropy(torch.cat([model(*take(rows)) for rows in parts]), data.y[inner]))
            if watched < lowest:
                lowest, best = watched, copy.deepcopy(model.state_dict())
        assert best is not None


def ours_epochs(name: str, data: Data, members: Sequence[Member], *, epochs: int) -> None:
    entry = (FUSIONS if name in FUSIONS else HEADS).get(name)
    shape = Shape(dims_of(data), CLASSES)
    training = Training(epochs=epochs, patience=epochs, batch=BATCH)
    fit(lambda rngs: entry.build(shape, entry.options(), rngs), data, members, training)


def setting(name: str) -> tuple[Data, list[Member]]:
    """Return clips, and a member a fold with a fifth of its training clips watched."""
    rng = np.random.default_rng(0)
    n = FRAME_CLIPS if name == "cnn-lstm" else CLIPS
    xs: list[Any] = [rng.normal(size=(n, dim)).astype(np.float32) for dim in DIMS.get(name, (768,))]
    if name == "cnn-lstm":
        xs = [[rng.normal(size=(rng.integers(*FRAMES), 768)).astype(np.float16) for _ in range(n)]]
    data = Data.of(xs, rng.integers(0, CLASSES, n), CLASSES, "cpu")
    folds = np.array_split(rng.permutation(n), FOLDS)
    members = []
    for fold, test in enumerate(folds):
        rest = np.concatenate([part for index, part in enumerate(folds) if index != fold])
        members.append(Member(0, fold, rest[len(rest) // 5 :], rest[: len(rest) // 5], test))
    return data, members


def limit_s(name: str, data: Data, members: Sequence[Member], rates: tuple[float, float]) -> float:
    """Return seconds an epoch would take were there nothing but products and Adam; `rates`: FLOP/s and bytes/s."""
    model = plain(name, dims_of(data))
    flops = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal flops
        if isinstance(module, nn.Linear):
            flops += 2 * output[0].numel() * module.in_features
        if isinstance(module, nn.Conv1d):
            flops += 2 * output[0].numel() * module.in_channels * 3
        if isinstance(module, nn.LSTM):
            flops += 2 * output[0][0].numel() * 4 * (module.input_size + 3 * module.hidden_size)

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        model(*scaled(data, torch.arange(2))(torch.arange(2)))
    clips, steps = sum(len(m.train) for m in members), sum(-(-len(m.train) // BATCH) for m in members)
    n_bytes = 7 * 4 * sum(parameter.numel() for parameter in model.parameters())
    return 3 * flops * clips / rates[0] + n_bytes * steps / rates[1]


def machine_rates() -> tuple[float, float]:
    """Return FLOP/s of a large float32 product, and bytes/s of a fused Adam over 32 M parameters."""
    a = torch.randn(2048, 2048)
    weights = [torch.randn(32_000_000) for _ in range(2)]
    adam = torch.optim.Adam([nn.Parameter(weights[0])], fused=True)
    adam.param_groups[0]["params"][0].grad = weights[1]
    products = seconds([lambda: a @ a], 7)[0]
    return 2 * 2048**3 / products, 7 * 4 * 32_000_000 / seconds([adam.step], 5)[0]


def seconds(ways: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Return medians of rounds that alternate."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, kept in zip(ways, times, strict=True):
            began = time.perf_counter()
            way()
            kept.append(time.perf_counter() - began)
    return [statistics.median(kept) for kept in times]


@cache
def _setting(given: str) -> tuple[Data, list[Member]]:
    return setting(given)


def plain_seconds(given: str, epochs: int, fused: bool | None) -> float:
    """Time the plain loop; called in a process of its own, as a user's script would run: ours changes the allocator."""
    data, members = _setting(given)
    way = partial(plain_epochs, given.partition("-1024")[0], data, members, epochs=epochs, fused=fused)
    return seconds([way], 1)[0]


def line(given: str, rates: tuple[float, float], epochs: int, rounds: int) -> str:
    """Measure one head or fusion; return its line of the table."""
    name = given.partition("-1024")[0]
    data, members = setting(given)
    with multiprocessing.get_context("spawn").Pool(1) as user:
        user.apply(plain_seconds, (given, 1, None))  # touches memory for the first time
        ours_epochs(name, data, members, epochs=1)  # compiles
        taken: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            taken[0].append(user.apply(plain_seconds, (given, epochs, None)))
            taken[1].append(user.apply(plain_seconds, (given, epochs, True)))
            taken[2] += seconds([partial(ours_epochs, name, data, members, epochs=epochs)], 1)
    slow, fused, ours = (statistics.median(kept) / epochs for kept in taken)
    limit = limit_s(name, data, members, rates)
    ratios = f"{slow / ours:11.2f} {fused / ours:11.2f} {ours / limit:11.2f}"
    return f"{given:12s} {slow:8.3f}   {fused:8.3f}   {ours:8.3f} {limit:8.3f} {ratios}"


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", default=["fcn", "cnn", "mlp2", "linear", "reno", "reno-1024", "concat", "cnn-lstm"]
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates = machine_rates()
    print(f"{torch.get_num_threads()} threads, {rates[0] / 1e9:.0f} GFLOP/s, Adam at {rates[1] / 1e9:.0f} GB/s")
    print(f"seconds an epoch of {FOLDS} folds; {CLIPS} clips, batch {BATCH}")
    print("                plain  fused Adam   voxcache    limit   plain/ours  fused/ours  ours/limit")
    for name in options.names:
        print(line(name, rates, options.epochs, options.rounds), flush=True)


if __name__ == "__main__":
    main()
