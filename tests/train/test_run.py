"""Stage 2 from end to end on small stores."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from voxcache.errors import StoreError, TrainError
from voxcache.store.read import Store
from voxcache.train import execute, fit
from voxcache.train.config import TrainConfig
from voxcache.train.plan import plan
from voxcache.train.report import baseline
from voxcache.train.results import open_results
from voxcache.train.run import Summary, report, run
from voxcache.train.tables import tables

Make = Callable[..., Store]
QUICK = {"training": {"epochs": 3}, "seeds": [0], "device": "cpu"}


def train(store: Store, folder: Path, *, workers: int = 1, dry_run: bool = False, **config: Any) -> Summary:
    """Run a quick grid quietly."""
    return run(
        TrainConfig.model_validate({**QUICK, **config}), store, folder, quiet=True, workers=workers, dry_run=dry_run
    )


def predicted(store: Store, folder: Path, **config: Any) -> dict[str, np.ndarray]:
    """Return the probabilities of every experiment by its text."""
    made = plan(TrainConfig.model_validate({**QUICK, **config}), store)
    n_classes = len(made.corpora[0].clips.classes)
    with open_results(folder) as results:
        return {e.text: results.predictions(e.key, n_classes)[1] for e in made.experiments}


EVERY = {
    "heads": ["fcn", "cnn", "linear", "mlp2", "logreg", "svm", "knn", {"name": "forest", "trees": 20}],
    "fusion": {"methods": ["concat", "reno", "gated", "cross-attention"]},
}


def test_every_head_and_fusion_learns_what_can_be_learnt(make_store: Make, tmp_path: Path) -> None:
    """On embeddings that carry the class, every head and fusion is far above chance, and a second run trains nothing."""
    store = make_store()
    config: dict[str, Any] = {**EVERY, "training": {"epochs": 12, "lr": 5e-3}}
    summary = train(store, tmp_path / "out", **config)
    assert (summary.trained, summary.reused) == (20, 0)
    with open_results(tmp_path / "out") as results:
        made = tables(summary.plan, results)
    scores = {
        (row[0], column): cell.scores["uar"].mean for table in made for (row, column), cell in table.cells.items()
    }
    assert len(scores) == 20
    assert min(scores.values()) > 0.7, scores
    again = train(store, tmp_path / "out", **config)
    assert (again.trained, again.reused) == (0, 20)


def test_adding_a_head_trains_only_that_head(make_store: Make, tmp_path: Path) -> None:
    """Other experiments of the grid are found finished."""
    store = make_store()
    train(store, tmp_path / "out", heads=["linear"])
    more = train(store, tmp_path / "out", heads=["linear", "knn"])
    assert (more.trained, more.reused) == (2, 2)


def test_results_made_from_other_audio_are_stale(make_store: Make, tmp_path: Path) -> None:
    """After the audio changed, the same cells are run again and named."""
    train(make_store(path=tmp_path / "a"), tmp_path / "out", heads=["knn"])
    changed = train(make_store(path=tmp_path / "b", audio="b"), tmp_path / "out", heads=["knn"])
    assert (changed.trained, changed.reused, len(changed.stale)) == (2, 0, 2)


def test_a_dry_run_writes_nothing(make_store: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be done, and no folder appears."""
    summary = train(make_store(), tmp_path / "out", dry_run=True)
    assert summary.report is None
    assert not (tmp_path / "out").exists()
    assert "4 experiments, 0 finished before, 4 to do" in capsys.readouterr().out


def test_scores_in_the_file_are_those_of_its_predictions(make_store: Make, tmp_path: Path) -> None:
    """Fold scores in SQLite equal scikit-learn's on the stored predictions, read with sqlite3 and numpy alone."""
    store = make_store(signal=0.5)
    summary = train(store, tmp_path / "out", heads=["linear"], encoders=["alpha"])
    y = summary.plan.corpora[0].clips.y
    db = sqlite3.connect(tmp_path / "out" / "results.sqlite")
    clip, fold, probability = db.execute("SELECT clip, fold, probability FROM predictions").fetchone()
    clip, fold = np.frombuffer(clip, "<i4"), np.frombuffer(fold, "<i2")
    said = np.frombuffer(probability, "<f4").reshape(len(clip), 3)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    assert sorted(clip) == list(range(60))
    for number, n_test, accuracy, uar, f1 in db.execute("SELECT fold, n_test, accuracy, uar, macro_f1 FROM folds"):
        true, guess = y[clip[fold == number]], said[fold == number].argmax(1)
        assert n_test == len(true)
        assert accuracy == pytest.approx(metrics.accuracy_score(true, guess))
        assert f1 == pytest.approx(metrics.f1_score(true, guess, average="macro"))
        assert uar == pytest.approx(metrics.recall_score(true, guess, average="macro", labels=np.unique(true)))


def test_seeds_side_by_side_or_alone_give_the_same(make_store: Make, tmp_path: Path) -> None:
    """An experiment's probabilities do not depend on which seeds and heads ran beside it."""
    store = make_store(signal=0.5)
    train(store, tmp_path / "many", heads=["linear", "fcn"], seeds=[0, 1, 2])
    train(store, tmp_path / "one", heads=["fcn"], seeds=[1])
    many = predicted(store, tmp_path / "many", heads=["fcn"], seeds=[1])
    one = predicted(store, tmp_path / "one", heads=["fcn"], seeds=[1])
    for text, values in one.items():
        np.testing.assert_allclose(values, many[text], atol=2e-5)


def test_workers_give_the_same_results(make_store: Make, tmp_path: Path) -> None:
    """Two processes side by side give what one gives."""
    store = make_store(signal=0.5)
    train(store, tmp_path / "one", heads=["linear"])
    train(store, tmp_path / "two", heads=["linear"], workers=2)
    one, two = (predicted(store, tmp_path / name, heads=["linear"]) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for text in one:
        np.testing.assert_allclose(one[text], two[text], atol=2e-5)


def test_stopping_keeps_what_is_finished(make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in the third job, the first two are found finished."""
    store, real = make_store(), execute.Worker.run
    started: list[str] = []

    def interrupted(self: execute.Worker, job: execute.Job) -> execute.Ended:
        started.append(job.text)
        if len(started) == 3:
            raise KeyboardInterrupt
        return real(self, job)

    monkeypatch.setattr(execute.Worker, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(store, tmp_path / "out", heads=["linear", "knn"])
    monkeypatch.undo()
    rest = train(store, tmp_path / "out", heads=["linear", "knn"])
    assert (rest.trained, rest.reused) == (2, 2)


def test_one_failing_experiment_does_not_stop_the_others(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are kept and reported, the failure is named in the error and in the report."""

    def broken(*_: object) -> None:
        raise ValueError("made to fail")

    monkeypatch.setattr("voxcache.train.estimators.knn", broken)
    with pytest.raises(TrainError, match=r"2 of 4 experiments failed.*\n.*ValueError: made to fail"):
        train(make_store(), tmp_path / "out", heads=["linear", "knn"])
    assert "failed or not run: made: alpha (layer 2, mean) -&gt; knn" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.undo()
    assert train(make_store(), tmp_path / "out", heads=["linear", "knn"]).reused == 2


def test_a_seed_that_diverges_does_not_stop_the_others(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its experiment fails with what to do, the other seeds of the same job are kept."""
    real = fit.Member.generator

    def spoilt(self: fit.Member, purpose: str) -> object:
        return Infinite() if (self.seed, purpose) == (1, "weights") else real(self, purpose)

    monkeypatch.setattr(fit.Member, "generator", spoilt)
    with pytest.raises(
        TrainError, match=r"1 of 3 experiments failed.*\n.*network of seed 1, fold 0 .*Use a lower `lr`"
    ):
        train(make_store(encoders=("alpha",)), tmp_path / "out", heads=["linear"], seeds=[0, 1, 2])
    monkeypatch.undo()
    rest = train(make_store(encoders=("alpha",)), tmp_path / "out", heads=["linear"], seeds=[0, 1, 2])
    assert (rest.trained, rest.reused) == (1, 2)


class Infinite:
    """Draws infinite weights."""

    def random(self, *, out: np.ndarray, dtype: object) -> None:
        out[...] = np.inf


def test_a_label_that_occurs_once_crashes_nothing(make_store: Make, tmp_path: Path) -> None:
    """Every head runs; the class is named as one that can only be got wrong."""
    store = make_store(encoders=("a", "b"), label=lambda i: "once" if i == 0 else "xy"[i % 2])
    summary = train(store, tmp_path / "out", **EVERY)
    assert summary.trained == 20
    assert any("'once' (1 clip) is never both" in note for note in summary.plan.corpora[0].notes)


@pytest.mark.parametrize(
    "config",
    [
        {
            "inputs": {"layer": "weighted", "statistics": "mean+std"},
            "heads": ["linear"],
            "fusion": {"methods": ["concat"]},
        },
        {"inputs": {"layer": "all"}, "heads": ["knn"]},
        {"split": {"kind": "logo"}, "heads": ["knn", "linear"]},
        {"split": {"kind": "predefined"}, "heads": ["logreg", "linear"]},
        {"training": {"class_weights": "balanced", "epochs": 2}, "heads": ["logreg", "linear", "forest"]},
    ],
)
def test_inputs_and_splits_of_every_kind_run(make_store: Make, tmp_path: Path, config: dict[str, Any]) -> None:
    """Each ends in a report with a row for every experiment."""
    store = make_store(std=True, n=45, n_speakers=5, split=lambda i: ("train", "train", "dev", "test")[i % 4])
    summary = train(store, tmp_path / "out", **{"training": {"epochs": 2}, **config})
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").open()))
    assert len(rows) == summary.trained > 0


def test_learned_layer_weights_are_kept(make_store: Make, tmp_path: Path) -> None:
    """One list of weights a fold and encoder, each summing to 1."""
    config = {"inputs": {"layer": "weighted"}, "heads": ["linear"], "encoders": ["alpha"]}
    summary = train(make_store(), tmp_path / "out", **config)
    with open_results(tmp_path / "out") as results:
        weights = results.layer_weights(summary.plan.experiments[0].key)
    assert np.shape(weights) == (5, 1, 3)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=1e-5)


def test_embeddings_that_know_the_speaker_alone_fool_random_folds_only(make_store: Make, tmp_path: Path) -> None:
    """Speaker identity without label information: at chance under grouped folds, far above it under random ones, which
    the report explains with the number of clips leaked."""
    store = make_store(
        n=240, n_speakers=24, signal=0.0, voice=4.0, speaker_decides_class=True, dim=32, encoders=("voice",)
    )
    uar = {}
    for group in ("auto", "none"):
        summary = train(store, tmp_path / group, heads=["logreg"], split={"group": group})
        with open_results(tmp_path / group) as results:
            (cell,) = tables(summary.plan, results)[0].cells.values()
        uar[group] = cell.scores["uar"].mean
    assert uar["auto"] < 0.5
    assert uar["none"] > 0.9
    report = (tmp_path / "none" / "report.html").read_text()
    assert "LEAK: 240 of 240 tested clips (100 %) have a clip of the same speaker among those trained on" in report
    assert "Do not believe these scores for new speakers" in report


class _Page(HTMLParser):
    """Collects what a page links to and the tags it leaves open."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_says_all_a_reader_must_know(make_store: Make, tmp_path: Path) -> None:
    """One file without links: clips used and why not all, split, random weights, contamination, baseline, map, confusion."""
    store = make_store(failed={"alpha": (4,)})
    train(store, tmp_path / "out", heads=["linear"], fusion={"methods": ["concat"]})
    html = (tmp_path / "out" / "report.html").read_text()
    page = _Page()
    page.feed(html)
    assert (page.links, page.open) == ([], [])
    for text in (
        "59 of 60 clips used (1 alpha: extraction failed: made to fail (clip-004))",
        "5 stratified folds, no speaker in two of them (10 groups)",
        "<b>Random weights:</b> beta-random was never trained",
        "<b>Contamination:</b> alpha was pre-trained on this corpus (Made; in all: AudioSet, Made)",
        "Always saying the most frequent class",
        "Confusion: ",
        'aria-label="made, alpha, layer 2, t-SNE, coloured by class"',
        'aria-label="made, alpha, layer 2, t-SNE, coloured by speaker"',
        "prefers-color-scheme: dark",
    ):
        assert text in html, text
    assert html.count("h0") > 2 * 2 * 59  # two encoders, coloured by class and by speaker
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "**59 of 60 clips used (1 alpha: extraction failed: made to fail (clip-004)).**" in markdown


def test_the_table_file_agrees_with_the_results(make_store: Make, tmp_path: Path) -> None:
    """Means and both deviations in table.csv equal those of the folds in SQLite; the interval surrounds the pooled score."""
    train(make_store(signal=0.7), tmp_path / "out", heads=["linear"], encoders=["alpha"], seeds=[0, 1])
    (row,) = csv.DictReader((tmp_path / "out" / "table.csv").open())
    db = sqlite3.connect(tmp_path / "out" / "results.sqlite")
    values = np.array([value for (value,) in db.execute("SELECT uar FROM folds ORDER BY experiment, fold")])
    by_seed = values.reshape(2, 5)
    assert float(row["uar_mean"]) == pytest.approx(values.mean(), abs=1e-6)
    assert float(row["uar_std_folds"]) == pytest.approx(by_seed.mean(0).std(ddof=1), abs=1e-6)
    assert float(row["uar_std_seeds"]) == pytest.approx(by_seed.mean(1).std(ddof=1), abs=1e-6)
    assert float(row["uar_low"]) < float(row["uar_pooled"]) < float(row["uar_high"])


def test_the_baseline_is_scikit_learns_dummy(make_store: Make) -> None:
    """Scores of the most frequent class equal those of DummyClassifier, fitted in every fold, on all tested clips together."""
    from sklearn.dummy import DummyClassifier

    corpus = plan(TrainConfig(), make_store(label=lambda i: "often" if i % 5 else "rare")).corpora[0]
    y, split = corpus.clips.y, corpus.split
    said = np.full_like(y, -1)
    for fold in range(5):
        dummy = DummyClassifier(strategy="most_frequent").fit(y[split.train(fold)], y[split.train(fold)])
        said[split.test(fold)] = dummy.predict(y[split.test(fold)])
    assert baseline(corpus)["macro_f1"] == pytest.approx(metrics.f1_score(y, said, average="macro"))


def test_the_better_cell_is_marked_and_noise_is_not(make_store: Make, tmp_path: Path) -> None:
    """An encoder that carries the class is best; one that does not is told apart from it; a copy of it is a tie."""
    made = make_store.corpus  # type: ignore[attr-defined]

    class Three(made):  # type: ignore[misc, valid-type]
        """alpha and its copy carry the class, noise carries nothing."""

        def embeddings(self, encoder: int) -> np.ndarray:
            values = super().embeddings(0)
            return np.random.default_rng(9).normal(size=values.shape).astype(np.float32) if encoder == 2 else values

    store = make_store(Three(n=120, n_speakers=20, encoders=("alpha", "copy", "noise"), signal=2.0))
    summary = train(store, tmp_path / "out", heads=["logreg"])
    with open_results(tmp_path / "out") as results:
        cells = tables(summary.plan, results)[0].cells
    marks = {row[0]: (cell.scores["uar"].best, cell.scores["uar"].tie) for (row, _), cell in cells.items()}
    assert marks == {"alpha": (True, False), "copy": (False, True), "noise": (False, False)}


def test_embeddings_that_are_not_finite_are_named(make_store: Make, tmp_path: Path) -> None:
    """A clip that counts as ok but holds NaN fails its experiments with its id, not as a bad score."""
    made = make_store.corpus  # type: ignore[attr-defined]

    class Broken(made):  # type: ignore[misc, valid-type]
        """One clip holds NaN without a word in its ledger."""

        def embeddings(self, encoder: int) -> np.ndarray:
            values = super().embeddings(encoder)
            values[7] = np.nan
            return values

    with pytest.raises(TrainError, match="1 clips hold NaN or infinity \\(first: clip-007\\)"):
        train(make_store(Broken(encoders=("a",))), tmp_path / "out", heads=["knn"])


def test_a_file_that_holds_no_results_is_refused(make_store: Make, tmp_path: Path) -> None:
    """A text file named results.sqlite is named, not overwritten."""
    (tmp_path / "results.sqlite").write_text("this is no database, only a text long enough to be told apart")
    with pytest.raises(StoreError, match="expected a SQLite file of voxcache"):
        train(make_store(), tmp_path, heads=["knn"])
    assert "no database" in (tmp_path / "results.sqlite").read_text()


def test_a_report_of_what_is_finished_trains_nothing(make_store: Make, tmp_path: Path) -> None:
    """Of a larger grid the finished half is shown and the rest named; where nothing is finished, that is said."""
    store, folder = make_store(), tmp_path / "out"
    larger = TrainConfig.model_validate({**QUICK, "heads": ["linear", "logreg"]})
    with pytest.raises(TrainError, match=r"got none of 4\. Run `voxcache train` first"):
        report(larger, store, folder)
    assert not folder.exists()
    train(store, folder, heads=["linear"])
    text = report(larger, store, folder, quiet=True).read_text()
    assert text.count("failed or not run: made: ") == 2
    with open_results(folder) as results:
        assert len(results.done(e.key for e in plan(larger, store).experiments)) == 2
