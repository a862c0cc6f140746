"""Continuous targets: scores against scipy, intervals against clips written out, and grids from end to end."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jackknife import expected
from scipy import stats
from sklearn import metrics

from voxcache.errors import ConfigError
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.design import design_of
from voxcache.train.intervals import estimate
from voxcache.train.plan import plan
from voxcache.train.report import baseline
from voxcache.train.results import open_results
from voxcache.train.run import Summary, run
from voxcache.train.tables import by_target, tables
from voxcache.train.targets import Regressed, left_out_targets, target_scores, weighted_ranks

Make = Callable[..., Store]
NAMES = ("calm", "tired")


def train(store: Store, folder: Path, **config: Any) -> Summary:
    """Run a quick grid quietly."""
    quick = {"training": {"epochs": 3}, "seeds": [0], "device": "cpu", "target": NAMES}
    return run(TrainConfig.model_validate({**quick, **config}), store, folder, quiet=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_scores_are_scipys(pairs: list[tuple[int, int]]) -> None:
    """Spearman and Pearson equal scipy's with ties, CCC its definition, MAE scikit-learn's; constants correlate 0."""
    y, said = np.array(pairs, dtype=np.float64).T
    spearman, pearson, ccc, mae = target_scores(y, said)[:, 0]
    if np.ptp(y) and np.ptp(said):
        assert spearman == pytest.approx(stats.spearmanr(y, said).statistic, abs=1e-9)
        assert pearson == pytest.approx(stats.pearsonr(y, said).statistic, abs=1e-9)
    else:
        assert (spearman, pearson) == (0, 0)
    apart = y.var() + said.var() + (y.mean() - said.mean()) ** 2
    assert ccc == pytest.approx(2 * np.cov(y, said, ddof=0)[0, 1] / apart if apart else 0, abs=1e-9)
    assert mae == pytest.approx(metrics.mean_absolute_error(y, said))


def test_weights_are_repeated_clips() -> None:
    """Scores and ranks under weights equal those of clips written out as often as they are drawn."""
    rng = np.random.default_rng(0)
    y, said = rng.integers(0, 6, 30).astype(float), rng.normal(size=30)
    weights = rng.integers(0, 4, (5, 30)).astype(float)
    for draw, weight in enumerate(weights):
        clips = np.repeat(np.arange(30), weight.astype(int))
        np.testing.assert_allclose(target_scores(y, said, weights)[:, draw], target_scores(y[clips], said[clips])[:, 0])
        np.testing.assert_allclose(weighted_ranks(y, weights)[draw][clips], stats.rankdata(y[clips]))


@pytest.mark.parametrize("grouped", [True, False])
def test_intervals_leave_whole_speakers_and_folds_out(grouped: bool) -> None:
    """Spearman, MAE and their intervals equal scipy's without each speaker and fold; folds weigh by the speakers left."""
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(11), rng.integers(5, 9, 11)) if grouped else np.arange(60)
    fold = (unit % 4).astype(np.int64)
    y = rng.normal(size=(len(unit), 1)) + (0.5 * np.sin(unit))[:, None]
    said = y + rng.normal(size=y.shape)
    design = design_of(y, fold, unit.astype(str) if grouped else None, column="speaker")
    left = left_out_targets(design, Regressed(np.arange(len(y)), fold, said))

    def of(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray], float]:
        def whole(keep: np.ndarray) -> float:
            parts = [(fold == f) & keep for f in range(4) if ((fold == f) & keep).any()]
            values = [score(y[part, 0], said[part, 0]) for part in parts]
            return float(np.average(values, weights=[len(np.unique(unit[part])) for part in parts]))

        return whole

    n_units = np.array([len(np.unique(unit[fold == f])) for f in range(4)])
    share = (n_units / n_units.sum() / np.bincount(fold))[fold]
    scores = {"spearman": lambda a, b: float(stats.spearmanr(a, b).statistic), "mae": metrics.mean_absolute_error}
    for metric, score in scores.items():
        ours = estimate(design, left, metric)
        assert (ours.value, ours.low, ours.high, ours.p) == pytest.approx(expected(of(score), share, unit, fold))


def test_a_fold_of_few_clips_has_no_say_in_correlations() -> None:
    """Three clips that correlate by -1 leave Spearman as it is without them, and count in the mean absolute error."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(63, 1))
    said = y + rng.normal(size=y.shape)
    said[60:] = -y[60:]
    fold = np.append(np.arange(60) % 3, [3, 3, 3])
    whole, without = (
        left_out_targets(
            design_of(y[:n], fold[:n], None, column=None), Regressed(np.arange(n), fold[:n], said[:n])
        ).whole
        for n in (63, 60)
    )
    assert whole[:3] == pytest.approx(without[:3])
    assert whole[3] != pytest.approx(without[3])


def test_many_units_are_left_out_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the number of blocks the standard error is nearly that of single units, and p and interval come from it."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(400, 1))
    said, fold = y + rng.normal(size=y.shape), np.arange(400) % 5
    errors = []
    for most in (500, 100):
        monkeypatch.setattr("voxcache.train.design._MOST_BLOCKS_TARGETS", most)
        design = design_of(y, fold, None, column=None)
        assert design.n_blocks == min(400, most)
        assert design.units_text == "400 clips"
        left = left_out_targets(design, Regressed(np.arange(400), fold, said))
        errors.append(estimate(design, left, "pearson").se)
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


@pytest.mark.parametrize("joint", [False, True])
def test_every_head_learns_targets(make_store: Make, tmp_path: Path, joint: bool) -> None:
    """Alone or jointly, every head and fusion follows targets that the embeddings carry, and a second run trains nothing."""
    store = make_store(targets=NAMES)
    config: dict[str, Any] = {
        "heads": ["linear", "mlp2", "ridge", "svm", "knn", {"name": "forest", "trees": 20}],
        "fusion": {"methods": ["reno"]},
        "training": {"epochs": 12, "lr": 5e-3},
        "joint": joint,
    }
    summary = train(store, tmp_path / "out", **config)
    with open_results(tmp_path / "out") as results:
        cells = [(place, cell) for table in tables(summary.plan, results) for place, cell in table.cells.items()]
    assert len(cells) == summary.trained == 13
    for place, cell in cells:
        assert cell.scores["spearman"].mean > 0.6, place
        each = by_target(cell, "spearman")
        assert tuple(sorted(each)) == tuple(sorted(NAMES))
        assert np.mean([score.mean for score in each.values()]) == pytest.approx(cell.scores["spearman"].mean)
    assert train(store, tmp_path / "out", **config).trained == 0
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Spearman ρ by target" in html
    assert ("one network for all" if joint else "one network a target") in html


def test_scores_in_the_file_are_those_of_its_predictions(make_store: Make, tmp_path: Path) -> None:
    """Every fold's scores in SQLite equal scipy's on the stored predictions, in the units of the target."""
    store = make_store(targets=NAMES)
    summary = train(store, tmp_path / "out", heads=["linear"], encoders=["alpha"])
    y = summary.plan.corpora[0].clips.y
    db = sqlite3.connect(tmp_path / "out" / "results.sqlite")
    clip, fold, said = db.execute("SELECT clip, fold, probability FROM predictions").fetchone()
    clip, fold = np.frombuffer(clip, "<i4"), np.frombuffer(fold, "<i2")
    said = np.frombuffer(said, "<f4").reshape(len(clip), 2)
    rows = db.execute("SELECT fold, target, spearman, mae FROM target_scores").fetchall()
    assert len(rows) == 10
    for number, name, spearman, mae in rows:
        mine, target = fold == number, NAMES.index(name)
        assert spearman == pytest.approx(stats.spearmanr(y[clip[mine], target], said[mine, target]).statistic)
        assert mae == pytest.approx(np.abs(y[clip[mine], target] - said[mine, target]).mean(), rel=1e-5)
    (line,) = csv.DictReader((tmp_path / "out" / "table.csv").open())
    assert float(line["spearman_mean"]) == pytest.approx(np.mean([row[2] for row in rows]), abs=1e-6)


def test_a_network_of_its_own_does_not_see_the_other_targets(make_store: Make, tmp_path: Path) -> None:
    """One network a target: predictions of a target are the same beside others and alone."""
    store = make_store(targets=NAMES)
    said = []
    for names in (NAMES, NAMES[1:]):
        summary = train(store, tmp_path / str(len(names)), heads=["mlp2"], encoders=["alpha"], target=names)
        with open_results(tmp_path / str(len(names))) as results:
            said.append(results.regressed(summary.plan.experiments[0].key, len(names)).said[:, -1])
    np.testing.assert_allclose(said[0], said[1], atol=2e-5)


def test_clips_without_a_value_are_counted(make_store: Make) -> None:
    """A clip that lacks one of the targets is left out and counted under their names."""
    made = make_store.corpus  # type: ignore[attr-defined]

    class Gaps(made):  # type: ignore[misc, valid-type]
        """The first two clips lack a value."""

        def target(self, index: int) -> np.ndarray:
            values = super().target(index)
            values[index] = np.nan
            return values

    clips = plan(TrainConfig(target=NAMES), make_store(Gaps(targets=NAMES))).corpora[0].clips
    assert clips.used_text == "58 of 60 clips used (2 without a value in 'calm', 'tired')"


def test_the_dev_part_can_be_tested(make_store: Make, tmp_path: Path) -> None:
    """`tested: dev` tests the dev clips, trains on train alone, leaves test unused and watches a part of train."""
    store = make_store(targets=NAMES, split=lambda i: ("train", "train", "dev", "test")[i % 4])
    split = {"kind": "predefined", "tested": "dev"}
    summary = train(store, tmp_path / "out", heads=["linear"], encoders=["alpha"], split=split)
    made = summary.plan.corpora[0].split
    assert (len(made.test(0)), len(made.train(0)), len(made.dev)) == (15, 30, 0)
    db = sqlite3.connect(tmp_path / "out" / "results.sqlite")
    assert db.execute("SELECT n_train + n_inner, n_inner > 0, n_test FROM folds").fetchone() == (30, 1, 15)


def test_the_baseline_says_the_mean(make_store: Make) -> None:
    """Its error is that of scikit-learn's DummyRegressor, and it correlates with nothing."""
    from sklearn.dummy import DummyRegressor

    corpus = plan(TrainConfig(target=NAMES), make_store(targets=NAMES)).corpora[0]
    y, split, errors = corpus.clips.y, corpus.split, []
    for fold in range(5):
        dummy = DummyRegressor().fit(y[split.train(fold)], y[split.train(fold)])
        errors.append(metrics.mean_absolute_error(y[split.test(fold)], dummy.predict(y[split.test(fold)])))
    found = baseline(corpus)
    assert found["mae"] == pytest.approx(np.mean(errors))
    assert (found["spearman"], found["ccc"]) == (0, pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": ["logreg"]}, "head 'logreg': predicts classes only, corpus 'made' gives calm, tired"),
        ({"target": "label", "heads": ["ridge"]}, "head 'ridge': predicts continuous targets only"),
        ({"target": ["calm", "label"]}, "column 'label' holds words; expected numbers beside other targets"),
        ({"training": {"class_weights": "balanced"}}, "continuous targets have no classes"),
    ],
)
def test_what_does_not_suit_targets_is_refused(make_store: Make, config: dict[str, Any], message: str) -> None:
    """Each before anything is trained, with the reason."""
    with pytest.raises(ConfigError, match=message):
        plan(TrainConfig.model_validate({"target": NAMES, **config}), make_store(targets=NAMES))


def test_results_of_schema_1_are_kept(make_store: Make, tmp_path: Path) -> None:
    """A results file whose scores could not be absent is migrated: nothing is trained again, scores stay as they were."""
    store = make_store(targets=NAMES)
    train(store, tmp_path / "out", heads=["knn"], target="label")
    db = sqlite3.connect(tmp_path / "out" / "results.sqlite", isolation_level=None)
    before = db.execute("SELECT experiment, fold, uar, accuracy FROM folds ORDER BY 1, 2").fetchall()
    db.execute("DROP TABLE target_scores")
    db.execute("ALTER TABLE folds DROP COLUMN chosen")
    db.execute("ALTER TABLE experiments DROP COLUMN cell")
    db.execute("PRAGMA writable_schema = 1")
    db.execute("UPDATE sqlite_master SET sql = replace(sql, 'uar REAL', 'uar REAL NOT NULL')")
    db.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    db.close()
    assert train(store, tmp_path / "out", heads=["knn"], target="label").trained == 0
    db = sqlite3.connect(tmp_path / "out" / "results.sqlite")
    assert db.execute("SELECT experiment, fold, uar, accuracy FROM folds ORDER BY 1, 2").fetchall() == before
    assert train(store, tmp_path / "out", heads=["knn"]).trained == 2
