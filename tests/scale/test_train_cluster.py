"""Stage 2 on a Dask cluster gives what one process gives, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from small_run import small

from voxcache.pipeline import Pipeline, check
from voxcache.store import open_store
from voxcache.train.grid import Plan
from voxcache.train.results import open_results
from voxcache.train.run import run

GRID = {
    "split": {"folds": 3, "group": "speaker"},
    "heads": ["linear", "fcn", "logreg"],
    "seeds": [0, 1],
    "training": {"epochs": 3},
}


def grid(folder: Path) -> Pipeline:
    """Return a grid of heads over the small store."""
    data = small(folder, "whole.zarr").model_dump(mode="json", exclude_unset=True, by_alias=True)
    return check(Pipeline, {**data, "train": GRID}, where="test")


def outputs(folder: Path, plan: Plan) -> dict[str, np.ndarray]:
    """Return what every experiment put out for each clip it tested, by its key."""
    with open_results(folder) as results:
        return {experiment.key: results.predictions(experiment.key, 6)[1] for experiment in plan.experiments}


def test_a_grid_on_a_cluster_of_which_one_worker_is_killed_equals_one_process(whole: Path, tmp_path: Path) -> None:
    """Three Dask processes, one killed with -9 after the first experiments: every prediction is as in one process."""
    psutil = pytest.importorskip("psutil", reason="the extra [cluster] is not installed")
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    config, store = grid(whole), open_store(whole / "whole.zarr")
    run(config.train, store, tmp_path / "one", quiet=True)
    begun = threading.Event()

    def kill() -> None:
        begun.wait(120)
        children = psutil.Process().children(recursive=True)
        os.kill(next(c.pid for c in children if "spawn_main" in " ".join(c.cmdline())), signal.SIGKILL)

    def tell(done: int, _todo: int, _text: str) -> None:
        if done:
            begun.set()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary = run(config.train, store, tmp_path / "many", quiet=True, workers=3, scheduler="local", progress=tell)
    thread.join(timeout=120)
    assert not summary.failed
    one, many = outputs(tmp_path / "one", summary.plan), outputs(tmp_path / "many", summary.plan)
    assert len(one) == len(summary.plan.experiments) >= 8
    assert all(np.array_equal(one[key], many[key]) for key in one)
