"""Kill extraction with SIGKILL at random moments, again and again, and compare what is left with an undisturbed run.

    python tests/e2e/kill_loop.py --kills 200

After every kill the store must open, every row it calls ok must hold exactly the undisturbed run's values, and the next
run must go on from there. When a run gets through, every object must equal the undisturbed run's, byte for byte, but the
root's attributes, which carry the store's identity.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import Pipeline, check
from voxcache.store import open_store


def pipeline(work: Path, store: str) -> Pipeline:
    """Return a small run with several units, layers, statistics and frames."""
    data = {
        "store": str(work / store),
        "corpora": {
            "bursts": {
                "adapter": "synthetic",
                "root": str(work / "audio"),
                "n_speakers": 3,
                "clips_per_class_per_speaker": 2,
            }
        },
        "encoders": ["logmel", {"name": "wav2vec2-mini", "frames": [2, "last"]}, {"name": "mfcc", "frames": ["last"]}],
        "extract": {"unit_clips": 8, "statistics": ["mean", "std"], "batch_s": 5},
    }
    return check(Pipeline, data, where="kill loop")


def start(config: Pipeline) -> int:
    """Fork a process that extracts, and return its id; it has torch loaded already, so that work begins at once."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 1
        try:
            extract(config, Reporter(quiet=True))
            code = 0
        finally:
            os._exit(code)
    return child


def contents(store: Path) -> dict[str, bytes]:
    """Return every object of a store but the root's attributes."""
    files = (file for file in store.rglob("*") if file.is_file() and not file.name.endswith(".partial"))
    return {str(file.relative_to(store)): file.read_bytes() for file in files if file != store / "zarr.json"}


def check_rows(store: Path, reference: Path) -> int:
    """Compare every ok row with the undisturbed run; return how many there are."""
    if not (store / "zarr.json").exists():
        return 0
    held, whole, n_ok = open_store(store), open_store(reference), 0
    for corpus in held.corpora:
        for name in held.corpus(corpus).encoders:
            encoder, expected = held.corpus(corpus).encoder(name), whole.corpus(corpus).encoder(name)
            ok = encoder.ledger().ok
            n_ok += int(ok.sum())
            np.testing.assert_array_equal(encoder.pooled_all()[ok], expected.pooled_all()[ok])
            for layer in encoder.frame_layers:
                frames = encoder.frames(layer)
                rows = np.flatnonzero(frames.length)
                for got, want in zip(frames.read(rows), expected.frames(layer).read(rows), strict=True):
                    np.testing.assert_array_equal(got, want)
    return n_ok


def run(kills: int, seed: int, work: Path) -> None:
    """Kill `kills` times in all, over as many stores as that takes."""
    rng = random.Random(seed)
    began = time.monotonic()
    extract(pipeline(work, "warm.zarr"), Reporter(quiet=True))
    extract(pipeline(work, "whole.zarr"), Reporter(quiet=True))
    began = time.monotonic()
    os.waitpid(start(pipeline(work, "timed.zarr")), 0)
    duration = time.monotonic() - began
    expected = contents(work / "whole.zarr")
    done = rounds = 0
    while done < kills:
        rounds += 1
        store = work / f"killed-{rounds}.zarr"
        config = pipeline(work, store.name)
        left = duration
        for _ in range(rng.randint(1, 4)):
            child = start(config)
            pause = rng.uniform(0, left)
            time.sleep(pause)
            left = max(left - pause, duration / 10)
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            done += os.WIFSIGNALED(status)
            check_rows(store, work / "whole.zarr")
        _, status = os.waitpid(start(config), 0)
        assert os.waitstatus_to_exitcode(status) == 0, f"round {rounds}: the last run failed"
        found = contents(store)
        different = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
        assert not different, f"round {rounds}: {different[:10]}"
    print(f"{done} kills over {rounds} stores: every store opened, resumed and ended equal to the undisturbed run")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VOXCACHE_CACHE"] = str(Path(folder) / "cache")
        run(options.kills, options.seed, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
