"""Heads as scikit-learn estimators: its own conformance checks, its tools, and the numbers of the grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxcache.store.read import Store
from voxcache.train import HeadClassifier, HeadRegressor
from voxcache.train.config import TrainConfig
from voxcache.train.results import open_results
from voxcache.train.run import run

EXPECTED_FAILURES = {
    "check_methods_sample_order_invariance": "sums in float32 differ in the 8th digit with the place of a row in its batch",
    "check_methods_subset_invariance": "the same, with the size of the batch",
}


@parametrize_with_checks(
    [
        HeadClassifier("mlp2", epochs=15, lr=3e-2, patience=15),
        HeadClassifier("logreg"),
        HeadRegressor("mlp2", epochs=15, lr=3e-2, patience=15),
        HeadRegressor("ridge"),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_accepts_the_heads(estimator: object, check: Callable[[object], None]) -> None:
    """Every check of scikit-learn's for estimators passes, those named above apart."""
    check(estimator)


def test_they_work_in_scikit_learns_tools() -> None:
    """clone, cross_val_score, Pipeline and GridSearchCV take a head, and it learns what can be learnt."""
    x, y = make_classification(120, 12, n_informative=6, n_classes=3, class_sep=2.0, random_state=0)
    names = np.array(["anger", "fear", "joy"])[y]
    head = HeadClassifier("linear", epochs=40, lr=1e-2)
    assert cross_val_score(clone(head), x, names, cv=3).mean() > 0.6
    piped = make_pipeline(StandardScaler(), head).fit(x, names)
    assert piped.score(x, names) > 0.7
    assert piped.predict_proba(x).shape == (120, 3)
    search = GridSearchCV(HeadClassifier("fcn", epochs=3), {"options": [{"hidden": [8]}, {"hidden": [16]}]}, cv=2)
    assert search.fit(x, names).best_params_["options"]["hidden"] in ([8], [16])
    target = make_regression(120, 12, noise=1.0, random_state=0)
    assert HeadRegressor("linear", epochs=200, lr=3e-2, patience=50).fit(*target).score(*target) > 0.9


def test_a_head_gives_the_numbers_of_the_grid(make_store: Callable[..., Store], tmp_path: Path) -> None:
    """With the grid's seed and fold, on its training clips, probabilities of the tested clips are the grid's."""
    store = make_store(encoders=("alpha",), signal=0.5)
    config = {"heads": ["fcn"], "seeds": [3], "training": {"epochs": 4}, "device": "cpu", "split": {"group": "none"}}
    summary = run(TrainConfig.model_validate(config), store, tmp_path, quiet=True)
    corpus = summary.plan.corpora[0]
    x, y = store.corpus("made").encoder("alpha").pooled(-1)[corpus.clips.rows], corpus.clips.y
    with open_results(tmp_path) as results:
        predicted, table = results.predictions(summary.plan.experiments[0].key, 3)
    for fold in range(2):
        train, test = corpus.split.train(fold), predicted.clip[predicted.fold == fold]
        head = HeadClassifier("fcn", epochs=4, seed=3, fold=fold).fit(x[train], y[train])
        np.testing.assert_allclose(head.predict_proba(x[test]), table[predicted.fold == fold], atol=2e-5)


def test_a_regressor_gives_the_numbers_of_a_joint_grid(make_store: Callable[..., Store], tmp_path: Path) -> None:
    """With the grid's seed and fold, and `joint: true` there, targets of the tested clips are the grid's."""
    store = make_store(encoders=("alpha",), targets=("Joy", "Fear"))
    config = {"heads": ["linear"], "seeds": [3], "training": {"epochs": 4}, "device": "cpu", "split": {"group": "none"}}
    joint = TrainConfig.model_validate({**config, "target": ["Joy", "Fear"], "joint": True})
    summary = run(joint, store, tmp_path, quiet=True)
    corpus = summary.plan.corpora[0]
    x, y = store.corpus("made").encoder("alpha").pooled(-1)[corpus.clips.rows], corpus.clips.y
    with open_results(tmp_path) as results:
        given = results.regressed(summary.plan.experiments[0].key, 2)
    train, mine = corpus.split.train(1), given.fold == 1
    head = HeadRegressor("linear", epochs=4, seed=3, fold=1).fit(x[train], y[train])
    np.testing.assert_allclose(head.predict(x[given.clip[mine]]), given.said[mine], atol=2e-5)


def test_heads_that_do_not_fit_are_refused() -> None:
    """A head on frames, one of the wrong kind and vectors that are too short are named."""
    x, y = np.zeros((8, 3)), [0, 1] * 4
    with pytest.raises(ValueError, match="head 'cnn-lstm': expected one on vectors"):
        HeadClassifier("cnn-lstm").fit(x, y)
    with pytest.raises(ValueError, match="head 'logreg': expected one on vectors that predicts targets"):
        HeadRegressor("logreg").fit(x, y)
    with pytest.raises(ValueError, match="head 'cnn': needs at least 4 features, X has 3"):
        HeadClassifier("cnn").fit(x, y)
