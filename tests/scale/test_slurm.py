"""A real Slurm, where `VOXCACHE_TEST_SLURM` is set: jobs started by dask-jobqueue, and a job array. Skipped anywhere else.

One node with two CPUs is enough. The folder for the tests' files must be seen by the nodes: `--basetemp`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command import voxcache
from objects import assert_same
from small_run import small, written

from voxcache.store import open_store

pytestmark = pytest.mark.skipif("VOXCACHE_TEST_SLURM" not in os.environ, reason="VOXCACHE_TEST_SLURM is not set")
JOBS = "jobqueue:\n  slurm: {cores: 1, processes: 1, memory: 4GB, walltime: '00:10:00'}\n"


def queue() -> list[str]:
    """Return the ids of the jobs that are waiting or running."""
    return subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split()


def test_jobs_of_which_one_is_killed_make_the_same_store(whole: Path, tmp_path: Path) -> None:
    """`--scheduler slurm`: two jobs, one ended with SIGKILL while it works; the other does its units."""
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "jobqueue.yaml").write_text(JOBS)
    file, store = written(small(whole, "slurm.zarr"), tmp_path), whole / "slurm.zarr"
    killed: list[str] = []

    def kill() -> None:
        until = time.monotonic() + 120
        while not list(store.glob("bursts/wav2vec2-mini-random/done/pooled/c/*")) and time.monotonic() < until:
            time.sleep(0.01)
        killed.extend(queue()[:1])
        subprocess.run(["scancel", "--full", "--signal=KILL", *killed], check=True)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    options = ("--scheduler", "slurm", "--processes", "2")
    voxcache("extract", file, *options, cwd=tmp_path, DASK_CONFIG=str(tmp_path / "dask"), OMP_NUM_THREADS="1")
    thread.join()
    assert killed
    assert_same(store, whole / "whole.zarr")
    assert not set(queue()) & set(killed)


def test_a_job_array_makes_the_same_store(whole: Path, tmp_path: Path) -> None:
    """Three jobs with `--worker $SLURM_ARRAY_TASK_ID/3`."""
    file = written(small(whole, "jobs.zarr"), tmp_path)
    script = tmp_path / "job.sh"
    command = f'"{sys.executable}" -c "from voxcache.cli import main; main()"'
    script.write_text(
        f"#!/bin/bash\nexport OMP_NUM_THREADS=1\n{command} extract {file} --worker $SLURM_ARRAY_TASK_ID/3 --quiet\n"
    )
    subprocess.run(
        ["sbatch", "--wait", "--array=1-3", "-n1", "-o", tmp_path / "%a.log", script], check=True, timeout=300
    )
    assert_same(whole / "jobs.zarr", whole / "whole.zarr")
    assert open_store(whole / "jobs.zarr").corpus("bursts").encoder("logmel").ledger().ok.all()
