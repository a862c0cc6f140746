"""What a run keeps of its quiet speed beside others on the same cores, as voxcache waits and as OpenMP waits by itself.

    python benchmarks/contention.py [train extract] [--rounds 3] [--rows alone two four foreign] [--ways before now]

Each run is the real command in a process of its own: `voxcache train` of two encoders x fcn and cnn, `voxcache extract` of
Audio-Mamba (tiny). It runs alone, beside a copy of itself, beside three, and beside a foreign program: torch without
voxcache, which multiplies small matrices with all cores for ever and spins while it waits. `--spins` is what the column
"before" sets as GOMP_SPINCOUNT; 300,000 is what GNU's OpenMP does where nobody asks for anything else. A share is the
quiet time of its own column over the time beside others; on N cores, K equal runs can keep about 1 / K each.
Rounds alternate between the columns; medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-c", "from voxcache.cli import main; main()"]
FOREIGN = """
import torch
a = torch.randn(256, 256)
while True:
    a = torch.nn.functional.layer_norm(a @ a, (256,))
"""
STORE = """
store: base.zarr
corpora: {bursts: {adapter: synthetic}}
encoders: [logmel, wav2vec2-mini]
train: {split: {folds: 5, group: speaker}, heads: [fcn, cnn], seeds: [0, 1]}
"""
EXTRACT = """
store: mamba.zarr
corpora: {bursts: {adapter: synthetic}}
encoders: [{name: audio-mamba-tiny, weights: random}]
"""
BESIDE = {"alone": 0, "two": 1, "four": 3}


def environment(spins: int | None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return env if spins is None else env | {"GOMP_SPINCOUNT": str(spins)}


def prepare(folder: Path) -> None:
    """Make the corpus and the store that training reads."""
    (folder / "train.yaml").write_text(STORE, encoding="utf-8")
    (folder / "extract.yaml").write_text(EXTRACT, encoding="utf-8")
    subprocess.run([*COMMAND, "extract", "train.yaml", "--quiet"], cwd=folder, check=True)


def start(stage: str, base: Path, number: int, spins: int | None) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a run in a folder of its own that holds what it needs and no result."""
    folder = Path(tempfile.mkdtemp(prefix=f"{stage}-{number}-", dir=base))
    shutil.copy(base / f"{stage}.yaml", folder)
    if stage == "train":
        (folder / "base.zarr").symlink_to(base / "base.zarr")
    run = subprocess.Popen(
        [*COMMAND, stage, f"{stage}.yaml", "--quiet"], cwd=folder, env=environment(spins), stdout=subprocess.DEVNULL
    )
    return run, folder


def seconds(stage: str, base: Path, beside: int, spins: int | None) -> float:
    """Return how long a run takes, mean over it and the `beside` others that start with it."""
    began = time.perf_counter()
    waiting = [start(stage, base, number, spins) for number in range(beside + 1)]
    took = []
    while waiting:
        for run, folder in list(waiting):
            if run.poll() is not None:
                if run.returncode:
                    raise SystemExit(f"{stage}: exit code {run.returncode}")
                took.append(time.perf_counter() - began)
                waiting.remove((run, folder))
                shutil.rmtree(folder)
        time.sleep(0.02)
    return statistics.fmean(took)


def beside_foreign(stage: str, base: Path, spins: int | None) -> float:
    """Return how long a run takes beside the foreign program."""
    foreign = subprocess.Popen([sys.executable, "-c", FOREIGN], env=environment(None))
    time.sleep(3)
    try:
        return seconds(stage, base, 0, spins)
    finally:
        foreign.kill()
        foreign.wait()


def measure(stage: str, base: Path, rounds: int, rows: list[str], ways: dict[str, int | None]) -> None:
    """Print a stage's table."""
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for row in rows:
            for way, spins in ways.items():
                value = (
                    beside_foreign(stage, base, spins) if row == "foreign" else seconds(stage, base, BESIDE[row], spins)
                )
                took.setdefault((row, way), []).append(value)
                print(f"  {stage} {row} {way}: {value:.1f} s", file=sys.stderr, flush=True)
    median = {key: statistics.median(values) for key, values in took.items()}
    heads = " | ".join(f"{way}, s | share" for way in ways)
    print(f"\n| {stage} | {heads} |\n|---|{'---|---|' * len(ways)}")
    for row in rows:
        cells = [f"{median[row, way]:.1f} | {median[rows[0], way] / median[row, way]:.2f}" for way in ways]
        print(f"| {row} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", default=["train", "extract"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=[*BESIDE, "foreign"], default=[*BESIDE, "foreign"])
    parser.add_argument("--ways", nargs="+", choices=["before", "now"], default=["before", "now"])
    parser.add_argument("--spins", type=int, default=300_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="contention-") as name:
        base = Path(name)
        prepare(base)
        for stage in options.stages:
            spins = {"before": options.spins, "now": None}
            measure(stage, base, options.rounds, options.rows, {way: spins[way] for way in options.ways})


if __name__ == "__main__":
    main()
