"""Reading a store against numpy on the same data, in one run.

    python benchmarks/reading.py [--clips 20000] [--rounds 9]

Writes [clip, 13, 768] float32 as a store, as a .zip and as .npy files, then reads one layer of all clips, a random 80 % of
its rows, and the frames of 2,000 clips in random batches of 32 (ms of a whole pass): with a new reader, which compares every
checksum, and with one that has compared them. Medians over rounds that alternate, warm page cache.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from voxcache.allocator import keep_freed_memory
from voxcache.store import EncoderGroup, Products, UnitData, create_store, open_store, register_clips, register_encoder
from voxcache.store.archive import write_archive

LAYERS, DIM, FRAME_CLIPS, BATCH = 13, 768, 2000, 32
Way = Callable[[], Any]


def write(folder: Path, n: int) -> None:
    """Make the same numbers as a store, as a .zip, and as .npy files."""
    rng = np.random.default_rng(0)
    length = rng.integers(50, 350, n)
    corpus, _ = register_clips(
        create_store(folder / "s.zarr"),
        "bench",
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
    write_archive(folder / "s.zarr", folder / "s.zip")


def rows_of(encoder: EncoderGroup) -> np.ndarray:
    """Return a random 80 % of the clips, in the order of the store."""
    n = encoder.corpus.n_clips
    return np.sort(np.random.default_rng(1).permutation(n)[: int(n * 0.8)])


def pooled_ways(folder: Path) -> dict[str, Way]:
    """Return ways to read pooled vectors."""
    encoder, packed = (open_store(folder / name).corpus("bench").encoder("e") for name in ("s.zarr", "s.zip"))
    subset = rows_of(encoder)
    return {
        "one layer, np.load": lambda: np.load(folder / "layer.npy"),
        "one layer": lambda: encoder.pooled(6),
        "one layer, .zip": lambda: packed.pooled(6),
        "80 % of its rows, np.load": lambda: np.load(folder / "layer.npy")[subset],
        "80 % of its rows": lambda: encoder.pooled(6, rows=subset),
        "80 % of its rows, .zip": lambda: packed.pooled(6, rows=subset),
    }


def frame_ways(folder: Path) -> dict[str, Way]:
    """Return ways to go through all clips in random batches of 32: with a new reader or map, and with one that has seen them."""
    encoder, packed = (open_store(folder / name).corpus("bench").encoder("e") for name in ("s.zarr", "s.zip"))
    length = encoder.frames(12).length
    ends = np.cumsum(length)
    rng = np.random.default_rng(2)

    def batches() -> list[np.ndarray]:
        order = rng.permutation(min(len(ends), FRAME_CLIPS))
        return [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]

    def map_frames() -> Callable[[np.ndarray], Any]:
        mapped = np.load(folder / "frames.npy", mmap_mode="r")
        return lambda rows: [np.array(mapped[ends[i] - length[i] : ends[i]]) for i in rows]

    def run(read: Callable[[np.ndarray], Any]) -> Way:
        shuffled = batches()
        return lambda: [read(rows) and None for rows in shuffled]

    seen = [map_frames(), encoder.frames(12).read, packed.frames(12).read]
    for read in seen:
        run(read)()
    return {
        "first pass, memory map": lambda: run(map_frames()),
        "first pass, checksums compared": lambda: run(encoder.frames(12).read),
        "first pass, .zip": lambda: run(packed.frames(12).read),
        "later passes, memory map": lambda: run(seen[0]),
        "later passes": lambda: run(seen[1]),
        "later passes, .zip": lambda: run(seen[2]),
    }


def medians(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Return the median ms of each way, rounds alternating. A way that returns a function is set up and then timed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            done = way()
            if callable(done):
                began = time.perf_counter()
                done()
            times[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


RATIOS = {
    "one layer": ("one layer, np.load",),
    "one layer, .zip": ("one layer",),
    "80 % of its rows": ("one layer", "80 % of its rows, np.load"),
    "80 % of its rows, .zip": ("80 % of its rows",),
    "first pass, checksums compared": ("first pass, memory map",),
    "first pass, .zip": ("first pass, checksums compared",),
    "later passes": ("later passes, memory map",),
    "later passes, .zip": ("later passes",),
}


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", type=Path, help="folder that keeps the data for the next run")
    options = parser.parse_args()
    keep_freed_memory()  # as `voxcache train` does; without it every way waits for the kernel to zero pages, and ratios shrink
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch)
        if not (folder / "s.zip").exists():
            print("writing …", file=sys.stderr)
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, options.clips)
        ms = medians(pooled_ways(folder), options.rounds) | medians(frame_ways(folder), options.rounds)
    for name, others in RATIOS.items():
        against = "; ".join(f"{ms[name] / ms[other]:.2f} x {other} ({ms[other]:.1f})" for other in others)
        print(f"{name}: {ms[name]:.1f} ms = {against}")


if __name__ == "__main__":
    main()
