"""Scores, intervals and tests against scikit-learn, scipy, statsmodels and formulas written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jackknife import expected
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

from voxcache.train.compare import Runs, Scored, differences, family, holm, paired
from voxcache.train.design import UNNAMED, Design, design_of, effective
from voxcache.train.intervals import Estimate, Predictions, estimate, left_out
from voxcache.train.records import deviations
from voxcache.train.scores import confusion, per_class, scores


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


def test_holm_adjusts_as_r_does() -> None:
    """R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") gives 0.03 0.06 0.06 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def a_design(y: np.ndarray, unit: np.ndarray | None, fold: np.ndarray, n_classes: int = 3) -> Design:
    """Return a design of classes and speakers that are numbers."""
    groups = None if unit is None else unit.astype(str)
    return design_of(y, fold, groups, column="speaker", classes=[f"c{c}" for c in range(n_classes)])


def a_corpus(
    seed: int, n_units: int = 9, n_folds: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return classes, speakers of unequal sizes, folds of whole speakers, and what two seeds said."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n_units), rng.integers(4, 12, n_units))
    y = rng.integers(0, 3, len(unit))
    said = [np.where(rng.random(len(y)) < 0.6 + 0.2 * np.sin(unit), y, rng.integers(0, 3, len(y))) for _ in range(2)]
    return y, unit, unit % n_folds, said


def sklearns(y: np.ndarray, said: list[np.ndarray], metric: str) -> Callable[[np.ndarray], float]:
    """Return a function that scores the clips of a mask by scikit-learn, mean over seeds."""
    score: dict[str, Callable[..., float]] = {
        "accuracy": metrics.accuracy_score,
        "uar": metrics.balanced_accuracy_score,
        "macro_f1": lambda a, b: float(metrics.f1_score(a, b, average="macro")),
    }
    return lambda keep: float(np.mean([score[metric](y[keep], row[keep]) for row in said]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_folds", [1, 2, 4, 9])
def test_intervals_leave_whole_speakers_and_folds_out(seed: int, n_folds: int) -> None:
    """Score, interval and p equal those of scikit-learn on clips without each speaker and fold, with t of scipy."""
    y, unit, fold, said = a_corpus(seed, n_folds=n_folds)
    design = a_design(y, unit, fold)
    clip = np.arange(len(y))
    system = Runs(
        tuple(Scored(n, left_out(design, Predictions(clip, fold, row))) for n, row in enumerate(said)), seeded=True
    )
    shares = {"accuracy": np.full(len(y), 1 / len(y)), "uar": 1 / (3 * np.bincount(y)[y])}
    for metric in ("accuracy", "uar", "macro_f1"):
        ours = system.score(design, metric)
        score = sklearns(y, said, metric)
        theirs = expected(score, shares.get(metric, shares["uar"]), unit, fold)
        assert (ours.value, ours.low, ours.high, ours.p) == pytest.approx(theirs)


def test_differences_are_of_the_runs_that_both_have() -> None:
    """A with seeds 0 and 1 against B with 1 and 2: difference, interval and p are of seed 1 alone; without a common seed none."""
    y, unit, fold, (first, second) = a_corpus(1)
    _, _, _, (third, _) = a_corpus(1, n_folds=3)
    rng = np.random.default_rng(3)
    third = np.where(rng.random(len(y)) < 0.5, y, third)
    design, clip = a_design(y, unit, fold), np.arange(len(y))
    run = {
        name: left_out(design, Predictions(clip, fold, row))
        for name, row in (("first", first), ("second", second), ("third", third))
    }
    a = Runs((Scored(0, run["first"]), Scored(1, run["second"])), seeded=True)
    b = Runs((Scored(1, run["third"]), Scored(2, run["first"])), seeded=True)
    found = differences(design, a, b)["accuracy"]
    score = lambda keep: float(np.mean(second[keep] == y[keep]) - np.mean(third[keep] == y[keep]))  # noqa: E731
    ours = found.estimate
    assert (ours.value, ours.low, ours.high, ours.p) == pytest.approx(
        expected(score, np.full(len(y), 1 / len(y)), unit, fold)
    )
    assert found.seeds == ((1, 1),)
    assert found.a - found.b == pytest.approx(ours.value)
    none = differences(design, a, Runs((Scored(5, run["first"]),), seeded=True))["accuracy"]
    assert np.isnan(none.estimate.value)
    assert none.estimate.why == "no seed in common"
    assert not none.apart


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 14), st.sampled_from([1, 3, 5]), st.floats(0, 0.4))
def test_an_interval_leaves_out_zero_exactly_where_p_is_below_5_percent(
    seed: int, n_units: int, n_folds: int, better: float
) -> None:
    """On any corpus and for any metric interval and uncorrected p say the same; identical systems have neither."""
    y, unit, fold, said = a_corpus(seed, n_units, n_folds)
    said[0] = np.where(np.random.default_rng(seed).random(len(y)) < better, y, said[0])
    design, clip = a_design(y, unit, fold), np.arange(len(y))
    a, b = (Runs((Scored(0, left_out(design, Predictions(clip, fold, row))),), seeded=True) for row in said)
    for found in differences(design, a, b).values():
        if found.estimate.known:
            assert (found.estimate.p < 0.05) == (not found.estimate.low <= 0 <= found.estimate.high)
    for found in differences(design, a, a).values():
        assert not found.estimate.known
        assert found.estimate.value == 0


def test_marks_consider_all_pairs_that_are_shown() -> None:
    """p of each pair is corrected as statsmodels does over all six pairs of four systems, for each metric."""
    y, unit, fold, _ = a_corpus(5)
    rng = np.random.default_rng(0)
    design, clip = a_design(y, unit, fold), np.arange(len(y))
    systems = {}
    for share in (0.4, 0.5, 0.75, 0.95):
        row = np.where(rng.random(len(y)) < share, y, (y + 1) % 3)
        systems[share] = Runs((Scored(0, left_out(design, Predictions(clip, fold, row))),), seeded=False)
    found = family(design, systems)
    assert len(found) == 6
    for metric in design.metrics:
        raw = [pair[metric].estimate.p for pair in found.values()]
        corrected = multipletests(raw, method="holm")[1]
        np.testing.assert_allclose([pair[metric].p_holm for pair in found.values()], corrected)
        assert [pair[metric].apart for pair in found.values()] == (corrected < 0.05).tolist()


def test_what_cannot_be_known_is_refused_in_words() -> None:
    """Too few speakers, a class in too few of them, one speaker who is nearly all: no interval, and why; the score stays."""
    y, unit, fold, said = a_corpus(2)
    run = Predictions(np.arange(len(y)), fold, said[0])

    def sure(y: np.ndarray, unit: np.ndarray, metric: str = "uar") -> Estimate:
        design = a_design(y, unit, fold)
        return estimate(design, left_out(design, run), metric)

    assert sure(y, unit).known
    assert sure(y, unit % 5).why == "5 speakers were tested, an interval needs 6"
    rare = np.where((y == 2) & (unit > 3), 0, y)
    rare[np.searchsorted(unit, np.arange(4))] = 2
    assert sure(rare, unit).why == "class 'c2' stands in 4 speakers, 5 are needed"
    assert sure(rare, unit, "accuracy").known
    one = np.where(np.arange(len(y)) < 0.8 * len(y), 0, np.arange(len(y)))
    assert sure(y, one, "accuracy").why == "speaker '0' alone makes 80 % of the score"
    assert sure(y, one, "accuracy").value == pytest.approx(np.mean(said[0] == y))
    text = a_design(y, unit % 5, fold).text
    assert text == "No interval and no test: 5 speakers were tested, an interval needs 6."


def test_what_an_interval_rests_on_is_said() -> None:
    """Speakers, clips that name none apart from them, and clips alone; one fold speaks of these models."""
    y, unit, fold, _ = a_corpus(2)
    assert a_design(y, unit, fold).text == (
        "Intervals and tests rest on only 9 speakers. What training on other clips changes is seen over 4 folds."
    )
    assert a_design(y, None, fold).text.startswith(
        f"Intervals and tests rest on {len(y)} clips; they hold if clips are independent"
    )
    assert "They speak of these models: one fold cannot tell" in a_design(y, unit, np.zeros_like(fold)).text
    groups = np.where(unit < 7, unit.astype(str), [f"{UNNAMED}{i}" for i in range(len(y))])
    design = design_of(y, fold, groups, column="speaker", classes=("a", "b", "c"))
    assert f"7 speakers and {np.sum(unit >= 7)} clips that name none; the latter are taken as" in design.text


def test_speakers_that_are_only_trained_on_do_not_count() -> None:
    """Of nine speakers of whom three are tested, three are counted, whatever the folds' numbers."""
    y, unit, _, _ = a_corpus(2)
    design = a_design(y, unit, np.where(unit < 3, 7, -1))
    assert (design.n_units, design.n_folds) == (3, 1)
    assert not design.folds_count


def test_leaving_a_rare_class_out_does_not_lift_the_score() -> None:
    """A class of one speaker keeps its recall where that speaker is left out, so no class is ever missing from the mean."""
    y = np.repeat([0, 1, 2], (49, 49, 2))
    unit = np.repeat(np.arange(10), 10)
    design = a_design(y, unit, np.zeros(100, dtype=np.int64))
    left = left_out(design, Predictions(np.arange(100), np.zeros(100, dtype=np.int64), np.where(y == 2, 0, y)))
    np.testing.assert_allclose(left.by_block[1], 2 / 3)


def test_clips_of_one_speaker_do_not_count_as_many() -> None:
    """Where a speaker is right or wrong as a whole, speakers give a wider interval than clips taken as independent."""
    y, fold = np.zeros(100, dtype=np.int64), np.zeros(100, dtype=np.int64)
    unit = np.arange(100) // 10
    run = Predictions(np.arange(100), fold, unit % 2)
    by_group, by_clip = (
        estimate(design, left_out(design, run), "accuracy")
        for design in (a_design(y, unit, fold), a_design(y, None, fold))
    )
    assert by_group.high - by_group.low > 2 * (by_clip.high - by_clip.low)


def test_equal_parts_count_fully_and_unequal_ones_less() -> None:
    """Ten equal speakers count as ten; of ten of whom one has half of the clips fewer than four are left."""
    assert effective(np.full(100, 0.01), np.arange(100) // 10) == pytest.approx(10)
    unit = np.concatenate([np.zeros(90, dtype=np.int64), 1 + np.arange(90) // 10])
    assert effective(np.full(180, 1 / 180), unit) < 4


def test_deviations_over_folds_and_over_seeds_are_two_numbers() -> None:
    """Over folds with seeds averaged, over seeds with folds averaged; none over a single one."""
    scores = np.array([[0.5, 0.7, 0.6], [0.6, 0.9, 0.3]])
    mean, folds, seeds = deviations(list(scores))
    assert mean == pytest.approx(0.6)
    assert folds == pytest.approx(np.std([0.55, 0.8, 0.45], ddof=1))
    assert seeds == pytest.approx(np.std([0.6, 0.6], ddof=1))
    assert deviations([scores[0]])[2] is None
    assert deviations([np.array([0.5]), np.array([0.6])])[1] is None


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
