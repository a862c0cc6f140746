"""Heads on frames: padding changes nothing, layers equal torch's own, and grids from end to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from voxcache.errors import ConfigError, TrainError
from voxcache.store.read import Store
from voxcache.train import inputs
from voxcache.train.architecture import Rngs, Shape
from voxcache.train.batching import ahead, bucketed
from voxcache.train.config import TrainConfig, Training
from voxcache.train.fit import Data, Member, fit_stack
from voxcache.train.frame_networks import CnnLstm, HalvingConv, LayerNorm, Lstm, attend
from voxcache.train.frame_source import FrameSource
from voxcache.train.frames import Padded, Ragged, Stored
from voxcache.train.heads import HEADS
from voxcache.train.networks import Network
from voxcache.train.plan import plan
from voxcache.train.results import open_results
from voxcache.train.run import run
from voxcache.train.scaling import scaler
from voxcache.train.tables import tables

HEADS_ON_FRAMES = ("cnn-lstm", "cnn-lstm-attention", "transformer")
DIM = 6


def rngs(n: int) -> list[np.random.Generator]:
    """Return a generator a model."""
    return [np.random.default_rng([3, i]) for i in range(n)]


def built(name: str, n_models: int, n_outputs: int = 3) -> nn.Module:
    """Return a stack of a head with its defaults."""
    entry = HEADS.get(name)
    module: nn.Module = entry.build(Shape((DIM,), n_outputs), entry.options(), rngs(n_models))
    return module


def clips_of(lengths: list[int]) -> list[np.ndarray]:
    """Return clips of these lengths, far from mean 0 so that padding would be seen."""
    rng = np.random.default_rng(len(lengths))
    return [(4 + rng.normal(size=(n, DIM))).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("name", HEADS_ON_FRAMES)
@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_padding_never_changes_a_prediction(name: str, lengths: list[int]) -> None:
    """A clip alone, through the scaler and the network of each of two models, gives what it gives in any batch, to 1e-5."""
    ragged = Ragged.of(clips_of(lengths), "cpu")
    members = [Member(i, 0, np.arange(len(lengths)), np.arange(0), np.arange(0)) for i in range(2)]
    network = Network(built(name, 2), [scaler(ragged, members)])
    rows = torch.arange(len(lengths)).repeat(2, 1)
    with torch.no_grad():
        together = network([ragged[rows]]).logits
        for clip in range(len(lengths)):
            alone = network([ragged[rows[:, clip : clip + 1]]]).logits
            torch.testing.assert_close(together[:, clip : clip + 1], alone, atol=1e-5, rtol=1e-5)


def test_the_halving_convolution_is_torchs() -> None:
    """Output equals conv1d of stride 2 and zero padding 1, for odd and even lengths."""
    layer = HalvingConv(rngs(2), 4, 5)
    for n_frames in (1, 8, 9):
        x = torch.randn(2, 3, n_frames, 4, generator=torch.Generator().manual_seed(0))
        out = layer(x)
        for model in range(2):
            filters = layer.dense.weight[model].view(3, 4, 5).permute(2, 1, 0)
            expected = F.conv1d(x[model].transpose(1, 2), filters, layer.dense.bias[model, 0], stride=2, padding=1)
            torch.testing.assert_close(out[model].transpose(1, 2), expected)


def test_an_lstm_layer_is_torchs() -> None:
    """Output equals torch.nn.LSTM with the weights of each model."""
    layer = Lstm(rngs(2), 4, 5)
    x = torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    for model in range(2):
        reference = nn.LSTM(4, 5, batch_first=True)
        with torch.no_grad():
            reference.weight_ih_l0.copy_(layer.input_weight[model])
            reference.weight_hh_l0.copy_(layer.hidden_weight[model])
            reference.bias_ih_l0.copy_(layer.input_bias[model])
            reference.bias_hh_l0.copy_(layer.hidden_bias[model])
        torch.testing.assert_close(out[model], reference(x[model])[0])


def test_a_layer_norm_is_torchs() -> None:
    """Output equals layer_norm with the weights of each model."""
    layer = LayerNorm(rngs(2), 4)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(8.0).view(2, 1, 1, 4))
        layer.bias.copy_(torch.arange(8.0).view(2, 1, 1, 4) - 3)
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    for model in range(2):
        expected = F.layer_norm(x[model], (4,), layer.weight[model, 0, 0], layer.bias[model, 0, 0])
        torch.testing.assert_close(layer(x)[model], expected)


@pytest.mark.parametrize("attention", [False, True])
def test_emotion_share_networks_are_the_papers(attention: bool) -> None:
    """One clip through nn.Conv1d, a two-layer nn.LSTM and the paper's mean or attention gives what the head gives."""
    net = CnnLstm(Shape((DIM,), 2), rngs(1), channels=4, lstm=5, hidden=(), dropout=0.0, attention=attention)
    (clip,) = clips_of([11])
    x = torch.from_numpy(clip)[None]
    with torch.no_grad():
        ours = net([Padded(x[None], torch.tensor([[11]]))], None).logits[0]
        filters = net.conv.dense.weight[0].view(3, DIM, 4).permute(2, 1, 0)
        conv = F.conv1d(x.transpose(1, 2), filters, net.conv.dense.bias[0, 0], stride=2, padding=1).relu()
        lstm = nn.LSTM(4, 5, num_layers=2, batch_first=True)
        for index, layer in enumerate((net.first, net.second)):
            getattr(lstm, f"weight_ih_l{index}").copy_(layer.input_weight[0])
            getattr(lstm, f"weight_hh_l{index}").copy_(layer.hidden_weight[0])
            getattr(lstm, f"bias_ih_l{index}").copy_(layer.input_bias[0])
            getattr(lstm, f"bias_hh_l{index}").copy_(layer.hidden_bias[0])
        steps, (hidden, _) = lstm(conv.transpose(1, 2))
        pooled = steps.mean(1)
        if net.query is not None:
            query = hidden.transpose(0, 1).reshape(1, 10) @ net.query[0]
            pooled = F.scaled_dot_product_attention(query[:, None], steps, steps)[:, 0]
        expected = pooled @ net.dense.out.weight[0] + net.dense.out.bias[0]
    torch.testing.assert_close(ours, expected)


def test_attention_looks_at_no_padding() -> None:
    """With equal keys, the values of a clip's own steps are averaged, whatever stands behind them."""
    steps = torch.zeros(1, 1, 4, 2)
    steps[0, 0, 2:] = 100
    out = attend(torch.ones(1, 1, 2), steps, torch.tensor([[2]]))
    assert torch.equal(out, torch.zeros(1, 1, 2))


def test_frames_are_scaled_over_training_frames() -> None:
    """Mean and deviation equal numpy's over all frames of the training clips, long clips weighing more."""
    clips = clips_of([3, 9, 1, 5])
    mean, std = scaler(Ragged.of(clips, "cpu"), [Member(0, 0, np.array([0, 1]), np.arange(0), np.arange(0))])
    both = np.concatenate(clips[:2])
    np.testing.assert_allclose(mean[0, 0], both.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std[0, 0], both.std(0), rtol=1e-4)


@pytest.mark.parametrize("name", HEADS_ON_FRAMES)
def test_a_model_on_frames_is_the_same_alone_and_in_a_stack(name: str) -> None:
    """Outputs and the chosen epoch agree to float tolerance."""
    rng = np.random.default_rng(0)
    clips = clips_of([int(n) for n in rng.integers(1, 9, 30)])
    data = Data.of([clips], rng.integers(0, 3, 30), 3, "cpu")
    members = [Member(seed, 0, np.arange(n), np.arange(20, 24), np.arange(24, 30)) for seed, n in ((0, 20), (1, 13))]
    training = Training(epochs=3, batch=8)
    entry = HEADS.get(name)

    def build(rngs: Rngs) -> nn.Module:
        module: nn.Module = entry.build(Shape((DIM,), 3), entry.options(), rngs)
        return module

    together = fit_stack(build, data, members, training)
    for member, one in zip(members, together, strict=True):
        other = fit_stack(build, data, [member], training)[0]
        np.testing.assert_allclose(one.outputs, other.outputs, atol=2e-5)
        assert one.best_epoch == other.best_epoch


@pytest.mark.parametrize("target", ["label", ("calm", "tired")])
def test_heads_on_frames_learn(make_store: Callable[..., Store], tmp_path: Path, target: Any) -> None:
    """Classes and targets, beside a head on vectors in the same grid."""
    store = make_store(frames=True, encoders=("alpha",), targets=("calm", "tired"), failed={"alpha": (4,)})
    config = {"heads": [*HEADS_ON_FRAMES, "linear"], "target": target, "seeds": [0], "device": "cpu"}
    quick = {"split": {"folds": 2}, "training": {"epochs": 25, "lr": 3e-3, "batch": 16}}
    summary = run(TrainConfig.model_validate({**config, **quick}), store, tmp_path, quiet=True)
    with open_results(tmp_path) as results:
        cells = [(place, cell) for table in tables(summary.plan, results) for place, cell in table.cells.items()]
    assert sorted(row[1] for (row, _), _ in cells) == ["layer 2, frames"] * 3 + ["layer 2, mean"]
    for place, cell in cells:
        assert cell.scores["uar" if target == "label" else "spearman"].mean > 0.6, place


@pytest.mark.parametrize(
    ("made", "inputs", "message"),
    [
        ({}, {}, "reads frames, those of layer 2 of 'alpha' were not kept \\(kept: none\\)"),
        ({"frames": True}, {"layer": 0}, "those of layer 0 of 'alpha' were not kept \\(kept: 2\\)"),
        ({"frames": True}, {"layer": "weighted"}, "reads frames of one layer"),
    ],
)
def test_frames_that_were_not_kept_are_refused(
    make_store: Callable[..., Store], made: dict[str, Any], inputs: dict[str, Any], message: str
) -> None:
    """Before anything is trained, with what to extract."""
    config = TrainConfig.model_validate({"heads": ["cnn-lstm"], "inputs": inputs})
    with pytest.raises(ConfigError, match=message):
        plan(config, make_store(encoders=("alpha",), **made))


def source_of(clips: list[np.ndarray], asked: list[int]) -> FrameSource:
    """Return a source of clips that notes how many were read at once."""

    def read(wanted: np.ndarray) -> list[np.ndarray]:
        asked.append(len(wanted))
        return [clips[index] for index in wanted]

    return FrameSource(read, np.array([len(clip) for clip in clips]), DIM)


def test_frames_left_in_the_store_are_those_held_in_memory() -> None:
    """Batches are equal, scalers agree to 1e-6, and no more than 64 clips are ever read at once."""
    clips, asked = clips_of([3, 1, 9, 4] * 40), []
    held, stored = Ragged.of(clips, "cpu"), Stored.of(source_of(clips, asked), "cpu")
    rows = torch.tensor([[0, 5, 2], [7, 0, 0]])
    assert torch.equal(held[rows].values, stored[rows].values)
    assert torch.equal(held[rows].length, stored[rows].length)
    assert held.clip_bytes == stored.clip_bytes
    for ours, theirs in zip(stored.moments(torch.arange(3, 90)), held.moments(torch.arange(3, 90)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    assert max(asked) <= 64


def test_a_grid_over_frames_in_the_store_is_that_over_frames_in_memory(
    make_store: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no memory for frames, read ahead in a thread, `cnn-lstm` gives the same probabilities."""
    store = make_store(frames=True, encoders=("alpha",))
    config = TrainConfig.model_validate(
        {"heads": ["cnn-lstm"], "seeds": [0], "training": {"epochs": 2}, "device": "cpu", "split": {"folds": 3}}
    )
    found = []
    for held in (10**9, 0):
        monkeypatch.setattr(inputs, "HELD_BYTES", held)
        made = run(config, store, tmp_path / str(held), quiet=True).plan
        with open_results(tmp_path / str(held)) as results:
            found.append(results.predictions(made.experiments[0].key, 3)[1])
    np.testing.assert_allclose(found[0], found[1], atol=2e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=300), st.integers(1, 32), st.integers(0, 9))
def test_batches_of_similar_length_leave_no_clip_out(lengths: list[int], batch: int, seed: int) -> None:
    """Bucketing is a permutation of the clips, whatever their number."""
    clips = np.random.default_rng(seed).permutation(len(lengths))
    made = bucketed(clips, np.array(lengths), batch, np.random.default_rng(seed))
    assert sorted(made) == sorted(clips)


def test_batches_of_similar_length_need_less_padding() -> None:
    """With lengths from 50 to 300, padded frames are at most two thirds of those of random batches."""
    rng = np.random.default_rng(0)
    length, clips = rng.integers(50, 300, 1024), rng.permutation(1024)

    def padding(order: np.ndarray) -> int:
        batches = length[order].reshape(-1, 32)
        return int((batches.max(1, keepdims=True) - batches).sum())

    assert padding(bucketed(clips, length, 32, rng)) < padding(clips) * 2 / 3


def test_the_next_batch_is_made_while_this_one_is_used() -> None:
    """When an item is handed out, the one after it has been asked for; an error comes out where its item would."""
    begun = [threading.Event() for _ in range(3)]

    def work(item: int) -> int:
        begun[item].set()
        if item == 2:
            raise TrainError("two")
        return item

    made = ahead(iter(range(3)), work, threaded=True)
    assert next(made) == (0, 0)
    assert begun[1].wait(5)
    assert next(made) == (1, 1)
    with pytest.raises(TrainError, match="two"):
        next(made)
