"""The selective scan in its three ways, against the recurrence written as a loop."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from voxcache.extract.encoders import selective_scan as ways
from voxcache.extract.encoders import selective_scan_native as native
from voxcache.extract.encoders.exactness import relative_error
from voxcache.extract.encoders.selective_scan import Scan, scan_cuda, scan_torch, selective_scan


def inputs(n_windows: int, n_time: int, n_channel: int, n_state: int = 24) -> Scan:
    """Random inputs in the ranges of a model; B, C and z are column slices, as a model gives them."""
    draw = torch.Generator().manual_seed(n_time + n_channel)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    wide, low = normal(n_windows, n_time, 2 * n_channel), normal(n_windows, n_time, 12 + 2 * n_state)
    return Scan(
        u=normal(n_windows, n_time, n_channel),
        dt=3 * normal(n_windows, n_time, n_channel) - 3,
        A=-24 * torch.rand(n_channel, n_state, generator=draw),
        B=low[..., 12 : 12 + n_state],
        C=low[..., 12 + n_state :],
        D=normal(n_channel),
        z=wide[..., n_channel:],
    )


def loop(scan: Scan) -> torch.Tensor:
    """Mamba's equation 2 with skip and gate, one step after the other, in float64."""
    s = Scan(*(getattr(scan, field.name).double() for field in fields(Scan)))
    h = torch.zeros(s.u.shape[0], *s.A.shape, dtype=torch.float64)
    rows = []
    for t in range(s.u.shape[1]):
        step = torch.logaddexp(s.dt[:, t, :, None], torch.zeros(1, dtype=torch.float64))
        h = torch.exp(step * s.A) * h + step * s.B[:, t, None] * s.u[:, t, :, None]
        y = (s.C[:, t, None] * h).sum(-1) + s.D * s.u[:, t]
        rows.append(y * s.z[:, t] / (1 + torch.exp(-s.z[:, t])))
    return torch.stack(rows, dim=1)


def scan_native(scan: Scan) -> torch.Tensor:
    """Our C kernel, or skip."""
    kernel = native.native_kernel()
    if kernel is None:
        pytest.skip("no C compiler here")
    return native.scan_native(kernel, scan)


WAYS = pytest.mark.parametrize("way", [scan_torch, scan_native])


@WAYS
@pytest.mark.parametrize(("n_windows", "n_time"), [(1, 1), (3, 7), (1, 8), (2, 251)])
def test_equals_the_loop(way: Callable[[Scan], torch.Tensor], n_windows: int, n_time: int) -> None:
    """Both CPU ways agree with the recurrence in float64, for a single step, whole blocks of steps and a remainder."""
    scan = inputs(n_windows, n_time, 192)
    assert relative_error(way(scan), loop(scan)) < 1e-6


@WAYS
@pytest.mark.parametrize("step", [-69.0, -14.0, 30.0])
def test_extreme_steps(way: Callable[[Scan], torch.Tensor], step: float) -> None:
    """A state that is kept for ever (steps of 1e-30), and one forgotten at once, come out as the loop has them."""
    scan = inputs(1, 40, 96)
    scan = Scan(**{**vars(scan), "dt": torch.full_like(scan.dt, step), "z": 20 * scan.z})
    assert relative_error(way(scan), loop(scan)) < 1e-6


def test_any_number_of_channels() -> None:
    """Sizes that the C kernel has no place for take another way to the same numbers."""
    for n_channel, n_state in ((40, 24), (96, 65)):
        scan = inputs(1, 20, n_channel, n_state)
        assert relative_error(selective_scan(scan), loop(scan)) < 1e-6


def test_threads_do_not_change_the_numbers() -> None:
    """However many threads share the windows, every bit is the same."""
    scan, n_threads = inputs(2, 30, 192), torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(scan_native(scan))
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.fixture
def fresh_kernel() -> object:
    """Compile anew in this test, and again after it."""
    native.native_kernel.cache_clear()
    yield
    native.native_kernel.cache_clear()


@pytest.mark.usefixtures("fresh_kernel")
@pytest.mark.parametrize("compiler", ["not-there", "false"])
def test_without_a_compiler(compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no compiler, or it fails, scans run in torch."""
    (tmp_path / "false").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "false").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    scan = inputs(1, 5, 96)
    assert ways.scan_backend("cpu") == "torch"
    assert torch.equal(selective_scan(scan), scan_torch(scan))


def test_sizes_agree_with_the_source() -> None:
    """Python refuses exactly what the C source has no room for."""
    sizes = dict(re.findall(r"(BLOCK|MAX_STATE) = (\d+)", native.SOURCE.read_text()))
    assert sizes == {"BLOCK": str(native.BLOCK), "MAX_STATE": str(native.MAX_STATE)}


def test_layout_for_the_cuda_kernel() -> None:
    """mamba-ssm's kernel gets time last and contiguous, step sizes before softplus; its answer is turned back."""

    def fake(u, delta, A, B, C, *, D, z, delta_softplus):  # noqa: N803
        """Fakes mamba_ssm's selective_scan_fn: u, delta, z [batch, channel, time], A [channel, state], B, C [b, n, t]."""
        assert all(x.is_contiguous() for x in (u, delta, B, C, z))
        assert delta_softplus
        u, delta, B, C, z = (x.transpose(1, 2) for x in (u, delta, B, C, z))  # noqa: N806
        return loop(Scan(u, delta, A, B, C, D, z)).transpose(1, 2)

    scan = inputs(2, 9, 10, 3)
    assert relative_error(scan_cuda(fake, scan), loop(scan)) < 1e-12
