"""What is decided inside the training clips: late fusions and searches, each compared with scikit-learn's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from voxcache.errors import ConfigError, Diverged
from voxcache.store import open_store
from voxcache.store.pack import Selection, pack
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.learners import learn
from voxcache.train.plan import plan
from voxcache.train.results import open_results
from voxcache.train.run import Summary, run
from voxcache.train.splits import inner_folds

Make = Callable[..., Store]
QUICK: dict[str, Any] = {"training": {"epochs": 2}, "seeds": [0], "device": "cpu", "heads": []}


def train(store: Store, folder: Path, **config: Any) -> Summary:
    """Run a quick grid quietly."""
    return run(TrainConfig.model_validate({**QUICK, **config}), store, folder, quiet=True)


def late(head: object, how: str) -> dict[str, Any]:
    """Return a fusion section with one late fusion of three encoders."""
    method = {"name": "late", "head": head, "how": how}
    return {"methods": [method], "pairs": [["a", "b", "d"]]}


def outputs(summary: Summary, folder: Path, index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return clips, folds and outputs of one experiment."""
    clips = summary.plan.corpora[0].clips
    with open_results(folder) as results:
        key = summary.plan.experiments[index].key
        if clips.targets:
            said = results.regressed(key, clips.n_outputs)
            return said.clip, said.fold, said.said
        predicted, table = results.predictions(key, clips.n_outputs)
        return predicted.clip, predicted.fold, table


def scaled_logreg(x: np.ndarray, y: np.ndarray, c: float = 1.0) -> Any:
    """Return scikit-learn's logistic regression after its scaler, fitted."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(x, y)


def vectors(store: Store, summary: Summary) -> list[np.ndarray]:
    """Return the last layer of the three encoders, in the order of the clips."""
    corpus, rows = store.corpus("made"), summary.plan.corpora[0].clips.rows
    return [corpus.encoder(name).pooled(-1)[rows] for name in "abd"]


def test_averaging_is_the_mean_of_separate_classifiers(make_store: Make, tmp_path: Path) -> None:
    """Probabilities equal the mean of three scikit-learn pipelines fitted on the training clips of each fold."""
    store = make_store(encoders=("a", "b", "d"), signal=0.5)
    summary = train(store, tmp_path, fusion=late("logreg", "average"))
    split, y = summary.plan.corpora[0].split, summary.plan.corpora[0].clips.y
    clip, fold, said = outputs(summary, tmp_path)
    for number in range(split.n_folds):
        rows, test = split.train(number), clip[fold == number]
        alone = [scaled_logreg(x[rows], y[rows]).predict_proba(x[test]) for x in vectors(store, summary)]
        np.testing.assert_allclose(said[fold == number], np.mean(alone, axis=0), atol=1e-5)


def test_stacking_is_scikit_learns_on_the_same_inner_folds(make_store: Make, tmp_path: Path) -> None:
    """Probabilities equal those of a logistic regression over out-of-fold probabilities computed here without our code."""
    store = make_store(encoders=("a", "b", "d"), signal=0.5)
    summary = train(store, tmp_path, fusion=late("logreg", "stacking"))
    corpus = summary.plan.corpora[0]
    split, y, xs = corpus.split, corpus.clips.y, vectors(store, summary)
    clip, fold, said = outputs(summary, tmp_path)
    for number in range(split.n_folds):
        rows, test = split.train(number), clip[fold == number]
        within = np.full((len(y), 3, 3), np.nan)  # [clip, class, encoder]
        for part, held in inner_folds(corpus.clips, split, number, rows, folds=3, seed=0):
            assert not set(held) & set(test)
            for index, x in enumerate(xs):
                within[held, :, index] = scaled_logreg(x[part], y[part]).predict_proba(x[held])
        meta = LogisticRegression(max_iter=1000).fit(within[rows].reshape(len(rows), -1), y[rows])
        base = np.stack([scaled_logreg(x[rows], y[rows]).predict_proba(x[test]) for x in xs], axis=-1)
        expected = meta.predict_proba(base.reshape(len(test), -1))
        np.testing.assert_allclose(said[fold == number], expected, atol=1e-4)


def test_targets_are_stacked_by_ridge(make_store: Make, tmp_path: Path) -> None:
    """Each target equals a scaled ridge over three members' out-of-fold predictions of it, computed here."""
    store = make_store(encoders=("a", "b", "d"), signal=0.3, targets=("joy", "fear"))
    summary = train(store, tmp_path, fusion=late("ridge", "stacking"), target=["joy", "fear"])
    corpus = summary.plan.corpora[0]
    split, y, xs = corpus.split, corpus.clips.y, vectors(store, summary)

    def ridge(x: np.ndarray, goal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = make_pipeline(StandardScaler(), Ridge()).fit(x, (goal - goal.mean()) / goal.std())
        return lambda new: fitted.predict(new) * goal.std() + goal.mean()

    clip, fold, said = outputs(summary, tmp_path)
    for number in range(split.n_folds):
        rows, test = split.train(number), clip[fold == number]
        for target in range(2):
            goal, within = y[:, target], np.full((len(y), 3), np.nan)
            for part, held in inner_folds(corpus.clips, split, number, rows, folds=3, seed=0):
                within[held] = np.stack([ridge(x[part], goal[part])(x[held]) for x in xs], axis=1)
            base = np.stack([ridge(x[rows], goal[rows])(x[test]) for x in xs], axis=1)
            expected = ridge(within[rows], goal[rows])(base)
            np.testing.assert_allclose(said[fold == number, target], expected, rtol=1e-4, atol=1e-4)


def test_a_search_chooses_what_scikit_learn_scores_best(make_store: Make, tmp_path: Path) -> None:
    """C chosen in every fold is the one whose UAR over the inner folds, computed here, is best; it is what then predicts."""
    grid = [0.0001, 0.01, 1.0]
    store = make_store(encoders=("a", "b", "d"), signal=0.35, n=120, n_speakers=20)
    summary = train(store, tmp_path, heads=[{"name": "logreg", "search": {"c": grid}}], encoders=["a"])
    corpus = summary.plan.corpora[0]
    split, y, x = corpus.split, corpus.clips.y, vectors(store, summary)[0]
    with open_results(tmp_path) as results:
        chosen = results.chosen(summary.plan.experiments[0].key)
    clip, fold, said = outputs(summary, tmp_path)
    for number in range(split.n_folds):
        rows, test = split.train(number), clip[fold == number]
        found = []
        for c in grid:
            folds = inner_folds(corpus.clips, split, number, rows, folds=3, seed=0)
            found.append(
                np.mean(
                    [
                        recall_score(y[held], scaled_logreg(x[part], y[part], c).predict(x[held]), average="macro")
                        for part, held in folds
                    ]
                )
            )
        best = grid[int(np.argmax(found))]
        assert chosen[number] == {"c": best}
        expected = scaled_logreg(x[rows], y[rows], best).predict_proba(x[test])
        np.testing.assert_allclose(said[fold == number], expected, atol=1e-5)


def test_the_best_layer_is_found(make_store: Make, tmp_path: Path) -> None:
    """Where one layer alone carries the class, every fold chooses it, for heads on vectors and for those of a late fusion."""
    made = make_store.corpus  # type: ignore[attr-defined]

    class OneLayer(made):  # type: ignore[misc, valid-type]
        """Layer 1 carries the class, the others noise."""

        def embeddings(self, encoder: int) -> np.ndarray:
            values = super().embeddings(encoder)
            noise = np.random.default_rng(encoder).normal(size=values.shape).astype(np.float32)
            noise[:, 1] = values[:, 1]
            return noise

    store = make_store(OneLayer(encoders=("a", "b", "d")))
    heads = ["logreg", {"name": "knn", "search": {"k": [1, 3]}}]
    summary = train(store, tmp_path, heads=heads, inputs={"layer": "best"}, fusion=late("logreg", "average"))
    with open_results(tmp_path) as results:
        for experiment in summary.plan.experiments:
            for chosen in results.chosen(experiment.key):
                layers = [one["layer"] for one in chosen.values()] if experiment.chosen.late else [chosen["layer"]]
                assert set(layers) == {1}, (experiment.text, chosen)
    assert "best layer" in summary.plan.experiments[0].input_text


def test_the_best_of_some_layers_is_found(make_store: Make, tmp_path: Path) -> None:
    """Where a store holds layers 0 and 2 of three, every fold chooses between these, for heads and late fusions."""
    pack(make_store().path, tmp_path / "some.zarr", Selection(layers={"": (0, 2)}))
    fusion = {"methods": [{"name": "late", "head": "logreg"}]}
    config: dict[str, Any] = {"heads": ["logreg"], "inputs": {"layer": "best"}, "fusion": fusion}
    summary = train(open_store(tmp_path / "some.zarr"), tmp_path / "out", **config)
    assert summary.trained == 3
    with open_results(tmp_path / "out") as results:
        chosen = [one for e in summary.plan.experiments[:2] for one in results.chosen(e.key)]
    assert {one["layer"] for one in chosen} <= {0, 2}


def test_a_candidate_that_diverges_is_not_chosen(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fold within which it diverges takes the other one; all other folds choose as before."""

    def diverging(setting: Any, chosen: Any, xs: Any, tasks: Any) -> Any:
        if chosen.values.c == 1 and any(task.fold == 0 for task in tasks):
            raise Diverged("made to diverge", seeds=[0])
        return learn(setting, chosen, xs, tasks)

    store, config = make_store(encoders=("a",)), {"heads": [{"name": "logreg", "search": {"c": [1, 0.1]}}]}
    monkeypatch.setattr("voxcache.train.nested.learn", diverging)
    summary = train(store, tmp_path, **config)
    with open_results(tmp_path) as results:
        chosen = [one["c"] for one in results.chosen(summary.plan.experiments[0].key)]
    assert chosen == [0.1, 1, 1, 1, 1]


def test_searches_of_networks_are_recorded_and_shown(make_store: Make, tmp_path: Path) -> None:
    """RENO's alpha and lambda are searched together; each fold keeps what it chose in results.sqlite."""
    method = {"name": "reno", "search": {"alpha": [0.3, 0.9], "lambda": [0.0, 0.1]}, "hidden": [8]}
    fusion = {"methods": [method], "pairs": [["a", "b", "d"]]}
    store = make_store(encoders=("a", "b", "d"))
    summary = train(store, tmp_path, fusion=fusion, inner_folds=2)
    with open_results(tmp_path) as results:
        chosen = results.chosen(summary.plan.experiments[0].key)
    assert len(chosen) == 5
    assert all(set(one) == {"alpha", "weight"} and one["alpha"] in (0.3, 0.9) for one in chosen)
    assert "alpha=0.3|0.9" in summary.plan.experiments[0].chosen.label
    assert train(store, tmp_path, fusion=fusion, inner_folds=2).reused == 1


def test_a_search_never_sees_what_is_tested(make_store: Make, tmp_path: Path) -> None:
    """Turning over the labels of one tested fold changes neither its predictions nor what was chosen for it."""
    store = make_store(signal=0.4)
    config = {"heads": [{"name": "logreg", "search": {"c": [0.001, 1.0]}}], "encoders": ["alpha"]}
    first = train(store, tmp_path / "a", split={"group": "none"}, **config)
    clips, split = first.plan.corpora[0].clips, first.plan.corpora[0].split
    names = {str(clip): clips.classes[y] for clip, y in zip(clips.ids, clips.y, strict=True)}
    turned = {str(clips.ids[i]): clips.classes[(clips.y[i] + 1) % 3] for i in split.test(0)}
    other = make_store(signal=0.4, path=tmp_path / "turned.zarr", label=lambda i: {**names, **turned}[f"clip-{i:03d}"])
    folds = tmp_path / "folds.csv"
    folds.write_text("clip,fold\n" + "".join(f"{c},{f}\n" for c, f in first.plan.corpora[0].dealt.items()))
    second = train(other, tmp_path / "b", split={"from": str(folds)}, **config)
    rows = [outputs(first, tmp_path / "a"), outputs(second, tmp_path / "b")]
    np.testing.assert_allclose(*(said[fold == 0] for _, fold, said in rows), atol=1e-6)


def test_what_cannot_be_searched_is_refused(make_store: Make) -> None:
    """Unknown options, values out of range, an option both stated and searched, and empty lists each get a sentence."""
    store = make_store()
    for search, stated, message in (
        ({"cc": [1]}, {}, "option 'cc': unknown, did you mean 'c'"),
        ({"c": [1, -1]}, {}, "option 'c': Input should be greater than 0, got -1"),
        ({"c": [1]}, {"c": 2}, "option 'c': stated and searched"),
    ):
        config = {**QUICK, "heads": [{"name": "logreg", "search": search, **stated}]}
        with pytest.raises(ConfigError, match=message):
            plan(TrainConfig.model_validate(config), store)
    with pytest.raises(ValueError, match="expected one candidate or more"):
        TrainConfig.model_validate({"heads": [{"name": "logreg", "search": {"c": []}}]})


def test_late_fusions_of_unknown_or_unsuited_heads_are_refused(make_store: Make) -> None:
    """A head that is unknown, wrongly set, or predicts something else is named with its fusion."""
    store = make_store(encoders=("a", "b", "d"), targets=("joy",))
    for config, message in (
        ({"fusion": late("fnc", "average")}, "head 'fnc': unknown, did you mean 'fcn'"),
        ({"fusion": late({"name": "fcn", "hiden": 3}, "average")}, "option 'hiden': unknown, did you mean 'hidden'"),
        (
            {"fusion": late("logreg", "average"), "target": "joy"},
            "head 'logreg' of fusion 'late': predicts classes only",
        ),
        ({"fusion": late("svm", "average"), "inputs": {"layer": "weighted"}}, "head 'svm' of fusion 'late' is none"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(TrainConfig.model_validate({**QUICK, **config}), store)


def test_a_late_network_is_the_mean_of_the_heads_alone(make_store: Make, tmp_path: Path) -> None:
    """A late fusion of fcn says the mean of what three fcn heads say in the same run."""
    store = make_store(encoders=("a", "b", "d"), signal=0.5)
    summary = train(store, tmp_path, heads=["linear"], fusion=late("linear", "average"))
    alone = [outputs(summary, tmp_path, index)[2] for index in range(3)]
    np.testing.assert_allclose(outputs(summary, tmp_path, 3)[2], np.mean(alone, axis=0), atol=2e-5)
    label = json.loads(summary.plan.experiments[3].chosen.options)["head"]["name"]
    assert label == "linear"
