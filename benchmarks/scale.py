"""Whether memory and cost a clip stay flat as a corpus grows: the real extraction over 1,000, 10,000 and 100,000 files.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--clip-s 0.1] [--folder DIR]

Every clip is a WAV file of its own, so that listing, hashing, registering, decoding, committing and verifying are paid a hundred
thousand times; the encoder is logmel, which is nearly free. Each size runs in a process of its own. Prints seconds before the first
unit and after, ms a clip, the largest resident memory, and the seconds of a second run, which finds nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from datetime import datetime
from pathlib import Path

import numpy as np

RATE_HZ = 16_000


def write_clips(root: Path, n: int, seconds: float) -> None:
    """Write `n` short clips of noise into folders of two classes, a thousand files a folder."""
    rng = np.random.default_rng(0)
    for i in range(n):
        folder = root / "ab"[i % 2] / f"{i // 2000:03d}"
        if i % 2000 < 2:
            folder.mkdir(parents=True, exist_ok=True)
        samples = (rng.standard_normal(int(seconds * RATE_HZ)) * 3000).astype("<i2")
        with wave.open(str(folder / f"{i:06d}.wav"), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes(samples.tobytes())


def child(work: Path, n: int) -> None:
    """Extract in this process and print what it took, as JSON."""
    from voxcache.extract.progress import Reporter
    from voxcache.extract.run import extract
    from voxcache.pipeline import Pipeline, check

    data = {
        "store": str(work / "s.zarr"),
        "corpora": {"clips": {"root": str(work / "audio")}},
        "encoders": ["logmel"],
        "extract": {"batch_s": 20},
    }
    config = check(Pipeline, data, where="benchmark")
    began = time.time()
    outcome = extract(config, Reporter(quiet=True), log=work / "log.jsonl")[0]
    total = time.time() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    started = next(json.loads(line)["time"] for line in (work / "log.jsonl").open())
    before = datetime.fromisoformat(started).timestamp() - began
    began = time.time()
    again = extract(config, Reporter(quiet=True))[0]
    assert outcome.counts["ok"] == n
    assert again.embedded == 0
    print(json.dumps({"before": before, "after": total - before, "peak_mb": peak_mb, "again": time.time() - began}))


def measure(n: int, seconds: float, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        write_clips(work / "audio", n, seconds)
        environment = {"VOXCACHE_CACHE": str(work / "cache")}
        command = [sys.executable, __file__, "--child", name, "--sizes", str(n)]
        done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
        took = json.loads(done.stdout)
        objects = sum(1 for path in (work / "s.zarr").rglob("*") if path.is_file())
        ms = 1000 * (took["before"] + took["after"]) / n
        print(
            f"{n:>8} clips: {took['before']:6.1f} s listing, hashing and registering, {took['after']:6.1f} s embedding, "
            f"{ms:5.2f} ms a clip, peak {took['peak_mb']:5.0f} MB, {objects} objects, second run {took['again']:.1f} s",
            flush=True,
        )


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--clip-s", type=float, default=0.1)
    parser.add_argument("--folder", help="where files are made; default: the system's temporary folder")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child), options.sizes[0])
        return
    for n in options.sizes:
        measure(n, options.clip_s, options.folder)


if __name__ == "__main__":
    main()
