"""The selective scan at the heart of Mamba (Gu & Dao 2023, "Mamba", equation 2), forward only, in float32.

    h[t] = exp(s[t] A) h[t-1] + s[t] B[t] u[t]        y[t] = (C[t] h[t] + D u[t]) silu(z[t])        s = softplus(dt)

Three ways to the same numbers, the fastest that can be had here: mamba-ssm's kernel on CUDA, our C kernel on a CPU
with a compiler, torch operations everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from .selective_scan_native import native_kernel, scan_native

STEPS = 8
"""Time steps whose factors `scan_torch` computes at once: enough to hide the calls, few enough to stay in cache."""


@dataclass(frozen=True)
class Scan:
    """The inputs of one scan, all float32.

    Attributes:
        u: [window, time, channel] the sequence.
        dt: [window, time, channel] step sizes, before their softplus.
        A: [channel, state] rates of decay, below zero.
        B: [window, time, state] how the input enters the state.
        C: [window, time, state] how the state leaves.
        D: [channel] the skip.
        z: [window, time, channel] the gate, before its SiLU.
    """

    u: torch.Tensor
    dt: torch.Tensor
    A: torch.Tensor
    B: torch.Tensor
    C: torch.Tensor
    D: torch.Tensor
    z: torch.Tensor


def selective_scan(scan: Scan) -> torch.Tensor:
    """Return y, [window, time, channel] float32, by the fastest way there is for the inputs' device."""
    if scan.u.is_cuda and (kernel := cuda_kernel()) is not None:
        return scan_cuda(kernel, scan)
    if scan.u.device.type == "cpu" and (native := native_kernel()) is not None and native.fits(scan.A):
        return scan_native(native, scan)
    return scan_torch(scan)


def scan_backend(device: str) -> str:
    """Return which way scans go on a device: "mamba-ssm", "native" or "torch"."""
    if device.startswith("cuda"):
        return "mamba-ssm" if cuda_kernel() else "torch"
    return "native" if device.startswith("cpu") and native_kernel() else "torch"


@cache
def cuda_kernel() -> Callable[..., Any] | None:
    """Return mamba-ssm's `selective_scan_fn`, or None where it cannot be imported."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except Exception:  # built against another torch, it fails with more than ImportError
        return None
    return selective_scan_fn  # type: ignore[no-any-return]


def scan_cuda(kernel: Callable[..., Any], scan: Scan) -> torch.Tensor:
    """Run mamba-ssm's kernel, which keeps time last."""
    u, dt, B, C, z = (x.transpose(1, 2).contiguous() for x in (scan.u, scan.dt, scan.B, scan.C, scan.z))  # noqa: N806
    y: torch.Tensor = kernel(u, dt, scan.A, B, C, D=scan.D, z=z, delta_softplus=True)
    return y.transpose(1, 2)


def scan_torch(scan: Scan) -> torch.Tensor:
    """Scan with torch operations: factors for `STEPS` steps at once, then one multiply-add a step.

    Channels are innermost, so that every operation runs over long contiguous rows.
    """
    n_windows, n_time, n_channel = scan.u.shape
    A = scan.A.T.contiguous()  # noqa: N806  [state, channel]
    buffers = scan.u.new_empty(2, STEPS, n_windows, len(A), n_channel)
    steps = F.softplus(scan.dt)
    u, dt, B, C = (x.transpose(0, 1) for x in (scan.u, steps, scan.B, scan.C))  # noqa: N806  [time, window, _]
    y = scan.u.new_empty(n_time, n_windows, 1, n_channel)
    last = scan.u.new_zeros(n_windows, len(A), n_channel)
    for start in range(0, n_time, STEPS):
        t = slice(start, min(start + STEPS, n_time))
        decay, states = buffers[:, : t.stop - start].unbind()  # [step, window, state, channel]
        torch.mul(dt[t, :, None], A, out=decay).exp_()
        torch.mul((dt[t] * u[t])[:, :, None], B[t, :, :, None], out=states)
        for state, factor in zip(states.unbind(), decay.unbind(), strict=True):
            last = state.addcmul_(factor, last)
        torch.matmul(C[t, :, None], states, out=y[t])
        last = last.clone()  # its buffer is written again
    return y[:, :, 0].transpose(0, 1).addcmul(scan.u, scan.D).mul_(F.silu(scan.z))
