"""How writing a store grows with the clips in it: registering, committing, memory; nothing is embedded.

    python benchmarks/scale_of_store.py 1000 10000 100000 --encoders 3 --layers 13 --dim 768 --units 4

Every size runs in a process of its own. Made-up embeddings go through the same registration and commits that extraction
makes; only `--units` units of each encoder are filled (`--units 0`: all), since what a unit costs is what is asked. "again" is
registering a second time with nothing new, and finding out what is to do.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from voxcache.store import ColumnData, Corpus, EncoderWriter, Products, UnitData, create_store, register_clips
from voxcache.store.placing import register_encoder


def register(path: Path, n: int, options: argparse.Namespace) -> list[EncoderWriter]:
    """Register `n` clips with three columns, and the encoders."""
    label = np.array([f"class {i % 5}" for i in range(n)], dtype=object)
    columns = [
        ColumnData("label", "class", label),
        ColumnData("speaker", "group", label),
        ColumnData("arousal", "target", np.arange(n) / 7),
    ]
    corpus, _ = register_clips(
        create_store(path),
        "corpus",
        clip=[f"folder/clip-{i:07d}.wav" for i in range(n)],
        sha256=[f"{i:064x}" for i in range(n)],
        n_samples=[48_000] * n,
        columns=columns,
    )
    return [encoder(corpus, f"encoder-{i}", options) for i in range(options.encoders)]


def encoder(corpus: Corpus, name: str, options: argparse.Namespace) -> EncoderWriter:
    """Register one encoder, with frames of its last layer on request."""
    return register_encoder(
        corpus,
        name,
        key={"weights": name},
        n_layers=options.layers,
        dim=options.dim,
        n_frames=np.full(corpus.n_clips, options.frames),
        products=Products(frames=(options.layers - 1,) if options.frames else ()),
        about={"card": {"name": name}, "weights_origin": "random: made up by a benchmark"},
    )


def unit_of(rows: np.ndarray, options: argparse.Namespace) -> UnitData:
    """Return made-up embeddings of a unit."""
    pooled = np.random.default_rng(int(rows[0])).standard_normal(
        (len(rows), options.layers, options.dim), dtype=np.float32
    )
    frames = {options.layers - 1: [np.ones((options.frames, options.dim), np.float16)] * len(rows)}
    ok, reason = np.ones(len(rows), dtype=np.uint8), np.full(len(rows), "", dtype=object)
    return UnitData(ok, reason, pooled, frames=frames if options.frames else {})


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(n: int, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds, milliseconds and MB of one size."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "s.zarr"
        began = time.perf_counter()
        writers = register(path, n, options)
        registering = time.perf_counter() - began
        took = [commit_some(writer, options) for writer in writers]
        began = time.perf_counter()
        again = register(path, n, options)
        todo = sum(len(writer.todo()) for writer in again)
        found: dict[str, float] = {"registering, s": registering, "again, s": time.perf_counter() - began}
        files = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
        commits = np.concatenate(took)
        found |= {
            "first commits, ms": float(np.median(commits[:4])),
            "last commits, ms": float(np.median(commits[-4:])),
        }
        return found | {
            "units": len(commits),
            "units to do": todo,
            "objects": len(files),
            "MB": sum(files) / 1e6,
            "RSS, MB": peak_mb(),
        }


def commit_some(writer: EncoderWriter, options: argparse.Namespace) -> list[float]:
    """Commit units of one encoder; return the milliseconds of each."""
    took = []
    for unit, rows in list(writer.todo().items())[: options.units or None]:
        data = unit_of(rows, options)
        began = time.perf_counter()
        writer.commit(unit, rows, data)
        took.append((time.perf_counter() - began) * 1e3)
    return took


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=int, nargs="*", default=[1000, 10_000, 100_000])
    for name, default in (("encoders", 3), ("layers", 13), ("dim", 768), ("units", 4), ("frames", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", help="where to write; the disk of it is what is measured")
    options = parser.parse_args()
    for i, n in enumerate(options.clips):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, n, options).result()
        if i == 0:
            print("| clips | " + " | ".join(found) + " |\n|" + "---|" * (len(found) + 1))
        print(f"| {n:,} | " + " | ".join(f"{value:,.4g}" for value in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
