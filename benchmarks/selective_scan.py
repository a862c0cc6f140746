"""How long Audio-Mamba's scan takes beside a plain loop, its own matrix products and the whole forward pass.

    python benchmarks/selective_scan.py [--threads 2] [--rounds 7] [--windows 4]

Every round times everything once, in turn, so that a busy machine slows all alike; medians over the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

from voxcache.extract.encoders.audio_mamba import BANDS, ENTRIES, N_STATE, WINDOW_STEPS
from voxcache.extract.encoders.audio_mamba_model import AudioMamba, Mixer
from voxcache.extract.encoders.selective_scan import Scan, scan_backend, scan_torch, selective_scan

N_TOKENS = 1 + WINDOW_STEPS * BANDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--windows", type=int, default=4, help="windows of 2 s that run at once")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"scan by: {scan_backend('cpu')}; {options.threads} threads; medians of {options.rounds} rounds, ms a block")
    print(f"{'':18}{'loop':>9}{'torch':>9}{'scan':>9}{'products':>9}{'block':>9}   scan/loop scan/products scan/block")
    for name, entry in ENTRIES.items():
        ms = measure(entry.card.dim // BANDS, options.windows, options.rounds)
        scan = ms["scan"]
        print(f"{name:18}" + "".join(f"{value:9.2f}" for value in ms.values()), end="   ")
        print(f"{scan / ms['loop']:9.3f} {scan / ms['products']:13.2f} {scan / ms['block']:10.2f}")


@torch.inference_mode()
def measure(dim: int, n_windows: int, n_rounds: int) -> dict[str, float]:
    """Return medians in ms of one block's parts; every scan includes its softplus and gate, "block" is all of it."""
    torch.manual_seed(0)
    block = AudioMamba(dim).blocks[0]
    stream = torch.randn(n_windows, N_TOKENS, dim)
    scan = inputs(block.mixer, n_windows)
    parts: dict[str, Callable[[], object]] = {
        "loop": lambda: plain_loop(scan),
        "torch": lambda: scan_torch(scan),
        "scan": lambda: selective_scan(scan),
        "products": lambda: products(block.mixer, stream, scan.u),
        "block": lambda: stream + block(stream),
    }
    rounds = [{name: timed(run) for name, run in parts.items()} for _ in range(n_rounds + 1)]
    return {name: 1000 * median(times[name] for times in rounds[1:]) for name in parts}


def inputs(mixer: Mixer, n_windows: int) -> Scan:
    """Return what a mixer hands to its scan, at initialisation."""
    shape = (n_windows, N_TOKENS)
    dt = torch.randn(*shape, mixer.inner) + mixer.dt_proj.bias
    B, C = torch.split(torch.randn(*shape, 2 * N_STATE), N_STATE, dim=-1)  # noqa: N806
    u, z = torch.randn(*shape, mixer.inner), torch.randn(*shape, mixer.inner)
    return Scan(u, dt, -mixer.A_log.exp(), B, C, mixer.D, z)


def plain_loop(scan: Scan) -> torch.Tensor:
    """The recurrence as it is usually written: factors of all steps first, then one step after the other."""
    step = F.softplus(scan.dt)
    decay = (step[..., None] * scan.A).exp()  # [window, time, channel, state]
    dose = (step * scan.u)[..., None] * scan.B[:, :, None]
    h, rows = torch.zeros_like(decay[:, 0]), []
    for t in range(scan.u.shape[1]):
        h = decay[:, t] * h + dose[:, t]
        rows.append((h @ scan.C[:, t, :, None])[..., 0])
    y: torch.Tensor = torch.stack(rows, dim=1) + scan.D * scan.u
    return y * F.silu(scan.z)


def products(mixer: Mixer, x: torch.Tensor, u: torch.Tensor) -> None:
    """The four matrix products of one block."""
    mixer.in_proj(x)
    mixer.dt_proj(mixer.x_proj(u)[..., : mixer.rank])
    mixer.out_proj(u)


def timed(run: Callable[[], object]) -> float:
    """Return seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
