"""Experiments in processes of their own: a killed one loses what it was doing, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dying
import pytest

from voxcache.errors import TrainError
from voxcache.store.read import Store
from voxcache.train import parallel
from voxcache.train.config import TrainConfig
from voxcache.train.plan import plan
from voxcache.train.results import open_results
from voxcache.train.run import run

Make = Callable[..., Store]
CONFIG = TrainConfig.model_validate(
    {
        "heads": ["linear", "mlp2", "fcn"],
        "seeds": [0],
        "training": {"epochs": 2},
        "device": "cpu",
        "split": {"folds": 3},
    }
)


def finished(store: Store, folder: Path) -> list[str]:
    """Return the texts of the experiments that have a result."""
    planned = plan(CONFIG, store)
    with open_results(folder) as results:
        done = results.done(experiment.key for experiment in planned.experiments)
    return [experiment.text for experiment in planned.experiments if experiment.key in done]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_what_a_killed_process_was_doing_is_done_again(make_store: Make, tmp_path: Path) -> None:
    """After one of two processes is killed in the middle of a grid, the same command ends with every experiment finished."""
    store, killed = make_store(), []

    def kill_once(done: int, total: int, text: str) -> None:
        children = multiprocessing.active_children()
        if done and not killed and children:
            killed.append(children[0].pid)
            os.kill(children[0].pid or 0, signal.SIGKILL)

    summary = run(CONFIG, store, tmp_path, quiet=True, workers=2, progress=kill_once)
    assert killed
    assert summary.trained == len(finished(store, tmp_path)) == 6


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_job_that_always_dies_fails_alone(make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of six jobs kill their process every time: these are named with the reason, the four others are finished."""
    monkeypatch.setattr(parallel, "_run_in_worker", dying.run)
    store = make_store()
    with pytest.raises(TrainError, match=r"2 of 6 experiments failed(.|\n)*its process died twice"):
        run(CONFIG, store, tmp_path, quiet=True, workers=2)
    texts = finished(store, tmp_path)
    assert len(texts) == 4
    assert not any("fcn" in text for text in texts)


def test_a_process_of_the_program_outlives_a_stopped_run(make_store: Make, tmp_path: Path) -> None:
    """What a program that calls `run` has started itself goes on when the run is stopped; the run's own processes end."""
    store, own = make_store(), multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,))
    own.start()

    def stop(done: int, total: int, text: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, store, tmp_path, quiet=True, workers=2, progress=stop)
    assert own.is_alive()
    assert multiprocessing.active_children() == [own]
    own.terminate()
    own.join()


def processes(group: int) -> list[str]:
    """Return the command lines of a process group's living processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def wait_until(true: Callable[[], bool], limit_s: float = 120) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_stopped_command_leaves_no_process(make_store: Make, tmp_path: Path, number: int) -> None:
    """`voxcache train --workers 2` that gets SIGTERM ends with 130 and a sentence; even after SIGKILL no worker stays."""
    make_store(path=tmp_path / "s.zarr")
    long = "{epochs: 1000000, patience: 1000000}"
    (tmp_path / "p.yaml").write_text(f"store: s.zarr\ntrain: {{heads: [linear], training: {long}, device: cpu}}\n")
    code = "from voxcache.cli import main; main()"
    with (tmp_path / "said").open("wb") as said:
        running = subprocess.Popen(
            [sys.executable, "-c", code, "train", "p.yaml", "--workers", "2"],
            cwd=tmp_path,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    wait_until(lambda: sum("spawn_main" in line for line in processes(running.pid)) == 2)
    time.sleep(0.5)
    running.send_signal(number)
    assert running.wait(60) == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_until(lambda: not processes(running.pid), 60)
    if number == signal.SIGTERM:
        text = (tmp_path / "said").read_text()
        assert "What is finished is kept; run the same command to go on." in text
        assert "Traceback" not in text
