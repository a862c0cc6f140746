"""Extraction that is stopped from outside: a second one started by mistake, and a disk that is full."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import pytest
from bad_files import tone, write_wav
from command import voxcache

from voxcache.errors import VoxcacheError
from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import Pipeline, check
from voxcache.store import backend, open_store
from voxcache.store.locks import worker_lock, writer_lock
from voxcache.store.verify import verify

QUIET = Reporter(quiet=True)


@pytest.fixture
def config(tmp_path: Path) -> Pipeline:
    """Nine tones through two encoders, with frames, in units of four."""
    names = [f"tone-{i}.wav" for i in range(9)]
    for i, name in enumerate(names):
        write_wav(tmp_path / name, tone(0.2 + 0.05 * i, 16_000, hz=200 + 40 * i), 16_000)
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((name, "ab"[i % 2]) for i, name in enumerate(names))])
    data = {
        "store": str(tmp_path / "s.zarr"),
        "corpora": {"mine": {"manifest": str(tmp_path / "clips.csv")}},
        "encoders": ["logmel", {"name": "mfcc", "frames": ["last"]}],
        "extract": {"unit_clips": 4},
    }
    (tmp_path / "p.yaml").write_text(json.dumps(data))
    return check(Pipeline, data, where="test")


@pytest.mark.parametrize("holder", ["a plain run", "a worker"])
def test_a_second_extract_by_mistake_is_refused(config: Pipeline, tmp_path: Path, holder: str) -> None:
    """Beside a run that writes, another one ends with code 3 and says who writes; afterwards it goes through."""
    store = Path(config.store)
    with writer_lock(store) if holder == "a plain run" else worker_lock(store, 1, 2) as lock:
        if lock is not None:
            lock.registered()
        said = voxcache("extract", "p.yaml", cwd=tmp_path, code=3).stderr
    assert "store s.zarr: another process is writing to it (" in said
    assert ("worker 1 of 2, pid" in said) == (holder == "a worker")
    assert "nothing it has finished will be done again" in said
    voxcache("extract", "p.yaml", cwd=tmp_path)
    assert open_store(store).corpus("mine").encoder("mfcc").ledger().counts()["ok"] == 9


@pytest.mark.parametrize("objects", [0, 3, 17, 29, 41, 60])
def test_a_full_disk_is_explained_and_the_run_goes_on(
    config: Pipeline, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    """Wherever the disk gets full, the run ends with a sentence; with room again the same command completes the store."""
    real, written = backend._fill, iter(range(10_000))

    def full(partial: Path, value: object) -> None:
        if next(written) >= objects:
            partial.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(partial, value)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(backend, "_fill", full)
        with pytest.raises(VoxcacheError, match=r"the disk is full\. Free some space, then run the same command again"):
            extract(config, QUIET)
    assert [outcome.counts["ok"] for outcome in extract(config, QUIET)] == [9, 9]
    assert verify(open_store(config.store)) == []
