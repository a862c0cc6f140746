"""Scores and tests against scikit-learn, scipy and formulas written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from voxcache.train.compare import corrected_t, holm, mcnemar, paired
from voxcache.train.intervals import Predictions, draw, interval
from voxcache.train.scores import confusion, per_class, scores
from voxcache.train.seeding import generator


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_scikit_learns(seed: int) -> None:
    """Accuracy, UAR and macro-F1 equal sklearn's, classes that never occur or are never predicted included."""
    rng = np.random.default_rng(seed)
    y, said = rng.integers(0, 3 + seed % 3, 40), rng.integers(0, 5, 40)
    counts = confusion(y, said, 6)
    ours = scores(counts)
    assert np.array_equal(counts, metrics.confusion_matrix(y, said, labels=range(6)))
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(y, said))
    assert ours.macro_f1 == pytest.approx(metrics.f1_score(y, said, average="macro"))
    recalls = metrics.recall_score(y, said, average=None, labels=np.unique(y), zero_division=0)
    assert ours.uar == pytest.approx(recalls.mean())
    expected = metrics.precision_recall_fscore_support(y, said, labels=range(6), zero_division=0)[:3]
    for mine, theirs in zip(per_class(counts), expected, strict=True):
        np.testing.assert_allclose(mine, theirs)


def test_the_corrected_t_is_nadeau_and_bengios() -> None:
    """p follows from t = mean / sqrt((1/n + test/train) var) with n - 1 degrees of freedom, by scipy.stats.t."""
    d = np.array([0.02, 0.05, -0.01, 0.04, 0.03, 0.02, 0.06, 0.00, 0.03, 0.05])
    t = d.mean() / np.sqrt((1 / 10 + 0.25) * d.var(ddof=1))
    assert corrected_t(d, test_share=0.25) == pytest.approx(2 * stats.t.sf(abs(t), 9))
    assert corrected_t(d, test_share=0.0) == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert corrected_t(np.zeros(5), test_share=0.25) == 1.0


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """p equals scipy's two-sided binomial test on the clips where one system alone is right."""
    rng = np.random.default_rng(0)
    a, b = rng.random(60) < 0.7, rng.random(60) < 0.5
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)
    assert mcnemar(a, a) == 1.0


def test_holm_adjusts_as_r_does() -> None:
    """R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") gives 0.03 0.06 0.06 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_bootstrap_repeats_whole_groups() -> None:
    """Its intervals equal those made by writing every drawn group's clips out and scoring each fold with scikit-learn.

    A class of which nothing was drawn in a fold keeps its recall and F1 there.
    """
    rng = np.random.default_rng(0)
    n, n_folds = 40, 2
    unit, y = np.arange(n) // 5, rng.integers(0, 2, n)
    y[(unit == 3) & (rng.random(n) < 0.6)] = 2  # a class of one group: most draws miss it
    fold = (unit % n_folds).astype(np.int64)
    runs = [Predictions(np.arange(n), fold, rng.integers(0, 3, n)) for _ in range(2)]
    ours = draw(runs, y, unit, n_classes=3, draws=80)
    weights = generator("bootstrap", 8).multinomial(8, np.full(8, 1 / 8), size=80)
    written: dict[str, list[float]] = {"accuracy": [], "uar": [], "macro_f1": []}

    def by_class(score: Callable[..., np.ndarray], part: np.ndarray, whole: np.ndarray, said: np.ndarray) -> float:
        drawn, kept = (
            score(y[rows], said[rows], average=None, labels=range(3), zero_division=np.nan) for rows in (part, whole)
        )
        return float(np.nanmean([d if c in y[part] else k for c, (d, k) in enumerate(zip(drawn, kept, strict=True))]))

    for weight in weights:
        clips = np.repeat(np.arange(n), weight[unit])
        values: dict[str, list[float]] = {name: [] for name in written}
        for run in runs:
            for f in range(n_folds):
                part, whole = clips[fold[clips] == f], np.flatnonzero(fold == f)
                if len(part):
                    values["accuracy"].append(metrics.accuracy_score(y[part], run.predicted[part]))
                    values["uar"].append(by_class(metrics.recall_score, part, whole, run.predicted))
                    values["macro_f1"].append(by_class(metrics.f1_score, part, whole, run.predicted))
        for name, means in written.items():
            means.append(float(np.mean(values[name])))
    for name, means in written.items():
        np.testing.assert_allclose(interval(ours[name]), np.quantile(means, (0.025, 0.975)))


def test_draws_that_miss_a_rare_class_do_not_lift_the_interval() -> None:
    """With a class of two clips, both wrong, the draws lie around the score and not around that of the other classes."""
    y = np.repeat([0, 1, 2], (49, 49, 2))
    run = Predictions(np.arange(100), np.zeros(100, dtype=np.int64), np.where(y == 2, 0, y))
    drawn = draw([run], y, np.arange(100), n_classes=3)["uar"]
    assert drawn.mean() == pytest.approx(2 / 3, abs=0.005)
    low, high = interval(drawn)
    assert low <= 2 / 3 <= high


def test_clips_of_one_speaker_do_not_count_as_many() -> None:
    """Where a group is right or wrong as a whole, drawing groups gives a wider interval than drawing clips."""
    y = np.zeros(100, dtype=np.int64)
    unit = np.arange(100) // 10
    run = Predictions(np.arange(100), np.zeros(100, dtype=np.int64), unit % 2)
    by_group = interval(draw([run], y, unit, n_classes=2)["accuracy"])
    by_clip = interval(draw([run], y, np.arange(100), n_classes=2)["accuracy"])
    assert by_group[1] - by_group[0] > 2 * (by_clip[1] - by_clip[0])


def test_draws_of_nothing_leave_an_interval() -> None:
    """NaN among the draws is left out of the quantiles."""
    values = np.random.default_rng(0).normal(size=100)
    assert interval(np.append(values, np.nan)) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))


@dataclass(frozen=True)
class Seeded:
    """A run that knows no more than its seed."""

    seed: int


def test_runs_are_paired_by_seed_unless_it_changes_nothing() -> None:
    """One seed of a network stands beside the same seed alone; a run that seeds cannot change beside every one."""
    one, many = [Seeded(1)], [Seeded(0), Seeded(1), Seeded(2)]
    assert paired(one, many, (True, True)) == [(Seeded(1), Seeded(1))]
    assert paired(one, many, (False, True)) == [(Seeded(1), run) for run in many]
    assert paired(many, one, (True, False)) == [(run, Seeded(1)) for run in many]
    assert paired(many, one, (False, False)) == [(Seeded(0), Seeded(1))]
    assert paired([Seeded(5)], many, (True, True)) == []
