"""Kill extraction with SIGKILL at random moments, again and again, and compare what is left with an undisturbed run.

    python tests/e2e/kill_loop.py --kills 200

Runs of one process and of three workers at once take turns, with frames and without; of three, one is killed or all are.
After every kill the store must open, every row it calls ok must hold exactly the undisturbed run's values, and the next
run must go on from there. When a run gets through, every object must equal the undisturbed run's, byte for byte, but the
root's attributes, which carry the store's identity, and verification must find nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from voxcache.extract.progress import Reporter
from voxcache.extract.run import HERE, Where, extract
from voxcache.pipeline import Pipeline, check
from voxcache.store import open_store
from voxcache.store.verify import verify


def pipeline(work: Path, store: str, *, framed: bool) -> Pipeline:
    """Return a small run with several units, layers and statistics, and frames on request."""
    wav2vec2: object = {"name": "wav2vec2-mini", "frames": [2, "last"]} if framed else "wav2vec2-mini"
    mfcc: object = {"name": "mfcc", "frames": ["last"]} if framed else "mfcc"
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
        "encoders": ["logmel", wav2vec2, mfcc],
        "extract": {"unit_clips": 8, "statistics": ["mean", "std"], "batch_s": 5},
    }
    return check(Pipeline, data, where="kill loop")


def start(config: Pipeline, where: Where = HERE) -> int:
    """Fork a process that extracts, and return its id; it has torch loaded already, so that work begins at once."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        code = 1
        torch.set_num_threads(
            1
        )  # once, here: torch's thread pool is renewed after a fork, and not safely by two threads
        try:
            extract(config, Reporter(quiet=True), where=where)
            code = 0
        finally:
            os._exit(code)
    return child


def start_all(config: Pipeline, workers: int) -> list[int]:
    """Start one plain run, or as many workers."""
    if workers == 1:
        return [start(config)]
    return [start(config, Where(worker=(index, workers))) for index in range(1, workers + 1)]


def end_all(children: list[int], killed: list[int]) -> int:
    """Kill some of the children and wait for all; return how many the kill met. The others must get through."""
    for child in killed:
        os.kill(child, signal.SIGKILL)
    met = 0
    for child in children:
        _, status = os.waitpid(child, 0)
        met += os.WIFSIGNALED(status)
        assert child in killed or os.waitstatus_to_exitcode(status) == 0, "a run that was not killed failed"
    return met


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


def failures(store: Path) -> list[str]:
    """Return what failed, by encoder and clip: no clip of this corpus should."""
    corpus = open_store(store).corpus("bursts")
    ledgers = {name: corpus.encoder(name).ledger() for name in corpus.encoders}
    return [
        f"{name}, {corpus.clip[row]}: {held.reason[row]}"
        for name, held in ledgers.items()
        for row in np.flatnonzero(~held.ok)
    ]


def timed(work: Path, *, framed: bool, workers: int) -> float:
    """Return the seconds that an undisturbed run takes."""
    began = time.monotonic()
    end_all(start_all(pipeline(work, f"timed-{framed}-{workers}.zarr", framed=framed), workers), [])
    return time.monotonic() - began


def run(kills: int, seed: int, work: Path) -> None:
    """Kill `kills` times in all, over as many stores as that takes."""
    rng = random.Random(seed)
    extract(pipeline(work, "warm.zarr", framed=True), Reporter(quiet=True))
    for framed in (False, True):
        extract(pipeline(work, f"whole-{framed}.zarr", framed=framed), Reporter(quiet=True))
    kinds = [(framed, workers) for framed in (True, False) for workers in (3, 1)]
    durations = {kind: timed(work, framed=kind[0], workers=kind[1]) for kind in kinds}
    done = rounds = 0
    while done < kills:
        framed, workers = kinds[rounds % len(kinds)]
        rounds += 1
        done += one_store(work, f"killed-{rounds}.zarr", (framed, workers), durations[framed, workers], rng)
    print(f"{done} kills over {rounds} stores: every store opened, resumed and ended equal to the undisturbed run")


def one_store(work: Path, name: str, kind: tuple[bool, int], duration: float, rng: random.Random) -> int:
    """Kill a few times while one store is made, then let it be completed and compare; return the kills."""
    framed, workers = kind
    config, store, whole = pipeline(work, name, framed=framed), work / name, work / f"whole-{framed}.zarr"
    done, left = 0, duration
    for _ in range(rng.randint(1, 4)):
        children = start_all(config, workers)
        pause = rng.uniform(0, left)
        time.sleep(pause)
        left = max(left - pause, duration / 10)
        done += end_all(children, children if rng.random() < 0.5 else [rng.choice(children)])
        check_rows(store, whole)
    end_all(start_all(config, rng.choice([1, workers])), [])
    expected, found = contents(whole), contents(store)
    different = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    assert not different, f"{name}, frames {framed}, {workers} at once: {different[:10]}; failed: {failures(store)}"
    assert verify(open_store(store)) == []
    shutil.rmtree(store)
    return done


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
