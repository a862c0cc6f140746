"""Many processes and machines make the store that one process makes, byte for byte, whoever dies on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import voxcache
from objects import assert_same
from small_run import small, written

from voxcache.errors import ConfigError, VoxcacheError
from voxcache.extract.devices import choose_device
from voxcache.extract.progress import Reporter
from voxcache.extract.run import Where, extract
from voxcache.extract.spread import parse_worker, pick_gpus, spread
from voxcache.store import open_store

QUIET = Reporter(quiet=True)
COMMAND = [sys.executable, "-c", "from voxcache.cli import main; main()"]


def killing(store: Path, pick: Callable[[], list[int]]) -> threading.Thread:
    """Start a thread that sends SIGKILL to one of `pick()` as soon as a unit of the second encoder is done."""

    def kill() -> None:
        until = time.monotonic() + 120
        while not list(store.glob("bursts/wav2vec2-mini-random/done/pooled/c/*")) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(pick()[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_two_processes_of_which_one_is_killed_make_the_same_store(whole: Path, tmp_path: Path) -> None:
    """A worker killed with -9 costs the units it had in hand, which are done again; the log names them."""
    config = small(whole, "processes.zarr")
    thread = killing(
        whole / "processes.zarr",
        lambda: [p.pid or 0 for p in multiprocessing.active_children() if p.name.startswith("voxcache-")],
    )
    outcomes = extract(config, QUIET, where=spread(processes=2, device="cpu"), log=tmp_path / "log.jsonl")
    thread.join()
    assert [o.counts["ok"] for o in outcomes] == [36, 36]
    assert_same(whole / "processes.zarr", whole / "whole.zarr")
    log = (tmp_path / "log.jsonl").read_text()
    assert '"event": "worker_lost"' in log
    assert '"how": "signal 9"' in log


@pytest.mark.slow
def test_a_dask_cluster_of_which_one_worker_is_killed_makes_the_same_store(whole: Path) -> None:
    """Three Dask processes, one killed with -9 while it works: Dask gives its units to the others."""
    psutil = pytest.importorskip("psutil", reason="the extra [cluster] is not installed")
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

    def workers() -> list[int]:
        children = psutil.Process().children(recursive=True)
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]

    thread = killing(whole / "dask.zarr", workers)
    outcomes = extract(small(whole, "dask.zarr"), QUIET, where=spread(scheduler="local", processes=3))
    thread.join()
    assert [o.counts["ok"] for o in outcomes] == [36, 36]
    assert_same(whole / "dask.zarr", whole / "whole.zarr")


@pytest.mark.slow
def test_three_commands_of_a_job_array_make_the_same_store(whole: Path, tmp_path: Path) -> None:
    """`--worker 1/3`, 2/3 and 3/3 started at once register once and share the units without talking to each other."""
    file = written(small(whole, "array.zarr"), tmp_path)
    commands = [[*COMMAND, "extract", str(file), "--worker", f"{i}/3", "--quiet"] for i in (1, 2, 3)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert_same(whole / "array.zarr", whole / "whole.zarr")


@pytest.mark.slow
def test_shares_do_not_depend_on_what_others_have_done(whole: Path, tmp_path: Path) -> None:
    """With two corpora, one of them finished by others, a worker that comes late still takes its own units and no others."""
    config = small(whole, "late.zarr", encoders=["logmel"])
    first = config.corpora["bursts"]
    both = config.model_copy(update={"corpora": {"bursts": first, "more": first}})
    extract(config, QUIET)
    file = written(both, tmp_path)
    voxcache("extract", file, "--worker", "2/3", cwd=tmp_path)
    late = open_store(whole / "late.zarr").corpus("more").encoder("logmel").ledger().ok
    fresh = written(both.model_copy(update={"store": str(whole / "fresh.zarr")}), tmp_path)
    voxcache("extract", fresh, "--worker", "2/3", cwd=tmp_path)
    np.testing.assert_array_equal(late, open_store(whole / "fresh.zarr").corpus("more").encoder("logmel").ledger().ok)
    assert 0 < late.sum() < 36


@pytest.mark.slow
def test_a_worker_does_its_share_only(whole: Path, tmp_path: Path) -> None:
    """One of two workers leaves the other's units missing, and the second completes the store."""
    file = written(small(whole, "share.zarr"), tmp_path)
    voxcache("extract", file, "--worker", "1/2", cwd=tmp_path)
    counts = open_store(whole / "share.zarr").corpus("bursts").encoder("logmel").ledger().counts()
    assert counts["ok"] + counts["missing"] == 36
    assert 12 <= counts["ok"] <= 24
    voxcache("extract", file, "--worker", "2/2", cwd=tmp_path)
    assert_same(whole / "share.zarr", whole / "whole.zarr")


@pytest.mark.parametrize("options", [(), pytest.param(("--processes", "2"), marks=pytest.mark.slow)])
def test_sigterm_finishes_what_is_in_hand_and_the_next_run_goes_on(
    whole: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A preempted node sends SIGTERM: exit code 130, a sentence that says how to go on, whole units only."""
    name = f"preempted-{len(options)}.zarr"
    config = small(whole, name, encoders=[{"name": "wav2vec2-base", "weights": "random"}])
    file = written(config, tmp_path)
    process = subprocess.Popen([*COMMAND, "extract", str(file), *options], stderr=subprocess.PIPE, text=True)
    done = whole / name / "bursts/wav2vec2-base-random/done/pooled/c"
    until = time.monotonic() + 120
    while not list(done.glob("*")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "stopping: the unit in hand is finished first" in err
    assert "stopped. What is finished is kept; run the same command to go on." in err
    assert "Traceback" not in err
    counts = open_store(whole / name).corpus("bursts").encoder("wav2vec2-base-random").ledger().counts()
    assert 4 <= counts["ok"] < 36
    assert counts["ok"] % 4 == 0


def test_a_second_signal_ends_at_once(whole: Path, tmp_path: Path) -> None:
    """Ctrl-C twice does not wait for the unit in hand; the store is whole all the same."""
    large = {
        "encoders": [{"name": "wav2vec2-large", "weights": "random"}],
        "extract": {"unit_clips": 36, "batch_s": 60},
    }
    config = small(whole, "twice.zarr", **large)
    file = written(config, tmp_path)
    process = subprocess.Popen([*COMMAND, "extract", str(file)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "clips to embed" in line:
            break
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    voxcache("store", "verify", whole / "twice.zarr", cwd=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"worker": "3/2"}, "--worker 3/2: expected I/N with I from 1 to N"),
        ({"worker": "two"}, "--worker two: expected I/N"),
        ({"gpus": "all", "processes": 2}, "--gpus: not together with --processes"),
        ({"worker": "1/2", "scheduler": "local"}, "--worker: not together with --scheduler"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    """Each is refused before anything is read, with what to do instead."""
    with pytest.raises(ConfigError) as caught:
        spread(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU the message names doctor and the alternative; with two (a fake count), the third is refused."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"sees no GPU here. `voxcache doctor` says why"):
        pick_gpus("all")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_gpus("all") == ["cuda:0", "cuda:1"]
    assert pick_gpus("1") == ["cuda:1"]
    with pytest.raises(ConfigError, match=r"--gpus 0,2: expected all, or numbers from 0 to 1 with commas, got '2'"):
        pick_gpus("0,2")


@pytest.mark.parametrize("name", ["cuda:x", "cudafoo", "cuda:", "gpu"])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    """What is neither auto, cpu, cuda nor cuda:N is named as such."""
    with pytest.raises(ConfigError, match=f"expected auto, cpu, cuda, cuda:N or mps, got '{name}'"):
        choose_device(name)


def test_an_unknown_scheduler_is_refused(whole: Path) -> None:
    """Anything but local, slurm and an address is named as such."""
    with pytest.raises(ConfigError, match=r"--scheduler kubernetes: expected local, slurm, or an address"):
        extract(small(whole, "none.zarr"), QUIET, where=spread(scheduler="kubernetes"))


def test_without_dask_the_message_names_the_command_that_installs_it(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing extra is one sentence."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"needs Dask, which is not installed. Install it with: pip install"):
        extract(small(whole, "none.zarr"), QUIET, where=spread(scheduler="local"))


def test_worker_numbers_are_read() -> None:
    """I/N counts from 1."""
    assert parse_worker("2/8") == (2, 8)
    assert Where().worker is None


@pytest.mark.slow
def test_a_full_disk_ends_all_workers_with_one_sentence(whole: Path, tmp_path: Path) -> None:
    """Two processes on a disk that is too small end with what to do, and with room again the store is completed."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=420k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        config = small(whole).model_copy(update={"store": str(disk / "s.zarr")})
        with pytest.raises(VoxcacheError, match=r"the disk is full\. Free some space, then run the same command again"):
            extract(config, QUIET, where=spread(processes=2, device="cpu"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        extract(config, QUIET, where=spread(processes=2, device="cpu"))
        assert_same(disk / "s.zarr", whole / "whole.zarr")
    finally:
        subprocess.run(["umount", str(disk)], check=False)
