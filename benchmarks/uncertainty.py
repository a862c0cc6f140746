"""Do intervals hold what they promise? Corpora with known truth, and the functions whose results tables and reports print.

    python benchmarks/uncertainty.py [--corpora 300] [--part predictions learner] [--seeds 1 3 10] [--only "logo 8"]

Coverage of 95 % intervals, in %, of the expectation of the score over corpora and trainings, and of the very models trained
("models"); error: how often A and B, equal in truth, are told apart at 5 %; power: how often, when B is worse (6 points of recall,
or more noise in its features). "±": median half-width. The error of the simulation itself stands below each table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import old_rule
from simulated import EQUAL, RARE, Draw, Drawn, Plan, learner, plans, predictions, regression

from voxcache.train.compare import Difference, Runs, Scored, differences, family
from voxcache.train.design import Design, design_of
from voxcache.train.intervals import Estimate, Predictions, left_out
from voxcache.train.scores import LIMITS
from voxcache.train.targets import Regressed, left_out_targets

WORSE = {predictions: 0.06, learner: 0.45, regression: 0.45}
PARTS = ("before", "predictions", "learner", "targets", "tables")


@dataclass(frozen=True)
class Asked:
    """What would be printed of one corpus: the score of A, and A minus B, by metric."""

    drawn: Drawn
    score: dict[str, Estimate]
    difference: dict[str, Difference]


def tested(drawn: Drawn) -> tuple[Design, list[Runs]]:
    """Return the design of a corpus and its systems, as the report makes them."""
    of_classes = drawn.y.ndim == 1
    classes = [str(c) for c in range(int(drawn.y.max()) + 1)] if of_classes else []
    design = design_of(drawn.y, drawn.fold, drawn.groups, column="speaker", classes=classes)
    clip = design.tested
    fold = drawn.fold[clip]
    found = []
    for said in drawn.said:
        runs = [
            left_out(design, Predictions(clip, fold, row[clip]))
            if of_classes
            else left_out_targets(design, Regressed(clip, fold, row[clip]))
            for row in said
        ]
        found.append(Runs(tuple(Scored(seed, left) for seed, left in enumerate(runs)), True))
    return design, found


def ask(drawn: Drawn) -> Asked:
    """Return what is printed of a corpus."""
    design, (a, b, *_) = tested(drawn)
    scores = {metric: a.score(design, metric, LIMITS[metric]) for metric in design.metrics}
    return Asked(drawn, scores, differences(design, a, b))


def covered(estimates: Sequence[Estimate], truth: float | Sequence[float]) -> float:
    """Return in what part of those that have an interval it holds the truth."""
    truths = np.broadcast_to(truth, len(estimates))
    held = [e.low <= t <= e.high for e, t in zip(estimates, truths, strict=True) if e.known]
    return float(np.mean(held)) if held else np.nan


def simulate(draw: Draw, plan: Plan, seeds: int, corpora: int) -> dict[str, float]:
    """Return coverage, error and half-widths of one design, by "score", "difference" and metric, as parts of 1."""
    asked = [ask(draw(plan, seeds, number, 0.0)) for number in range(corpora)]
    found = {"models": np.nan, "models difference": np.nan}
    for metric in asked[0].score:
        scores = [one.score[metric] for one in asked]
        gaps = [one.difference[metric].estimate for one in asked]
        shown = [e.known for e in scores]
        found[f"shown {metric}"] = float(np.mean(shown))
        found[f"score {metric}"] = covered(scores, float(np.mean([e.value for e in scores])))
        found[f"half {metric}"] = float(np.median([(e.high - e.low) / 2 for e in scores if e.known] or [np.nan]))
        found[f"difference {metric}"] = covered(gaps, 0.0)
        tests = [e.p < 0.05 for e in gaps if e.known]
        found[f"error {metric}"] = float(np.mean(tests)) if tests else np.nan
        found[f"contradictions {metric}"] = float(
            np.mean([(e.p < 0.05) == (e.low <= 0 <= e.high) for e in gaps if e.known] or [0])
        )
    if "uar" in asked[0].score and np.isfinite(asked[0].drawn.models[0]):
        models = [one.drawn.models for one in asked]
        found["models"] = covered([one.score["uar"] for one in asked], [a for a, _ in models])
        gaps = [one.difference["uar"].estimate for one in asked]
        found["models difference"] = covered(gaps, [a - b for a, b in models])
    return found


def power(draw: Draw, plan: Plan, seeds: int, corpora: int, metric: str) -> float:
    """Return how often a worse B is told apart, corpora without a test counted as not."""
    asked = [ask(draw(plan, seeds, number, WORSE[draw])) for number in range(corpora)]
    return float(np.mean([one.difference[metric].estimate.p < 0.05 for one in asked]))


def before(draw: Draw, plan: Plan, seeds: int, corpora: int) -> dict[str, float]:
    """Return the same of UAR by the rule that was used before, on the same corpora."""
    means, intervals, gaps, p, exact = [], [], [], [], []
    for number in range(corpora):
        drawn = draw(plan, seeds, number, 0.0)
        y, fold, said = (drawn.y, drawn.fold, drawn.said)
        mine = fold >= 0
        y, fold, said = y[mine], fold[mine], tuple(rows[:, mine] for rows in said)
        unit = np.arange(len(y)) if drawn.groups is None else np.unique(drawn.groups[mine], return_inverse=True)[1]
        n_classes = len(plan.shares)
        by_fold = [old_rule.fold_scores(y, fold, rows, n_classes) for rows in said]
        drawn_means = [old_rule.draws(y, fold, unit, rows, n_classes) for rows in said]
        means.append(np.nanmean(by_fold[0]))
        intervals.append(np.quantile(drawn_means[0], (0.025, 0.975)))
        gaps.append(np.quantile(drawn_means[0] - drawn_means[1], (0.025, 0.975)))
        n_folds = int(fold.max()) + 1
        share = np.mean([np.sum(fold == k) / max(1, np.sum(drawn.fold != k)) for k in range(n_folds)])
        p.append(old_rule.corrected_t(by_fold[0] - by_fold[1], float(share)))
        votes = [np.stack([(rows == c).sum(0) for c in range(n_classes)]).argmax(0) == y for rows in said]
        exact.append(old_rule.mcnemar(votes[0], votes[1]))
    truth = np.mean(means)
    excludes = np.array([low > 0 or high < 0 for low, high in gaps])
    return {
        "score": float(np.mean([low <= truth <= high for low, high in intervals])),
        "half": float(np.median([(high - low) / 2 for low, high in intervals])),
        "difference": 1 - float(excludes.mean()),
        "error t": float(np.mean(np.array(p) < 0.05)),
        "error mcnemar": float(np.mean(np.array(exact) < 0.05)),
        "contradictions": float(np.mean(excludes != (np.array(p) < 0.05))),
    }


def falsely_apart(draw: Draw, plan: Plan, corpora: int, systems: int = 10) -> float:
    """Return in what part of tables of equal systems some line is told apart from the best, as tables mark it."""
    wrong = []
    for number in range(corpora):
        design, found = tested(draw(plan, 1, number, 0.0, systems))
        marks = family(design, dict(enumerate(found)))
        best = max(range(systems), key=lambda i: found[i].score(design, "uar").value)
        wrong.append(any(each["uar"].apart for pair, each in marks.items() if best in pair))
    return float(np.mean(wrong))


def _percent(found: dict[str, float]) -> Callable[[str], str]:
    """Return a function that gives a part of 1 in percent, – where there is none."""
    return lambda name: "–" if np.isnan(found[name]) else f"{100 * found[name]:.1f}"


def main() -> None:
    """Parse the command line and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=300)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--only", nargs="+", help="names of designs")
    asked = parser.parse_args()
    for part in asked.part:
        started = time.perf_counter()
        for line in _table(part, asked.corpora, asked.seeds, asked.only):
            print(line, flush=True)
        print(
            f"\n{time.perf_counter() - started:.0f} s, {asked.corpora} corpora a line; "
            f"error of the simulation at 95 %: ± {200 * np.sqrt(0.95 * 0.05 / asked.corpora):.1f}, "
            f"at 50 %: ± {100 / np.sqrt(asked.corpora):.1f} points\n",
            flush=True,
        )


def _table(part: str, corpora: int, seeds: Sequence[int], only: Sequence[str] | None) -> Iterator[str]:
    lines = {"before": _before, "predictions": _classes, "learner": _classes, "targets": _targets, "tables": _tables}[
        part
    ]
    yield from lines(part, corpora, seeds, only)


def _designs(only: Sequence[str] | None) -> Iterator[tuple[str, Plan]]:
    for shares, note in ((EQUAL, ""), (RARE, ", rare")):
        for name, plan in plans(shares).items():
            if only is None or name in only:
                yield name + note, plan


def _before(part: str, corpora: int, seeds: Sequence[int], only: Sequence[str] | None) -> Iterator[str]:
    yield "| before: UAR | seeds | interval covers (±) | of A - B | error of corrected t | McNemar | interval and t disagree |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, plan in _designs(only):
        for n in seeds if plan.shares == EQUAL else seeds[:1]:
            f = {key: 100 * value for key, value in before(predictions, plan, n, corpora).items()}
            yield (
                f"| {name} | {n} | {f['score']:.1f} ({f['half']:.1f}) | {f['difference']:.1f} | {f['error t']:.1f} "
                f"| {f['error mcnemar']:.1f} | {f['contradictions']:.1f} |"
            )


def _classes(part: str, corpora: int, seeds: Sequence[int], only: Sequence[str] | None) -> Iterator[str]:
    draw = predictions if part == "predictions" else learner
    yield f"| {part} | seeds | shown | UAR covers (±) | accuracy | F1 | models | A - B | acc. | F1 | models | error | power |"
    yield "|---|" + "--:|" * 12
    names = (
        "score accuracy",
        "score macro_f1",
        "models",
        "difference uar",
        "difference accuracy",
        "difference macro_f1",
    )
    for name, plan in _designs(only):
        for n in seeds if plan.shares == EQUAL else seeds[:1]:
            f = _percent(simulate(draw, plan, n, corpora) | {"power": power(draw, plan, n, corpora, "uar")})
            cells = [
                f"{f('score uar')} ({f('half uar')})",
                *map(f, (*names, "models difference", "error uar", "power")),
            ]
            yield f"| {name} | {n} | {f('shown uar')} | {' | '.join(cells)} |"


def _targets(part: str, corpora: int, seeds: Sequence[int], only: Sequence[str] | None) -> Iterator[str]:
    yield "| targets | seeds | Spearman covers (± x 100) | Pearson | CCC | MAE | A - B: ρ | r | CCC | MAE | error | power |"
    yield "|---|" + "--:|" * 11
    others = ("pearson", "ccc", "mae")
    for name, plan in _designs(only):
        for n in seeds if plan.shares == EQUAL else ():
            f = _percent(
                simulate(regression, plan, n, corpora) | {"power": power(regression, plan, n, corpora, "spearman")}
            )
            cells = [f"{f('score spearman')} ({f('half spearman')})", *(f(f"score {metric}") for metric in others)]
            cells += [f(f"difference {metric}") for metric in ("spearman", *others)]
            yield f"| {name} | {n} | {' | '.join([*cells, f('error spearman'), f('power')])} |"


def _tables(part: str, corpora: int, seeds: Sequence[int], only: Sequence[str] | None) -> Iterator[str]:
    yield "| tables of ten equal systems | some line told apart: predictions | learner |"
    yield "|---|--:|--:|"
    for name, plan in _designs(only):
        if plan.shares == EQUAL and plan.name in (
            "logo 8",
            "logo 24",
            "grouped 8",
            "grouped 24",
            "grouped 60",
            "plain 240",
        ):
            found = [100 * falsely_apart(draw, plan, corpora) for draw in (predictions, learner)]
            yield f"| {name} | {found[0]:.1f} | {found[1]:.1f} |"


if __name__ == "__main__":
    main()
