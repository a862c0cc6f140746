"""What is printed, written and listed equals the recomputation, for classes and targets and for each kind of split."""

from __future__ import annotations

import csv
import io
import json
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from .conftest import Made, command
from .recomputed import majority, pooled, shared_speakers, target_scores

LIMITS = dict.fromkeys(("accuracy", "uar", "macro_f1"), (0.0, 1.0)) | {"mae": (0.0, np.inf)}
LIMITS |= dict.fromkeys(("spearman", "pearson", "ccc"), (-1.0, 1.0))


def shown(metric: str, value: float) -> str:
    """Return a score as people read it: of classes in percent."""
    return f"{100 * value:.1f}" if metric in ("accuracy", "uar", "macro_f1") else f"{value:.3f}"


def deviations(made: Made, place: tuple[str, str], metric: str) -> tuple[float | None, float | None]:
    """Return standard deviations over folds with seeds averaged, and over seeds with folds averaged; None of a single one."""
    by_seed = made.of(place, metric)
    found = [by_seed.mean(axis=axis) for axis in (0, 1)]
    over_folds, over_seeds = (float(values.std(ddof=1)) if len(values) > 1 else None for values in found)
    return over_folds, over_seeds


def plus_minus(made: Made, place: tuple[str, str], metric: str) -> str:
    """Return the mean over folds and seeds ± the deviation over folds, or with one fold over seeds."""
    mean = shown(metric, float(made.of(place, metric).mean()))
    deviation = next((value for value in deviations(made, place, metric) if value is not None), None)
    return mean if deviation is None else f"{mean} ± {shown(metric, deviation)}"


def interval(made: Made, place: tuple[str, str], metric: str) -> tuple[float, float] | None:
    """Return the 95 % interval, ending where the metric ends; None where there is none."""
    if made.refused(metric):
        return None
    _, low, high, _ = made.estimated([place], metric)
    least, most = LIMITS[metric]
    return max(low, least), min(high, most)


def figures(cell: str) -> list[str]:
    """Return the numbers of a cell of a table, in order."""
    return re.findall(r"-?\d+\.\d+", cell)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_every_score_of_the_table_in_full(made: Made) -> None:
    """`table.csv`: a line a cell: pooled scores with intervals, means and deviations to six digits, clips, seeds, folds."""
    lines = {(row["encoders"], row["architecture"]): row for row in rows_of(made.folder / "table.csv")}
    assert set(lines) == set(made.scores)
    for place, row in lines.items():
        n_seeds, n_folds = np.shape(made.scores[place])
        assert (row["n_seeds"], row["n_folds"]) == (str(n_seeds), str(n_folds))
        assert (row["n_used"], row["n_total"]) == (str(len(made.clips.ids)), str(made.clips.n_total))
        for metric in made.metrics:
            value, *_ = made.estimated([place], metric)
            ends = interval(made, place, metric) or (None, None)
            wanted = [value, *ends, made.of(place, metric).mean(), *deviations(made, place, metric)]
            for part, number in zip(("pooled", "low", "high", "mean", "std_folds", "std_seeds"), wanted, strict=True):
                found = row[f"{metric}_{part}"]
                assert (found == "") == (number is None), (place, metric, part)
                assert number is None or float(found) == pytest.approx(number, abs=3e-6), (place, metric, part)


def test_every_score_of_the_console(made: Made) -> None:
    """The printed table has every cell, pooled with its interval, and the number of clips in its title."""
    assert f"{len(made.clips.ids)} of {made.clips.n_total} clips used" in made.printed
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in made.printed.splitlines() if line.startswith("│")
    ]
    columns = [
        name.strip() for name in re.split("[┃]", next(line for line in made.printed.splitlines() if "┃" in line))
    ][1:-1]
    for encoder in made.clips.vectors:
        start = next(index for index, line in enumerate(lines) if line[0] == encoder)
        for offset, metric in enumerate(made.metrics):
            for column, cell in zip(columns[2:], lines[start + offset][2:], strict=True):
                place = (encoder, column)
                ends = interval(made, place, metric)
                text = shown(metric, made.estimated([place], metric)[0])
                text += "" if ends is None else f" [{shown(metric, ends[0])} – {shown(metric, ends[1])}]"
                assert cell.rstrip("*~ ") == text, (place, metric)


def test_every_score_of_the_report(made: Made) -> None:
    """The tables of report.md hold every cell; so does the HTML, in the same order."""
    text, html = ((made.folder / f"report.{end}").read_text(encoding="utf-8") for end in ("md", "html"))
    n_heads, n_metrics = len({head for _, head in made.scores}), len(made.metrics)
    for encoder in made.clips.vectors:
        line = next(line for line in text.splitlines() if line.startswith(f"| {encoder}, layer 1"))
        cells = line.split("|")[2:-1]
        heads = [head for name, head in made.scores if name == encoder]
        assert len(cells) == n_heads * n_metrics
        page = re.search(rf'<th scope="row">{encoder}<small>layer 1.*?</tr>', html, re.DOTALL)
        assert page
        spans = re.findall(r"<td class=[^>]*><span[^>]*>([^<]*)</span>", page[0])
        places = [((encoder, head), metric) for head in order_of(text, heads) for metric in made.metrics]
        assert spans == [shown(metric, made.estimated([place], metric)[0]) for place, metric in places]
        for cell, (place, metric) in zip(cells, places, strict=True):
            wanted = [
                made.estimated([place], metric)[0],
                *(interval(made, place, metric) or ()),
                made.of(place, metric).mean(),
            ]
            wanted += [value for value in deviations(made, place, metric) if value is not None]
            assert figures(cell) == [shown(metric, float(value)) for value in wanted], (place, metric)


def order_of(text: str, heads: list[str]) -> list[str]:
    """Return the heads in the order of the columns of report.md."""
    header = next(line for line in text.splitlines() if re.match(r"\| encoder \| .* (Accuracy|Spearman ρ) ", line))
    return sorted(heads, key=lambda head: header.index(f" {head} "))


def test_every_score_that_the_results_command_lists(made: Made) -> None:
    """`voxcache results`: every number in full as CSV and JSON, with seeds and folds; rounded for people."""
    listed = json.loads(command("results", made.folder, "--format", "json", cwd=made.folder))
    assert {(row["encoders"], row["label"]) for row in listed} == set(made.scores)
    for row in listed:
        place = (row["encoders"], row["label"])
        assert row["n_folds"] == len(made.scores[place][0])
        for metric in made.metrics:
            wanted = [made.of(place, metric).mean(), *deviations(made, place, metric)]
            for part, value in zip(("mean", "std_folds", "std_seeds"), wanted, strict=True):
                assert row[f"{metric}_{part}"] == (value if value is None else pytest.approx(value, abs=2e-6))
    table = command("results", made.folder, "--format", "md", cwd=made.folder)
    for place in made.scores:
        line = next(line for line in table.splitlines() if f"| {place[0]} |" in line and f"| {place[1]} |" in line)
        assert [cell.strip() for cell in line.split("|")[8:-1]][: len(made.metrics)] == [
            plus_minus(made, place, metric) for metric in made.metrics
        ]


def test_every_clip_that_was_left_out_is_accounted_for(made: Made) -> None:
    """Listed is used, without a label, and failed, in console and report."""
    clips = made.clips
    assert len(clips.ids) + clips.n_unlabelled + clips.n_failed == clips.n_total
    report = (made.folder / "report.md").read_text(encoding="utf-8")
    for text in (made.printed, report):
        assert f"{len(clips.ids)} of {clips.n_total} clips used" in text
        assert f"{clips.n_failed} two: extraction failed: no sound" in text
        assert f"{clips.n_unlabelled} without a value in " in text


def test_the_baseline_and_the_counts_of_classes(made: Made) -> None:
    """Always saying the most frequent class, or the mean, scores what DummyClassifier or the mean does, pooled."""
    text = (made.folder / "report.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "Always saying the " in line).split("Always saying the ")[1]
    said, all_clips = majority(made.clips), np.ones(len(made.clips.ids), dtype=bool)
    expected = [shown(metric, pooled(made.clips, metric, said, all_clips)) for metric in made.metrics]
    assert figures(line)[: len(expected)] == expected
    if made.kind == "classes":
        names, counts = np.unique(made.clips.y, return_counts=True)
        said = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        assert f"Classes: {said}." in (made.folder / "report.html").read_text(encoding="utf-8")


def test_speakers_on_both_sides(made: Made) -> None:
    """The number of tested clips whose speaker is trained on is that of a search, in console, report and table."""
    count, n_tested = shared_speakers(made.clips), int(np.isin(made.clips.fold, made.clips.folds).sum())
    assert (count == 0) == (made.split in ("grouped", "logo"))
    text = f"LEAK: {count} of {n_tested} tested clips have a clip of the same speaker among those"
    for said in (made.printed, (made.folder / "report.md").read_text(encoding="utf-8")):
        assert (text in said) == (count > 0)
        assert ("LEAK" in said) == (count > 0)
    for row in rows_of(made.folder / "table.csv"):
        assert (row["n_tested"], row["tested_group_trained_on"]) == (str(n_tested), str(count))


def test_confusions(made: Made) -> None:
    """Counts over seeds, and their share of each true class, of the best head equal scikit-learn's confusion matrix."""
    if made.kind != "classes":
        pytest.skip("of classes only")
    text = (made.folder / "report.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"Confusion of (\w+) → (\w+) .*?\n\n(.*?)\n\n", text, re.DOTALL)
    encoder, head, table = found
    names = np.unique(made.clips.y)
    true = dict(zip(made.clips.ids, made.clips.y, strict=True))
    counts = sum(
        metrics.confusion_matrix([true[name] for name in ids], said, labels=names)
        for ids, said in made.runs[encoder, head]
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == list(names)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    expected = [[f"{n} ({s:.1f})" for n, s in zip(*pair, strict=True)] for pair in zip(counts, share, strict=True)]
    assert [row[1:] for row in rows] == expected


def test_predictions_are_those_of_scikit_learn(made: Made) -> None:
    """`voxcache results predictions` has every tested clip once, with its true label and what the refitted head says."""
    place = next(iter(made.said))
    where = f"encoder={place[0]},head={place[1]}"
    out = made.folder / "said.csv"
    command("results", "predictions", made.folder, "--where", where, "--out", out, cwd=made.folder)
    lines = {row["clip"]: row for row in rows_of(out)}
    tested = np.isin(made.clips.fold, made.clips.folds)
    assert sorted(lines) == sorted(made.clips.ids[tested])
    for clip, y, said in zip(made.clips.ids[tested], made.clips.y[tested], made.said[place][tested], strict=True):
        row = lines[clip]
        if made.kind == "classes":
            assert (row["true"], row["predicted"]) == (y, said)
            continue
        for name, true, value in zip(("valence", "arousal"), y, said, strict=True):
            assert float(row[f"true: {name}"]) == pytest.approx(true)
            assert float(row[f"predicted: {name}"]) == pytest.approx(value, abs=1e-4)


def test_spearman_of_each_target(made: Made) -> None:
    """The table by target holds scipy's Spearman of each, mean over folds and seeds."""
    if made.kind != "targets":
        pytest.skip("of targets only")
    text = (made.folder / "report.md").read_text(encoding="utf-8")
    for encoder, head in made.said:
        line = next(line for line in text.splitlines() if re.match(rf"\| {encoder}, layer 1, mean \| {head} \|", line))
        expected = []
        for index in range(2):
            said, y = made.said[encoder, head][:, index], made.clips.y[:, index]
            folds = [target_scores(y[test], said[test])["spearman"] for _, _, test in made.clips.parts()]
            expected.append(f"{np.mean(folds):.3f}")
        assert figures(line)[:2] == expected


def test_nothing_here_is_computed_by_the_code_it_checks() -> None:
    """No file of this suite names a module of stage 2."""
    for path in Path(__file__).parent.glob("*.py"):
        with tokenize.open(path) as file:
            imports = [line for line in file if line.lstrip().startswith(("from ", "import "))]
        assert not [line for line in imports if "voxcache.train" in line or "voxcache import" in line], path


def test_compared_systems(made: Made) -> None:
    """`voxcache results compare`: scores, difference, interval and p of two systems equal a jackknife written out in loops."""
    encoder, other = made.clips.vectors
    first, second = (encoder, "linear"), (other, "knn")
    names = [f"encoder={place[0]},head={place[1]}" for place in (first, second)]
    found = json.loads(command("results", "compare", *names, made.folder, "--json", cwd=made.folder))["metrics"]
    assert set(found) == set(made.metrics)
    for metric, line in found.items():
        value, low, high, p = made.estimated([first, second], metric)
        sides = [made.estimated([place], metric)[0] for place in (first, second)]
        assert [line["a"], line["b"], line["difference"]] == pytest.approx([*sides, value], abs=1e-6)
        if made.refused(metric):
            assert (line["low"], line["high"], line["p"]) == (None, None, None)
        else:
            assert [line["low"], line["high"], line["p"]] == pytest.approx([low, high, p], abs=1e-5), metric
