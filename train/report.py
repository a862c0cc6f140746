"""The report: report.html (one file, nothing loaded from elsewhere), report.md and table.csv in the results folder."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .grid import CorpusPlan, Plan
from .inputs import WEIGHTED
from .intervals import bootstrap
from .results import Results
from .scores import METRIC_NAMES, confusion, per_class, score_text
from .tables import Cell, Table, by_target, tables
from .targets import bootstrap_targets, target_scores

if TYPE_CHECKING:
    from ..store import Store

VERSION = 2
HTML, MARKDOWN, CSV = "report.html", "report.md", "table.csv"


@dataclass(frozen=True)
class Reported:
    """A cell with what only the report shows: intervals by metric, and counts [true class, predicted class] over seeds.

    With continuous targets `counts` is empty.
    """

    table: Table
    row: tuple[str, str]
    column: str
    cell: Cell
    intervals: dict[str, tuple[float, float]]
    counts: np.ndarray


def write(plan: Plan, store: Store, results: Results, *, quiet: bool) -> Path:
    """Write the three files, unless they already show exactly this, and return the path of the HTML file."""
    key = _key(plan, results)
    paths = [results.folder / name for name in (HTML, MARKDOWN, CSV)]
    if results.get_meta("report") == key and all(path.exists() for path in paths):
        return paths[0]
    from .console import progress

    with progress(quiet=quiet) as tell:
        context = _context(plan, store, results, tell)
    _replace(paths[0], _render("report.html.j2", context, escape=True))
    _replace(paths[1], _render("report.md.j2", context, escape=False))
    _replace(paths[2], _csv(plan, context["reported"]))
    results.put_meta("report", key)
    return paths[0]


def _key(plan: Plan, results: Results) -> str:
    done = results.done(experiment.key for experiment in plan.experiments)
    shown = [f"{experiment.key}:{experiment.key in done}" for experiment in plan.experiments]
    notes = [note for corpus in plan.corpora for note in corpus.notes]
    return hashlib.sha256("\n".join([str(VERSION), *shown, *plan.notes, *notes]).encode()).hexdigest()


def _context(plan: Plan, store: Store, results: Results, tell: Any) -> dict[str, Any]:
    made = tables(plan, results)
    reported = [_reported(plan, results, table, place) for table in made for place in table.cells]
    return {
        "plan": plan,
        "training": plan.training.model_dump(),
        "tables": made,
        "reported": reported,
        "by_place": {(item.table.title, item.row, item.column): item for item in reported},
        "corpora": [
            _corpus(corpus, [item for item in reported if item.table.corpus == corpus.name]) for corpus in plan.corpora
        ],
        "maps": _maps(plan, store, results, tell),
        "missing": _missing(plan, made),
        "versions": next((item.cell.rows[0].versions for item in reported), ""),
        "seconds": sum(row.train_s for item in reported for row in item.cell.rows),
        "slowest": sorted(reported, key=lambda item: -sum(row.train_s for row in item.cell.rows))[:10],
    }


def _reported(plan: Plan, results: Results, table: Table, place: tuple[tuple[str, str], str]) -> Reported:
    corpus, cell = plan.corpus(table.corpus), table.cells[place]
    clips = corpus.clips
    if clips.targets:
        regressed = [results.regressed(row.key, clips.n_outputs) for row in cell.rows]
        found = bootstrap_targets(regressed, clips.y, _units(corpus))
        return Reported(table, *place, cell, found, np.zeros((0, 0), dtype=np.int64))
    n_classes = len(clips.classes)
    said = [results.predictions(row.key, n_classes)[0] for row in cell.rows]
    intervals = bootstrap(said, clips.y, _units(corpus), n_classes=n_classes)
    counts = sum((confusion(clips.y[run.clip], run.predicted, n_classes) for run in said), np.zeros((), dtype=np.int64))
    return Reported(table, *place, cell, intervals, np.asarray(counts))


def _units(corpus: CorpusPlan) -> np.ndarray:
    """What the bootstrap draws: groups where they are known, clips otherwise."""
    group = corpus.clips.group
    return np.arange(len(corpus.clips)) if group is None else np.unique(group.astype(str), return_inverse=True)[1]


def _corpus(corpus: CorpusPlan, reported: list[Reported]) -> dict[str, Any]:
    best = [
        max(mine, key=lambda item: item.cell.scores[corpus.clips.main_metric].mean)
        for kind in ("head", "fusion")
        if (mine := [item for item in reported if item.table.kind == kind])
    ]
    return {
        "plan": corpus,
        "metrics": {metric: METRIC_NAMES[metric] for metric in corpus.clips.metrics},
        "licence": corpus.about.get("licence"),
        "citation": corpus.about.get("citation"),
        "classes": list(zip(corpus.clips.classes, corpus.clips.counts.tolist(), strict=True)),
        "n_groups": None if corpus.clips.group is None else len(set(corpus.clips.group)),
        "baseline": baseline(corpus),
        "random": [facts.name for facts in corpus.encoders if facts.is_random],
        "contamination": list(contamination(corpus)),
        "best": [] if corpus.clips.targets else [(item, _matrix(corpus, item)) for item in best],
        "by_target": [(item, by_target(item.cell, "spearman")) for item in reported] if corpus.clips.targets else [],
    }


def _matrix(corpus: CorpusPlan, item: Reported) -> list[tuple[str, list[tuple[int, float]], float, float]]:
    """Return one line a true class: its name, (count, share of the class) a predicted class, its recall and F1."""
    shares = item.counts / np.maximum(item.counts.sum(1, keepdims=True), 1)
    _, recall, f1 = per_class(item.counts)
    return [
        (name, list(zip(counts.tolist(), row.tolist(), strict=True)), float(r), float(f))
        for name, counts, row, r, f in zip(corpus.clips.classes, item.counts, shares, recall, f1, strict=True)
    ]


def baseline(corpus: CorpusPlan) -> dict[str, float]:
    """Return what always saying the training clips' most frequent class, or the targets' mean, scores over folds."""
    if corpus.clips.targets:
        return _mean_baseline(corpus)
    from .scores import scores

    n_classes, y = len(corpus.clips.classes), corpus.clips.y
    found = []
    for fold in range(corpus.split.n_folds):
        test = corpus.split.test(fold)
        if len(test):
            guess = int(np.bincount(y[corpus.split.train(fold)], minlength=n_classes).argmax())
            found.append(scores(confusion(y[test], np.full(len(test), guess), n_classes)))
    return {metric: float(np.mean([getattr(score, metric) for score in found])) for metric in corpus.clips.metrics}


def _mean_baseline(corpus: CorpusPlan) -> dict[str, float]:
    clips, found = corpus.clips, []
    for fold in range(corpus.split.n_folds):
        test = corpus.split.test(fold)
        said = np.broadcast_to(clips.y[corpus.split.train(fold)].mean(0), clips.y[test].shape)
        found += [target_scores(clips.y[test, index], said[:, index])[:, 0] for index in range(len(clips.targets))]
    return dict(zip(clips.metrics, np.nanmean(found, axis=0).tolist(), strict=True))


def contamination(corpus: CorpusPlan) -> Iterator[tuple[str, str, bool]]:
    """Yield (encoder, what it was pre-trained on, whether this corpus is among that)."""
    plain = _plain(corpus.name)
    for facts in corpus.encoders:
        if facts.pretraining and not facts.is_random:
            seen = any(plain == _plain(name) for name in facts.pretraining)
            yield facts.name, ", ".join(facts.pretraining), seen


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _missing(plan: Plan, made: list[Table]) -> list[str]:
    shown = {key for table in made for cell in table.cells.values() for key in cell.keys}
    return [experiment.text for experiment in plan.experiments if experiment.key not in shown]


def _maps(plan: Plan, store: Store, results: Results, tell: Any) -> list[dict[str, Any]]:
    from .inputs import Input, load
    from .maps import tsne
    from .svg import legend, scatter

    wanted = list(_mapped(plan))
    made = []
    for done, (corpus, encoder, layer) in enumerate(wanted):
        tell(done, len(wanted), f"{corpus.name}: map of {encoder}")
        found = tsne(corpus, encoder, layer, None, results)
        if found is None:
            x = load(store.corpus(corpus.name), Input(encoder, layer, "mean"), corpus.clips.rows)
            found = tsne(corpus, encoder, layer, x, results)
        if found is not None:
            clip, xy = found
            title = f"{corpus.name}, {encoder}, layer {layer}"
            figure = scatter(xy, corpus.clips.y[clip], corpus.clips.classes, title=title)
            made.append(
                {
                    "corpus": corpus.name,
                    "title": title,
                    "svg": figure,
                    "n": len(clip),
                    "legend": legend(corpus.clips.classes),
                }
            )
    if wanted:
        tell(len(wanted), len(wanted), "report")
    return made


def _mapped(plan: Plan) -> Iterator[tuple[CorpusPlan, str, int]]:
    """Yield what is mapped: each encoder's layer, the last where several are in use."""
    for corpus in plan.corpora:
        if corpus.clips.targets:
            continue  # a map is coloured by class
        for facts in corpus.encoders:
            used = {
                item.layer
                for e in plan.experiments
                if e.corpus == corpus.name
                for item in e.inputs
                if item.encoder == facts.name
            }
            yield corpus, facts.name, used.pop() if len(used) == 1 and WEIGHTED not in used else facts.n_layers - 1


def _render(template: str, context: dict[str, Any], *, escape: bool) -> str:
    from jinja2 import Environment, FunctionLoader

    folder = files(__package__)
    loader = FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = Environment(loader=loader, autoescape=escape, trim_blocks=True, lstrip_blocks=True)
    environment.filters["score"] = lambda value, metric: score_text(metric, value)
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    return environment.get_template(template).render(context)


_FIELDS = (
    "corpus",
    "kind",
    "encoders",
    "input",
    "architecture",
    "n_used",
    "n_total",
    "n_seeds",
    "n_folds",
    "n_parameters",
    "train_s",
)


def _csv(plan: Plan, reported: list[Reported]) -> str:
    out = io.StringIO()
    metrics = list(dict.fromkeys(metric for item in reported for metric in item.cell.scores))
    scores = [f"{metric}_{part}" for metric in metrics for part in ("mean", "std", "low", "high")]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_FIELDS, *scores])
    for item in reported:
        clips, rows = plan.corpus(item.table.corpus).clips, item.cell.rows
        values: list[Any] = [item.table.corpus, item.table.kind, *item.row, item.column, len(clips), clips.n_total]
        values += [
            len(rows),
            len(rows[0].folds[clips.main_metric]),
            rows[0].n_parameters,
            f"{sum(row.train_s for row in rows):.2f}",
        ]
        for metric in metrics:
            if metric not in item.cell.scores:
                values += [""] * 4
                continue
            score = item.cell.scores[metric]
            values += [f"{value:.6f}" for value in (score.mean, score.std, *item.intervals[metric])]
        writer.writerow(values)
    return out.getvalue()


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
