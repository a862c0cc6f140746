"""Training that had not come to its end is marked wherever its score stands; the probe trains until it stops improving."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import voxcache

from voxcache.store.read import Store
from voxcache.train.config import PRESETS, TrainConfig
from voxcache.train.convergence import convergence, total
from voxcache.train.heads import HEADS
from voxcache.train.results import FILE
from voxcache.train.run import report, run
from voxcache.train.sklearn_heads import HeadClassifier

Make = Callable[..., Store]
SHORT: dict[str, Any] = {"heads": ["fcn", "logreg"], "seeds": [0, 1], "device": "cpu", "training": {"epochs": 2}}


def config(**fields: Any) -> TrainConfig:
    """Return a short grid."""
    return TrainConfig.model_validate({**SHORT, "encoders": ["alpha"], **fields})


def improving(folder: Path, label: str) -> tuple[int, int]:
    """Return folds whose best epoch is their last, and all folds of a head, from the file alone."""
    db = sqlite3.connect(folder / FILE)
    query = (
        "SELECT best_epoch = n_epochs FROM folds JOIN experiments ON id = experiment WHERE label = ? AND n_inner > 0"
    )
    found = [last for (last,) in db.execute(query, (label,))]
    db.close()
    return sum(found), len(found)


def test_every_output_says_in_how_many_folds_a_network_still_improved(
    make_store: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Console, HTML, Markdown, LaTeX, CSV and the results command give the number that the folds in the file give."""
    run(config(), make_store(signal=0.5), tmp_path, quiet=True)
    count, folds = improving(tmp_path, "fcn")
    assert 0 < count <= folds == 10
    text = f"still improving in {count} of 10 folds"
    printed = capsys.readouterr().out
    assert "still improving in" in printed
    assert f"{count} of 10 folds" in printed
    assert "more epochs may give another score" in printed
    html, markdown = ((tmp_path / f"report.{end}").read_text() for end in ("html", "md"))
    assert html.count(f'<small class="unfinished">{text}</small>') == 1
    assert f"alpha → fcn {text}" in markdown
    assert f"alpha {text}" in (tmp_path / "tables.tex").read_text()
    assert "$^{\\dagger}$" in (tmp_path / "tables.tex").read_text()
    (fcn, logreg) = csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text()))
    assert (fcn["folds_still_improving"], logreg["folds_still_improving"]) == (str(count), "")
    listed = json.loads(voxcache("results", tmp_path, "--format", "json", cwd=tmp_path).stdout)
    assert [row["folds_still_improving"] for row in listed] == [count, None]
    assert text in voxcache("results", tmp_path, "--format", "md", cwd=tmp_path).stdout


def test_a_file_that_does_not_know_its_epochs_opens_and_says_nothing(make_store: Make, tmp_path: Path) -> None:
    """Without best and last epoch, no output calls a network finished or unfinished, and the numbers stay empty."""
    store = make_store(signal=0.5)
    run(config(), store, tmp_path, quiet=True)
    db = sqlite3.connect(tmp_path / FILE)
    with db:
        db.execute("UPDATE folds SET best_epoch = NULL, n_epochs = NULL")
        db.execute("DELETE FROM meta WHERE name = 'report'")
    db.close()
    report(config(), store, tmp_path, quiet=True)
    assert "still improving" not in (tmp_path / "report.html").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert [row["folds_still_improving"] for row in rows] == ["", ""]
    listed = json.loads(voxcache("results", tmp_path, "--format", "json", cwd=tmp_path).stdout)
    assert [row["folds_ended_by_cap"] for row in listed] == [None, None]


def test_the_probe_trains_until_it_stops_improving(make_store: Make, tmp_path: Path) -> None:
    """`linear` without any setting is still improving in no fold and comes within 5 points of logistic regression."""
    store = make_store(n=240, signal=0.4, dim=24)
    run(config(heads=["linear", "logreg"], training={}, seeds=[0]), store, tmp_path, quiet=True)
    assert improving(tmp_path, "linear") == (0, 5)
    db = sqlite3.connect(tmp_path / FILE)
    uar = dict(db.execute("SELECT label, uar FROM experiments"))
    db.close()
    assert uar["logreg"] > 0.6
    assert uar["linear"] > uar["logreg"] - 0.05


def test_presets_keep_their_epochs_and_what_is_stated_holds_for_the_probe() -> None:
    """The heads of a paper train by its preset; `linear` by its own numbers, over which `training:` stands."""
    of_paper, probe = HEADS.get("fcn").training, HEADS.get("linear").training
    for name, preset in PRESETS.items():
        assert TrainConfig(preset=name).training_of(of_paper) == preset  # type: ignore[arg-type]
        found = TrainConfig(preset=name).training_of(probe)  # type: ignore[arg-type]
        assert (found.epochs, found.patience, found.decay, found.batch) == (1000, 20, "none", preset.batch)
    stated = TrainConfig.model_validate({"preset": "voc2vec", "training": {"epochs": 3}}).training_of(probe)
    assert (stated.epochs, stated.lr) == (3, 1e-2)
    x = np.random.default_rng(0).normal(size=(80, 4))
    assert HeadClassifier("linear").fit(x, x[:, 0] + x[:, 1] > 0).n_iter_ > 20


def test_an_estimator_cut_off_by_its_iterations_is_marked(make_store: Make, tmp_path: Path) -> None:
    """Logistic regression with two iterations did not converge in any fold; with a thousand nothing is said."""
    heads = [{"name": "logreg", "max_iter": 2}, "logreg"]
    with pytest.warns(match="failed to converge"):
        run(config(heads=heads), make_store(signal=0.5), tmp_path, quiet=True)
    listed = json.loads(voxcache("results", tmp_path, "--format", "json", cwd=tmp_path).stdout)
    assert [row["folds_ended_by_cap"] for row in listed] == [5, None]
    assert "ended by its cap, unwatched, in 5 of 5 folds" in (tmp_path / "report.html").read_text()


def test_what_is_not_known_is_told_from_what_ended() -> None:
    """Watched at the last epoch: improving; unwatched: cut off; stopped before: neither; without epochs: unknown."""
    one, other = convergence([(9, 20, 20), (9, 12, 17), (0, 20, 20)]), convergence([(0, None, None), (9, 20, 20)])
    assert (one.folds, one.improving, one.capped, one.unknown) == (3, 1, 1, 0)
    assert total([one, other]).text == "still improving in 2 of 5 folds; ended by its cap, unwatched, in 1 of 5 folds"
    assert convergence([(0, None, None)]).numbers == (None, None)
    assert convergence([(9, 3, 8)]).numbers == (0, 0)
