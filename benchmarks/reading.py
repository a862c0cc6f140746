"""Reading a store against numpy on the same data, in one run.

    python benchmarks/reading.py [--clips 20000] [--rounds 5]

Writes [clip, 13, 768] float32 as a store and as .npy files, then reads one layer of all clips, a random 80 % of its rows,
all layers, and the frames of 32 random clips (against a memory map). Medians over rounds that alternate.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from voxcache.store import Products, UnitData, create_store, open_store, register_clips, register_encoder

LAYERS, DIM, FRAME_CLIPS = 13, 768, 2000


def write(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    length = rng.integers(50, 350, n)
    corpus, _ = register_clips(
        create_store(folder / "s.zarr"),
        "c",
        clip=[f"{i:06d}" for i in range(n)],
        sha256=["0" * 64] * n,
        n_samples=[16_000] * n,
    )
    framed = np.where(np.arange(n) < FRAME_CLIPS, length, 0)
    writer = register_encoder(
        corpus, "e", key={}, n_layers=LAYERS, dim=DIM, n_frames=framed, products=Products(frames=(12,)),
        about={"card": {}, "weights_origin": "none"},
    )  # fmt: skip
    layer = np.empty((n, DIM), np.float32)
    frames = []
    for unit, rows in writer.todo().items():
        pooled = rng.normal(size=(len(rows), LAYERS, DIM)).astype(np.float32)
        blocks = [rng.normal(size=(framed[row], DIM)).astype(np.float16) for row in rows]
        status, reason = np.ones(len(rows), np.uint8), np.full(len(rows), "", object)
        writer.commit(unit, rows, UnitData(status, reason, pooled, None, {12: blocks}))
        layer[rows] = pooled[:, 6]
        frames += blocks
    np.save(folder / "layer.npy", layer)
    np.save(folder / "frames.npy", np.concatenate(frames))


def ways(folder: Path) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    encoder = open_store(folder / "s.zarr").corpus("c").encoder("e")
    encoder.ledger()
    n = encoder.corpus.n_clips
    subset = np.sort(np.random.default_rng(1).permutation(n)[: int(n * 0.8)])
    frames = encoder.frames(12)
    mapped = np.load(folder / "frames.npy", mmap_mode="r")
    ends = np.cumsum(frames.length)
    picks = np.random.default_rng(2).choice(min(n, FRAME_CLIPS), 32, replace=False)
    return {
        "one layer": (lambda: encoder.pooled(6), lambda: np.load(folder / "layer.npy")),
        "80 % of its rows": (lambda: encoder.pooled(6)[subset], lambda: np.load(folder / "layer.npy")[subset]),
        "frames of 32 clips": (
            lambda: frames.read(picks),
            lambda: [np.array(mapped[ends[i] - frames.length[i] : ends[i]]) for i in picks],
        ),
    }


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.clips)
        for what, (ours, theirs) in ways(Path(folder)).items():
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(options.rounds):
                for way, kept in zip((ours, theirs), times, strict=True):
                    began = time.perf_counter()
                    way()
                    kept.append(time.perf_counter() - began)
            mine, numpy = (statistics.median(values) * 1000 for values in times)
            print(f"{what}: {mine:.1f} ms, numpy {numpy:.1f} ms, ratio {mine / numpy:.2f}")


if __name__ == "__main__":
    main()
