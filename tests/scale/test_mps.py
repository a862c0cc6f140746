"""A Mac's GPU in both stages, on a double (see tests/support/mps.py): chosen, named, never handed float64, the CPU's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from mps import MEMORY_BYTES, OnMps, made_mps
from torch import nn

from voxcache.errors import ConfigError
from voxcache.extract.calibrate import sample_limits, unmeasured
from voxcache.extract.devices import choose_device
from voxcache.extract.embed import Cutting, embed
from voxcache.extract.encoders.base import Card, Emit, Encoder, FrameRule, Request
from voxcache.extract.encoders.registry import load
from voxcache.store.schema import Products
from voxcache.train.architecture import Rngs, Shape
from voxcache.train.config import TrainConfig, Training
from voxcache.train.execute import pick_device
from voxcache.train.fit import Data, Member, fit_stack
from voxcache.train.heads import HEADS

N, DIM = 40, 12


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """A Mac's GPU for the length of a test, and what it was asked."""
    with made_mps(monkeypatch) as told:
        yield told


def test_a_macs_gpu_is_chosen_before_the_cpu_and_after_cuda(
    told: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` takes it in both stages; where CUDA is, that comes first."""
    assert choose_device("auto").name == pick_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto") == "cuda"
    assert pick_device("mps") == "mps"


def test_a_macs_gpu_says_what_it_is(told: Counter[str]) -> None:
    """Its name, what runs on the CPU instead, the memory for weights, and a batch budget of its own."""
    device = choose_device("mps")
    assert device.describe() == "mps (Apple M9); operations that it lacks run on the CPU"
    assert device.memory_bytes == MEMORY_BYTES // 2
    assert device.kind == "mps Apple M9"
    assert unmeasured("cpu") < unmeasured("mps") < unmeasured("cuda")
    assert sample_limits("mps") == sample_limits("cuda")


def test_a_macs_gpu_that_is_not_there_is_refused() -> None:
    """Both stages name their setting and what is expected."""
    for choose, where in ((choose_device, r"\$\.extract\.device"), (pick_device, r"train\.device")):
        with pytest.raises(ConfigError, match=rf"^{where}: mps asked for.*expected a Mac.*Use `device: auto`"):
            choose("mps")
    assert TrainConfig(device="mps").device == "mps"


@pytest.mark.parametrize("name", ["logmel", "wav2vec2-mini", "audio-mamba-tiny"])
def test_encoders_run_on_a_macs_gpu(name: str, told: Counter[str]) -> None:
    """Clips of different lengths in one batch give the CPU's means, deviations and frames; the GPU is waited for."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=n).astype(np.float32) * 0.1 for n in (9_000, 16_000, 12_345)]
    cutting, products = Cutting(budget_samples=10**6), Products(std=True, frames=(1,) if name != "logmel" else (0,))
    request = Request(name=name, weights=None if name == "logmel" else "random")
    on_cpu, on_mps = (
        embed(load(request, device), clips, cutting=cutting, products=products) for device in ("cpu", "mps")
    )
    assert told["synchronize"] == 1
    assert on_mps.status.tolist() == [1, 1, 1], on_mps.reason
    np.testing.assert_allclose(on_mps.pooled, on_cpu.pooled, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(on_mps.pooled_std, on_cpu.pooled_std, rtol=1e-3, atol=1e-4)
    for layer, frames in on_cpu.frames.items():
        for ours, theirs in zip(on_mps.frames[layer], frames, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2)


class _Full(Encoder):
    """A fake encoder on a GPU that holds one clip at a time; it says what it fakes."""

    card = Card(name="full", family="fake", source="none", dim=1, n_layers=1, frame=FrameRule("framed", 160, 400))
    device, dtype, weights_sha256, weights_origin, preprocessing = "mps", "float32", "", "none", {}

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        if len(waves) > 1:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)")
        emit(0, torch.ones(len(waves), self.card.frame.n_frames(max(n_samples)), 1, device=waves.device))


def test_a_full_macs_gpu_gets_smaller_batches(told: Counter[str]) -> None:
    """Its own words for being full halve the batch and free its memory; no clip is lost."""
    clips = [np.zeros(16_000, np.float32)] * 4
    found = embed(_Full(), clips, cutting=Cutting(budget_samples=64_000), products=Products())
    assert found.status.tolist() == [1] * 4
    assert told["empty_cache"] >= 1


def _fitted(head: str, device: str, n_classes: int, *, frames: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, DIM)).astype(np.float32)
    y = rng.integers(0, n_classes, N) if n_classes else x[:, :2].astype(np.float64) * 3 + 1e6
    inputs = [np.repeat(one[None], 2 + i % 5, axis=0) for i, one in enumerate(x)] if frames else x
    clips, targets = np.arange(N), () if n_classes else (0, 1)
    member = Member(0, 0, clips[:25], clips[25:30], clips[30:], targets)
    entry = HEADS.get(head)

    def build(rngs: Rngs) -> nn.Module:
        module: nn.Module = entry.build(Shape((DIM,), n_classes or 2), entry.options(), rngs)
        return module

    data = Data.of([inputs], y, n_classes, device)
    assert data.device.type == device
    return fit_stack(build, data, [member], Training(epochs=2, batch=8), keep=True)[0].outputs


@pytest.mark.parametrize(
    ("head", "n_classes", "frames"),
    [("fcn", 3, False), ("cnn", 0, False), ("linear", 0, False), ("cnn-lstm", 3, True), ("transformer", 0, True)],
)
def test_heads_are_fitted_on_a_macs_gpu(head: str, n_classes: int, frames: bool, told: Counter[str]) -> None:
    """Classes and targets, on vectors and frames; targets far from zero keep their float64 means on the CPU."""
    on_cpu, on_mps = (_fitted(head, device, n_classes, frames=frames) for device in ("cpu", "mps"))
    np.testing.assert_allclose(on_mps, on_cpu, rtol=1e-3, atol=1e-3)
    assert np.isfinite(on_mps).all()


def test_the_double_lacks_what_the_real_one_lacks(told: Counter[str]) -> None:
    """float64 is refused there, however it comes, and numpy is reached through the CPU only."""
    there = torch.ones(3).to("mps")
    assert isinstance(there * 2, OnMps)
    assert (there + 1).device.type == "mps"
    for wrong in (there.double, lambda: torch.zeros(2, dtype=torch.float64, device="mps"), there.numpy):
        with pytest.raises(TypeError):
            wrong()
    assert there.cpu().double().numpy().tolist() == [1, 1, 1]
