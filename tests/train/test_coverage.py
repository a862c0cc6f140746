"""Intervals and tests hold what they promise, on corpora with known truth: the short form of `benchmarks/uncertainty.py`."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CORPORA = 200


@pytest.fixture(name="uncertainty", scope="module")
def _uncertainty() -> ModuleType:
    """The benchmark, imported as the scripts beside it are: by its own name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("uncertainty")


@pytest.mark.parametrize(("name", "rare"), [("logo 8", False), ("grouped 24", False), ("grouped 24", True)])
def test_intervals_of_classes_cover(uncertainty: ModuleType, name: str, rare: bool) -> None:
    """91 to 99 % of intervals hold the truth, of scores and of differences, also where a class has 2 % of the clips."""
    plan = uncertainty.plans(uncertainty.RARE if rare else uncertainty.EQUAL)[name]
    found = uncertainty.simulate(uncertainty.predictions, plan, 1, CORPORA)
    for metric in ("accuracy", "uar", "macro_f1"):
        assert 0.91 <= found[f"score {metric}"] <= 0.99, metric
        assert 0.91 <= found[f"difference {metric}"] <= 1, metric
        assert found[f"contradictions {metric}"] == 0


def test_one_fold_covers_what_its_own_models_score(uncertainty: ModuleType) -> None:
    """With ten speakers tested in one fold, intervals of score and difference hold the value of these models in 91 to 99 %."""
    found = uncertainty.simulate(uncertainty.learner, uncertainty.plans()["one fold 10"], 1, CORPORA)
    assert 0.91 <= found["models"] <= 0.99
    assert 0.91 <= found["models difference"] <= 0.99


def test_intervals_of_continuous_targets_cover(uncertainty: ModuleType) -> None:
    """91 to 100 % of intervals hold the truth where a regressor is trained in every fold."""
    found = uncertainty.simulate(uncertainty.regression, uncertainty.plans()["grouped 24"], 1, CORPORA)
    for metric in ("spearman", "pearson", "ccc", "mae"):
        assert found[f"score {metric}"] >= 0.91, metric
        assert found[f"difference {metric}"] >= 0.91, metric


def test_a_trained_learner_is_rarely_told_apart_from_its_equal(uncertainty: ModuleType) -> None:
    """Two encoders of equal worth, nearest class means trained in every fold: told apart in at most 9 % of 200 corpora."""
    found = uncertainty.simulate(uncertainty.learner, uncertainty.plans()["grouped 24"], 2, CORPORA)
    assert found["error uar"] <= 0.09


def test_the_simulation_sees_a_rule_that_fails(uncertainty: ModuleType) -> None:
    """The percentile bootstrap of before holds the truth in less than 91 % with eight speakers left out in turn."""
    found = uncertainty.before(uncertainty.predictions, uncertainty.plans()["logo 8"], 1, 60)
    assert found["score"] < 0.91
    assert found["contradictions"] > 0.05
