"""`voxcache results`, through the real command."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import voxcache
from jackknife import expected
from scipy import stats
from sklearn import metrics

from voxcache.store.read import Store
from voxcache.train import stale
from voxcache.train.config import SplitConfig, TrainConfig
from voxcache.train.foldfile import write_folds
from voxcache.train.plan import plan
from voxcache.train.results import open_results
from voxcache.train.run import run
from voxcache.train.sheets import Sheet, latex, to_markdown
from voxcache.train.systems import Kept, System, open_kept

Make = Callable[..., Store]
QUICK: dict[str, Any] = {"training": {"epochs": 3}, "seeds": [0, 1], "device": "cpu", "heads": ["linear", "logreg"]}


def train(store: Store, folder: Path, **config: Any) -> Path:
    """Run a quick grid and return its folder."""
    run(TrainConfig.model_validate({**QUICK, **config}), store, folder, quiet=True)
    return folder


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return what the command lists as JSON."""
    found: list[dict[str, Any]] = json.loads(
        voxcache("results", folder, "--format", "json", *arguments, cwd=folder).stdout
    )
    return found


@pytest.fixture
def folder(make_store: Make, tmp_path: Path) -> Path:
    """Results of two encoders and two heads, one of them with two seeds."""
    return train(make_store(signal=0.7), tmp_path / "out")


def test_listed_scores_are_those_of_the_file(folder: Path) -> None:
    """Means and deviations equal those of the folds in SQLite; a head that seeds change has one line for all."""
    db = sqlite3.connect(folder / "results.sqlite")
    rows = listed(folder)
    assert [(row["encoders"], row["architecture"], row["seeds"]) for row in rows] == [
        ("alpha", "linear", "0 1"),
        ("alpha", "logreg", "0"),
        ("beta-random", "linear", "0 1"),
        ("beta-random", "logreg", "0"),
    ]
    for row in rows:
        query = (
            "SELECT folds.uar FROM folds JOIN experiments ON id = experiment WHERE encoders = ? AND architecture = ?"
        )
        values = [value for (value,) in db.execute(query, (json.dumps([row["encoders"]]), row["architecture"]))]
        assert row["uar_mean"] == pytest.approx(np.mean(values))
        table = np.reshape(values, (-1, 5))  # [seed, fold]
        assert row["uar_std_folds"] == pytest.approx(np.std(table.mean(0), ddof=1))
        assert row["uar_std_seeds"] == (pytest.approx(np.std(table.mean(1), ddof=1)) if len(table) > 1 else None)
        assert (row["n_used"], row["n_total"], row["stale"]) == (60, 60, "")


def test_what_is_listed_can_be_chosen_sorted_and_written(folder: Path, tmp_path: Path) -> None:
    """--where, --encoder and --sort choose and order; --out takes its format from the ending; the table says how many clips."""
    values = [row["uar_mean"] for row in listed(folder, "--sort", "uar")]
    assert values == sorted(values, reverse=True)
    assert {row["architecture"] for row in listed(folder, "--where", "head=lin*")} == {"linear"}
    (row,) = listed(folder, "--encoder", "alpha", "--head", "logreg", "--corpus", "made")
    voxcache("results", folder, "--where", f"id={row['id']}", "--out", tmp_path / "a.csv", cwd=tmp_path)
    (written,) = csv.DictReader((tmp_path / "a.csv").open())
    assert float(written["uar_mean"]) == row["uar_mean"]
    shown = voxcache("results", folder, "--each-seed", cwd=tmp_path).stdout
    assert shown.count("60 of 60") == 6
    assert "Scores of classes in percent" in shown
    tex = voxcache("results", folder, "--format", "tex", cwd=tmp_path).stdout
    assert "\\toprule" in tex
    assert f"{100 * row['uar_mean']:.1f} $\\pm$ " in tex


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--where", "haed=fcn"], "unknown field, did you mean 'head'?"),
        (["--where", "head"], "expected field=value"),
        (["--head", "cnn"], "none is architecture=cnn"),
        (["--sort", "uarr"], "neither a score nor a field, did you mean 'uar'?"),
        (["--format", "xls"], "--format xls: unknown"),
        (["--metric", "spearman"], "no such score"),
    ],
)
def test_what_cannot_be_listed_is_named(folder: Path, arguments: list[str], said: str) -> None:
    """Each mistake ends with exit code 2 and a sentence."""
    assert said in voxcache("results", folder, *arguments, cwd=folder, code=2).stderr


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    """Exit code 3 and what to do."""
    assert "Run `voxcache train`" in voxcache("results", tmp_path, cwd=tmp_path, code=3).stderr


def test_compared_systems_agree_with_scipy(folder: Path) -> None:
    """Scores, difference, interval and p equal scikit-learn's and scipy's on stored outputs without each speaker and fold."""
    arguments = ("encoder=alpha,head=linear", "encoder=beta-random,head=linear", folder)
    found = json.loads(voxcache("results", "compare", *arguments, "--json", cwd=folder).stdout)
    with open_kept(folder) as kept:
        systems = {system.encoder: system for system in kept.systems if system.label == "linear"}
        clips = kept.clips(systems["alpha"])
        fold, _ = kept.split(systems["alpha"])
        said = [_said(kept, systems[name]) for name in ("alpha", "beta-random")]
    assert found["seeds"] == [[0, 0], [1, 1]]

    def score(side: list[np.ndarray], keep: np.ndarray) -> float:
        return float(np.mean([metrics.balanced_accuracy_score(clips.y[keep], row[keep]) for row in side]))

    assert clips.groups is not None
    share = 1 / (3 * np.bincount(clips.y)[clips.y])
    theirs = expected(lambda keep: score(said[0], keep) - score(said[1], keep), share, clips.groups, fold)
    ours = found["metrics"]["uar"]
    assert [ours[name] for name in ("difference", "low", "high", "p")] == pytest.approx(list(theirs))
    everything = np.ones(60, dtype=bool)
    assert [ours["a"], ours["b"]] == pytest.approx([score(side, everything) for side in said])
    text = voxcache("results", "compare", *arguments, cwd=folder).stdout
    assert f"{100 * theirs[1]:+.1f} to {100 * theirs[2]:+.1f}" in text
    assert "Intervals and tests rest on only 10 groups" in text


def _said(kept: Kept, system: System) -> list[np.ndarray]:
    """Return the predicted class of every clip, one array a seed."""
    rows = []
    for one in system.runs:
        clip, _, table = kept.predictions(one, 3)
        rows.append(np.zeros(60, dtype=np.int64))
        rows[-1][clip] = table.argmax(1)
    return rows


def test_one_seed_of_a_network_is_not_repeated(make_store: Make, tmp_path: Path) -> None:
    """Where B has one seed of two that A has, these are paired and no other."""
    store, folder = make_store(encoders=("alpha",), signal=0.7), tmp_path / "out"
    train(store, folder, heads=["linear"])
    train(store, folder, heads=["mlp2"], seeds=[1])
    done = voxcache("results", "compare", "head=linear", "head=mlp2", folder, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["seeds"] == [[1, 1]]


def test_systems_on_other_folds_are_not_compared(make_store: Make, tmp_path: Path) -> None:
    """Nothing is paired, and that is said."""
    store = make_store()
    train(store, tmp_path / "out", heads=["logreg"], encoders=["alpha"])
    train(store, tmp_path / "out", heads=["logreg"], encoders=["alpha"], split={"seed": 1})
    first, second = (row["id"] for row in listed(tmp_path / "out"))
    done = voxcache("results", "compare", first, second, tmp_path / "out", cwd=tmp_path, code=2)
    assert "expected two systems on the same clips and folds, got other folds" in done.stderr


def test_exported_predictions_give_the_scores(folder: Path, tmp_path: Path) -> None:
    """Accuracy of each fold, computed from the CSV alone, equals the file's; probabilities sum to 1; speakers stand beside."""
    voxcache("results", "predictions", folder, "--where", "encoder=alpha,head=linear", "--out", "p.csv", cwd=tmp_path)
    lines = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert len(lines) == 2 * 60
    db = sqlite3.connect(folder / "results.sqlite")
    query = "SELECT seed, fold, folds.accuracy FROM folds JOIN experiments ON id = experiment WHERE encoders = '[\"alpha\"]'"
    for seed, fold, accuracy in db.execute(f"{query} AND architecture = 'linear'"):
        mine = [line for line in lines if (line["seed"], line["fold"]) == (str(seed), str(fold))]
        assert metrics.accuracy_score([m["true"] for m in mine], [m["predicted"] for m in mine]) == pytest.approx(
            accuracy
        )
    assert all(sum(float(v) for k, v in line.items() if k.startswith("p: ")) == pytest.approx(1) for line in lines)
    assert {line["group"] for line in lines} == {f"s{i}" for i in range(10)}


def test_predicted_targets_are_exported(make_store: Make, tmp_path: Path) -> None:
    """Continuous targets stand as true and predicted values, whose Spearman is the listed one."""
    folder = train(make_store(targets=("Joy", "Fear")), tmp_path / "out", target=["Joy", "Fear"], heads=["ridge"])
    text = voxcache("results", "predictions", folder, "--encoder", "alpha", cwd=tmp_path).stdout
    lines = list(csv.DictReader(io.StringIO(text)))
    rho = []
    for fold in range(5):
        mine = [line for line in lines if line["fold"] == str(fold)]
        for name in ("Joy", "Fear"):
            true, said = ([float(m[f"{what}: {name}"]) for m in mine] for what in ("true", "predicted"))
            rho.append(stats.spearmanr(true, said).statistic)
    (row,) = listed(folder, "--encoder", "alpha")
    assert row["spearman_mean"] == pytest.approx(np.mean(rho))


def test_stale_results_are_named_and_pruned(make_store: Make, tmp_path: Path) -> None:
    """After the audio changed, the old results are named; prune asks, then removes them alone, with their predictions."""
    folder = train(make_store(path=tmp_path / "a.zarr"), tmp_path / "out", heads=["logreg"])
    train(make_store(path=tmp_path / "b.zarr", audio="b"), folder, heads=["logreg"], encoders=["alpha"])
    assert "stale: 1 of 3 results listed" in voxcache("results", folder, cwd=tmp_path).stderr
    dry = voxcache("results", "prune", folder, "--store", tmp_path / "b.zarr", "--dry-run", cwd=tmp_path)
    assert "2 of 3 results would be removed" in dry.stdout
    assert "made/beta-random is no longer what it was made from" in dry.stderr
    voxcache("results", "compare", "encoder=alpha", "encoder=alpha", folder, cwd=tmp_path)  # the one that is not stale
    voxcache("results", "prune", folder, cwd=tmp_path, code=1)
    assert len(listed(folder)) == 3
    kept = [row["id"] for row in listed(folder) if not row["stale"]]
    done = voxcache("results", "prune", folder, "--yes", cwd=tmp_path)
    assert "1 results removed" in done.stdout
    assert [row["id"] for row in listed(folder)] == kept
    db = sqlite3.connect(folder / "results.sqlite")
    counts = [db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("predictions", "clips", "splits")]
    assert counts == [2, 1, 1]


def test_results_that_are_asked_for_again_are_kept(make_store: Make, tmp_path: Path) -> None:
    """Of labels A, B and A again, the pipeline's own are kept though B ran later; B is stale, whatever was run last."""
    folder = tmp_path / "out"
    first, second = (
        make_store(path=tmp_path / "a.zarr"),
        make_store(path=tmp_path / "b.zarr", label=lambda i: "xyz"[i % 3]),
    )
    config = TrainConfig.model_validate({**QUICK, "heads": ["logreg"]})
    for store in (first, second):
        run(config, store, folder, quiet=True)
    assert run(config, first, folder, quiet=True).trained == 0
    with open_kept(folder) as kept:
        numbers = {run_.key: run_.number for system in kept.systems for run_ in system.runs}
        asked = plan(config, first)
        wrong = {numbers[e.key] for e in plan(config, second).experiments}
        assert stale.stale(kept.systems, first, asked).keys() == wrong
        assert stale.not_asked_for(kept.systems, replace(asked, experiments=())).keys() == set(numbers.values())


def test_results_that_another_wording_takes_are_kept(make_store: Make, tmp_path: Path) -> None:
    """Folds that come from a file have another slot; where they are the same folds, their results are in use."""
    store, folder = make_store(), tmp_path / "out"
    config = TrainConfig.model_validate({**QUICK, "heads": ["logreg"]})
    run(config, store, folder, quiet=True)
    write_folds(tmp_path / "folds.csv", plan(config, store).corpora)
    other = plan(
        config.model_copy(update={"split": SplitConfig.model_validate({"from": str(tmp_path / "folds.csv")})}), store
    )
    with open_kept(folder) as kept:
        assert not stale.not_asked_for(kept.systems, other)
        assert not stale.stale(kept.systems, store, other)


def test_files_of_older_schemas_open(folder: Path) -> None:
    """Files of schema 2 and 1 are listed as they are, and brought up when a run opens them."""
    before = [(row["encoders"], row["seeds"], row["uar_mean"]) for row in listed(folder)]
    db = sqlite3.connect(folder / "results.sqlite")
    db.executescript(
        "DROP TABLE features; ALTER TABLE experiments DROP COLUMN cell; UPDATE meta SET value = '2' WHERE name = 'schema'"
    )
    _drop_chosen(db)
    db.close()
    assert [(row["encoders"], row["seeds"], row["uar_mean"]) for row in listed(folder)] == before
    with open_results(folder) as results:
        assert results.get_meta("schema") == "3"
    assert [(row["encoders"], row["seeds"], row["uar_mean"]) for row in listed(folder)] == before


def _drop_chosen(db: sqlite3.Connection) -> None:
    if any(name == "chosen" for _, name, *_ in db.execute("PRAGMA table_info(folds)")):
        db.execute("ALTER TABLE folds DROP COLUMN chosen")


def test_listing_and_comparing_import_no_torch(folder: Path) -> None:
    """Neither torch nor scikit-learn is imported to list, compare and export."""
    code = """
import sys
from voxcache.cli import app
for arguments in (["results", sys.argv[1]], ["results", "predictions", sys.argv[1]],
                  ["results", "compare", "encoder=alpha,head=linear", "encoder=alpha,head=logreg", sys.argv[1]]):
    app(arguments, standalone_mode=False)
assert not {"torch", "sklearn", "transformers"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_escaped() -> None:
    """What LaTeX and Markdown take for markup arrives as text."""
    assert latex("50% of a_b & {c}^2 ~ \\x") == (
        r"50\% of a\_b \& \{c\}\textasciicircum{}2 \textasciitilde{} \textbackslash{}x"
    )
    assert "a\\|b" in to_markdown(Sheet(("x",), (("a|b",),)))
