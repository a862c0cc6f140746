"""What a run prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from voxcache.store.read import Store
from voxcache.train import console
from voxcache.train.config import TrainConfig
from voxcache.train.results import open_results
from voxcache.train.run import run
from voxcache.train.tables import tables

SMALL = {"name": "cnn-lstm", "channels": 4, "lstm": 4, "hidden": [4]}


def test_only_what_was_asked_for_can_have_failed(make_store: Callable[..., Store], tmp_path: Path) -> None:
    """Where no experiment was planned, as for a head on frames in the row of vectors, stands a dash; otherwise "failed"."""
    config = {"heads": ["logreg", SMALL], "seeds": [0], "device": "cpu", "split": {"folds": 2}}
    store = make_store(n=24, n_speakers=4, frames=True)
    summary = run(TrainConfig.model_validate({**config, "training": {"epochs": 1}}), store, tmp_path, quiet=True)
    with open_results(tmp_path) as results:
        (table,) = tables(summary.plan, results)
    lost = next(place for place in table.cells if place[0][0] == "alpha" and place[1] == "logreg")
    cells = {place: cell for place, cell in table.cells.items() if place != lost}
    shown = console._rich(summary.plan, dataclasses.replace(table, cells=cells))
    columns = {str(column.header): list(column.cells) for column in shown.columns}
    found = zip(*(columns[name] for name in ("encoder", *table.columns)), strict=True)
    assert {name: [cell.strip() for cell in cells if cell.strip() in ("failed", "–")] for name, *cells in found} == {
        "alpha, layer 2, mean": ["failed", "–"],
        "alpha, layer 2, frames": ["–"],
        "beta-random, layer 2, mean": ["–"],
        "beta-random, layer 2, frames": ["–"],
    }
