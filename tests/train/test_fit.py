"""Training a stack: equal to training alone, and to a plain PyTorch loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from voxcache.errors import Diverged
from voxcache.train.architecture import Shape
from voxcache.train.config import PRESETS, Training
from voxcache.train.fit import Data, Fitted, Member, fit_stack
from voxcache.train.fusions import FUSIONS
from voxcache.train.heads import HEADS
from voxcache.train.optimiser import learning_rate
from voxcache.train.scaling import scaler
from voxcache.train.seeding import generator

N, DIM, CLASSES = 97, 20, 3


def make_data(n_encoders: int = 1, n_layers: int = 0) -> Data:
    """Return inputs that carry the class in their first features, neither centred nor scaled."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, N)
    shape = (N, n_layers, DIM) if n_layers else (N, DIM)
    xs = []
    for _ in range(n_encoders):
        x = rng.normal(size=shape)
        x[..., :CLASSES] += 1.5 * np.eye(CLASSES)[y].reshape(N, *[1] * (len(shape) - 2), CLASSES)
        xs.append((5 + 3 * x).astype(np.float32))
    return Data.of(xs, y, CLASSES, "cpu")


def make_members() -> list[Member]:
    """Return four models whose folds are of different sizes, so that they take different numbers of steps."""
    clips = np.random.default_rng(1).permutation(N)
    sizes = [(0, 0, 90), (0, 1, 47), (1, 0, 64), (7, 2, 33)]
    return [Member(seed, fold, clips[:n], clips[n : n + 5], clips[-12:]) for seed, fold, n in sizes]


def builder(name: str, n_encoders: int = 1) -> Callable[..., nn.Module]:
    """Return what builds a stack of a head or fusion with its defaults."""
    entry = (FUSIONS if name in FUSIONS else HEADS).get(name)
    return lambda rngs: entry.build(Shape((DIM,) * n_encoders, CLASSES), entry.options(), rngs)


@pytest.mark.parametrize(
    ("name", "n_encoders", "n_layers"),
    [
        ("fcn", 1, 0),
        ("linear", 1, 0),
        ("cnn", 1, 0),
        ("concat", 2, 0),
        ("reno", 3, 0),
        ("gated", 3, 0),
        ("cross-attention", 3, 0),
        ("fcn", 1, 4),
        ("reno", 2, 3),
    ],
)
def test_a_model_is_the_same_alone_and_in_a_stack(name: str, n_encoders: int, n_layers: int) -> None:
    """Probabilities, chosen epoch and layer weights agree to float tolerance; the members of fcn stop at different times."""
    data, members = make_data(n_encoders, n_layers), make_members()
    training = Training(epochs=5, patience=1, batch=16)
    together = fit_stack(builder(name, n_encoders), data, members, training)
    alone = [fit_stack(builder(name, n_encoders), data, [member], training)[0] for member in members]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.outputs, other.outputs, atol=2e-5)
        assert (one.best_epoch, one.n_epochs) == (other.best_epoch, other.n_epochs)
        for a, b in zip(one.layer_weights, other.layer_weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
            assert not a or sum(a) == pytest.approx(1)
    if name == "fcn" and not n_layers:
        assert len({one.n_epochs for one in together}) > 1


def test_a_schedule_runs_by_each_models_own_steps() -> None:
    """With warm-up and decay too, a model is the same alone and in a stack."""
    data, members = make_data(), make_members()
    training = Training(epochs=4, patience=9, batch=16, warmup_steps=5, decay="linear", class_weights="balanced")
    together = fit_stack(builder("fcn"), data, members, training)
    alone = [fit_stack(builder("fcn"), data, [member], training)[0] for member in members]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.outputs, other.outputs, atol=2e-5)


def plain_loop(data: Data, member: Member, training: Training) -> np.ndarray:
    """An ordinary training loop with torch.nn layers and Adam, started from the same weights, in the same order of clips."""
    stack = builder("mlp2")([generator(member.seed, member.fold, "weights")])
    linears = [module for module in stack.modules() if hasattr(module, "buffer")]
    net = nn.Sequential(*[nn.Linear(a, b) for a, b in pairwise((DIM, 256, CLASSES))])
    for ours, theirs in zip(linears, net, strict=True):
        theirs.weight.data, theirs.bias.data = ours.weight.data[0].T.clone(), ours.bias.data[0, 0].clone()
    x, y = data.xs[0], data.y
    x = (x - x[member.train].mean(0)) / x[member.train].std(0, correction=0)
    order = generator(member.seed, member.fold, "order")
    adam = torch.optim.Adam(net.parameters(), training.lr)
    for _ in range(training.epochs):
        for rows in torch.from_numpy(order.permutation(member.train)).split(training.batch):
            adam.zero_grad()
            F.cross_entropy(net[1](F.relu(net[0](x[rows]))), y[rows]).backward()
            adam.step()
    with torch.no_grad():
        return net[1](F.relu(net[0](x[member.test]))).softmax(-1).numpy()


def test_a_stack_of_one_is_a_plain_pytorch_loop() -> None:
    """With nothing watched and no dropout, probabilities equal those of an ordinary loop."""
    data, training = make_data(), Training(epochs=4, batch=16)
    member = make_members()[0]
    member = Member(member.seed, member.fold, member.train, member.inner[:0], member.test)
    ours = fit_stack(builder("mlp2"), data, [member], training)[0]
    np.testing.assert_allclose(ours.outputs, plain_loop(data, member, training), atol=2e-5)
    assert ours.best_epoch == training.epochs


def test_balanced_classes_weigh_as_scikit_learn_weighs_them() -> None:
    """Class weights equal sklearn's compute_class_weight("balanced") on the member's training clips."""
    from sklearn.utils.class_weight import compute_class_weight

    from voxcache.train.losses import class_weights

    data, members = make_data(), make_members()
    weights = class_weights(data, members, Training(class_weights="balanced"))
    for row, member in zip(weights, members, strict=True):
        y = data.y.numpy()[member.train]
        np.testing.assert_allclose(row, compute_class_weight("balanced", classes=np.arange(CLASSES), y=y), rtol=1e-6)


def test_classes_that_are_not_trained_on_weigh_nothing() -> None:
    """A class that is only among the watched clips has weight 0; the others weigh as without it."""
    from voxcache.train.losses import class_weights

    data = make_data()
    train = np.flatnonzero(data.y.numpy() != 1)
    inner = np.flatnonzero(data.y.numpy() == 1)
    (weights,) = class_weights(data, [Member(0, 0, train, inner, inner)], Training(class_weights="balanced"))
    counts = np.bincount(data.y.numpy()[train], minlength=CLASSES)
    np.testing.assert_allclose(weights, [len(train) / (2 * n) if n else 0 for n in counts], rtol=1e-6)


@pytest.mark.parametrize("watched", [True, False])
def test_models_that_diverge_are_named(*, watched: bool) -> None:
    """Without a finite loss, or without finite outputs where nothing is watched, there is no result; seeds are named."""
    data, members = make_data(), make_members()
    if not watched:
        members = [replace(member, inner=member.inner[:0]) for member in members]
    with pytest.raises(Diverged, match=r"seed 0, fold 0 and 3 more: diverged: .* Use a lower `lr`") as caught:
        fit_stack(builder("fcn"), data, members, Training(epochs=2, lr=1e38))
    assert caught.value.seeds == {0, 1, 7}


def test_global_random_state_neither_matters_nor_moves() -> None:
    """Two runs under different global seeds agree bit for bit, and leave torch's and numpy's state alone."""

    def run(seed: int) -> Fitted:
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state()
        got = fit_stack(builder("fcn"), make_data(), make_members()[:1], Training(epochs=2))[0]
        assert torch.equal(before, torch.get_rng_state())
        return got

    assert np.array_equal(run(1).outputs, run(2).outputs)


def test_the_scaler_sees_training_clips_only() -> None:
    """Changing every clip outside a member's training clips leaves its mean and deviation as they were."""
    data, member = make_data(), make_members()[3]
    changed = data.xs[0].clone()
    outside = np.setdiff1d(np.arange(N), member.train)
    changed[outside] *= 100
    for ours, theirs in zip(scaler(data.xs[0], [member]), scaler(changed, [member]), strict=True):
        assert torch.equal(ours, theirs)


def test_the_reported_fold_never_decides_when_to_stop() -> None:
    """Other labels on the tested clips change neither probabilities nor the chosen epoch."""
    data, member = make_data(), make_members()[3]
    y = data.y.clone()
    y[member.test] = (y[member.test] + 1) % CLASSES
    member = Member(
        member.seed,
        member.fold,
        *(np.setdiff1d(part, member.test) for part in (member.train, member.inner)),
        member.test,
    )
    training = Training(epochs=4, patience=1, batch=16)
    one = fit_stack(builder("fcn"), data, [member], training)[0]
    other = fit_stack(builder("fcn"), Data(data.xs, y, CLASSES), [member], training)[0]
    assert np.array_equal(one.outputs, other.outputs)
    assert one.best_epoch == other.best_epoch


def test_constant_features_are_left_finite() -> None:
    """A feature that never changes is scaled by 1 instead of divided by zero."""
    x = torch.full((10, 2), 3.0)
    _, std = scaler(x, [Member(0, 0, np.arange(10), np.arange(0), np.arange(0))])
    assert torch.equal(std, torch.ones(1, 1, 2))


def test_learning_rates_follow_voc2vecs_schedule() -> None:
    """Linear to 1e-4 over 500 steps, then linearly down (voc2vec, section III): values at chosen steps by hand."""
    preset = PRESETS["voc2vec"]
    rates = [learning_rate(preset, taken, 1500) for taken in (0, 249, 499, 500, 1000, 1500)]
    np.testing.assert_allclose(rates, [2e-7, 5e-5, 1e-4, 1e-4, 5e-5, 0.0], atol=1e-12)


@pytest.mark.parametrize("name", ["fcn", "cnn", "concat", "gated"])
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_weights_moved_in_the_backward_pass_train_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str, *, scheduled: bool, compiled: bool
) -> None:
    """Models whose weights move block by block, in torch or in C, become those whose gradients stand whole."""
    n_encoders = 2 if name in FUSIONS else 1
    training = Training(epochs=3, batch=16, warmup_steps=5 if scheduled else 0, weight_decay=0.01)
    data, members, build = make_data(n_encoders), make_members(), builder(name, n_encoders)
    whole = fit_stack(build, data, members, training)
    monkeypatch.setattr("voxcache.train.layers.FACTORED_BYTES", 0)
    if not compiled:
        monkeypatch.setattr("voxcache.train.optimiser.kernel", lambda: None)
    monkeypatch.setattr("voxcache.train.optimiser.BLOCK_BYTES", 5_000)
    blocks = fit_stack(build, data, members, training)
    for a, b in zip(whole, blocks, strict=True):
        assert (a.best_epoch, a.n_epochs) == (b.best_epoch, b.n_epochs)
        np.testing.assert_allclose(a.outputs, b.outputs, atol=2e-4)
