"""Experiments in processes of their own: a killed one loses what it was doing, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
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
