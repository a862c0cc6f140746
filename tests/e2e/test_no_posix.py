"""From audio to tables on a Python from which all that Windows lacks was taken; see tests/support/no_posix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_run import small

from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.store import open_store
from voxcache.store.verify import verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the double asks /proc what is open")
GONE = Path(__file__).parents[1] / "support" / "no_posix"
COMMANDS = """
init demo.yaml
extract p.yaml --processes 2
extract p.yaml --worker 1/2
train p.yaml
report p.yaml
store verify s.zarr
store pack s.zarr t.zip
store pack s.zarr t.zarr
store merge t.zarr --into u.zarr
store merge t.zarr --into u.zarr
store verify u.zarr
store drop u.zarr bursts/logmel --yes
doctor
"""
RUN = """
import sys
from voxcache.cli import main

if __name__ == "__main__":
    for line in sys.stdin.read().strip().splitlines():
        sys.argv = ["voxcache", *line.split()]
        print("==", line, flush=True)
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                sys.exit(f"{line}: exit code {ended.code}")
"""


def gone(code: str, folder: Path, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program where POSIX is gone."""
    (folder / "program.py").write_text(code, encoding="utf-8")
    env = {"NO_POSIX": "1", "PYTHONPATH": str(GONE), "NO_POSIX_LOG": str(folder / "refused.txt")}
    return subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, **env},
        input=said,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def test_a_pipeline_runs_where_posix_is_gone(tmp_path: Path) -> None:
    """Workers, training, report, pack and merge end well, touch nothing that is open, and give the undisturbed run's numbers."""
    train = {
        "split": {"folds": 2},
        "heads": ["fcn", "logreg"],
        "seeds": [0],
        "training": {"epochs": 2},
        "device": "cpu",
    }
    changes = {"encoders": [{"name": "logmel", "frames": [0]}], "train": train}
    extract(small(tmp_path, "plain.zarr", **changes), Reporter(quiet=True))
    config = small(tmp_path, **changes)
    data = config.model_dump(mode="json", exclude_unset=True, by_alias=True)
    (tmp_path / "p.yaml").write_text(json.dumps(data), encoding="utf-8")
    done = gone(RUN, tmp_path, COMMANDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "refused.txt").exists(), (tmp_path / "refused.txt").read_text(encoding="utf-8")
    plain, made = (open_store(tmp_path / name).corpus("bursts").encoder("logmel") for name in ("plain.zarr", "s.zarr"))
    np.testing.assert_array_equal(made.pooled(-1), plain.pooled(-1))
    assert verify(open_store(tmp_path / "s.zarr")) == []
    assert open_store(tmp_path / "u.zarr").corpus("bursts").encoders == ()
    assert "±" in (tmp_path / "s.results" / "report.md").read_text(encoding="utf-8")
    assert b"\r" not in (tmp_path / "t.zip.sha256").read_bytes()
    left = {item.name for item in tmp_path.iterdir() if item.name.startswith(".")}
    assert left == {f".{name}.lock" for name in ("plain.zarr", "s.zarr", "t.zarr", "t.zip", "u.zarr")}


TAKEN = {
    "a folder is opened": "os.open('.', os.O_RDONLY)",
    "a file that is read is synced": "f = open('program.py', encoding='utf-8'); os.fsync(f.fileno())",
    "an open file is replaced": "f = open('a', 'w'); open('b', 'w').close(); os.replace('b', 'a')",
    "a mapped file is removed": "f = open('program.py', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); f.close(); os.remove(f.name)",
    "a process is asked by a signal": "os.kill(os.getppid(), 0)",
    "fcntl is imported": "import fcntl",
    "memory is asked of POSIX": "os.sysconf('SC_PAGE_SIZE')",
    "a signal that Windows lacks": "signal.SIGKILL",
    "a name with a colon": "open('a:b', 'w')",
    "text beyond the code page": "open('c', 'w').write('あ')",
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_windows_lacks_is_gone(what: str, tmp_path: Path) -> None:
    """The double refuses it, so that a pipeline that ends well does none of it."""
    done = gone(f"import mmap, os, signal\nprint('begun', flush=True)\n{TAKEN[what]}\n", tmp_path)
    assert (done.stdout, done.returncode) == ("begun\n", 1), done.stderr


LOCKS = """
import pathlib
from voxcache.errors import StoreBusy
from voxcache.store.locks import worker_lock, writer_lock
store = pathlib.Path("s.zarr")
with worker_lock(store, 1, 2) as first:
    first.registered()
    with worker_lock(store, 2, 2) as second:
        second.registered()
        print(second.alone)
        try:
            with writer_lock(store):
                print("both")
        except StoreBusy as busy:
            print(str(busy).count(" of 2, pid "))
with writer_lock(store):
    print("alone")
print(sorted(place.name for place in store.parent.glob(".*")))
"""


def test_locks_are_taken_and_told_where_locks_are_mandatory(tmp_path: Path) -> None:
    """An exclusive lock becomes a shared one, who holds it can be read while it is held, and no file but one stays."""
    done = gone(LOCKS, tmp_path)
    assert done.stdout.splitlines() == ["False", "2", "alone", "['.s.zarr.lock']"], done.stderr
