"""What the templates are filled with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...words import duration
from ..config import Training
from ..convergence import EXPLAINED
from ..grid import CorpusPlan, Plan
from ..published import Published
from ..results import Results
from ..scores import METRIC_NAMES, METRICS, per_class
from ..shown import is_named
from ..tables import Table, by_target, tables
from .across import PaperTable, paper_tables
from .baseline import baseline
from .contamination import contamination
from .figures import panels
from .leaks import leaks, looked_for
from .reported import Reported, best_item, gaps, reported

if TYPE_CHECKING:
    from ...store import Store

_GAPS = 12
_SLOWEST = 10


def context(plan: Plan, store: Store, results: Results, tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Return all that the templates show."""
    made = tables(plan, results)
    places = [(table, place) for table in made for place in table.cells]
    n_steps = len(places) + len(plan.corpora)
    items = []
    for done, (table, place) in enumerate(places):
        tell(done, n_steps, f"{table.corpus}: confusions")
        items.append(reported(plan, results, table, place))
    published = Published(plan.config.published)
    across = paper_tables(plan, made, published)
    corpora = []
    for done, corpus in enumerate(plan.corpora, start=len(places)):
        mine = [item for item in items if item.table.corpus == corpus.name]
        tell(done, n_steps, f"{corpus.name}: figures")
        drawn = panels(plan, corpus, mine, store, results, lambda text, done=done: tell(done, n_steps, text))  # type: ignore[misc]
        corpora.append(_corpus(plan, corpus, made, mine, results) | {"panels": drawn})
    tell(n_steps, n_steps, "report")
    return {
        "plan": plan,
        "training": plan.training.model_dump(),
        "own_training": _own_training(plan),
        "explained": EXPLAINED,
        "unfinished": [(item, item.cell.convergence.text) for item in items if item.cell.convergence.text],
        "reported": items,
        "by_place": {(item.table.title, item.row, item.column): item for item in items},
        "corpora": corpora,
        "across": across if len(plan.corpora) > 1 or any(table.has_published for table in across) else [],
        "paper_tables": across,
        "published": _published(plan, published, across),
        "missing": _missing(plan, made),
        "metric_names": METRIC_NAMES,
        "class_metrics": METRICS,
        "versions": _versions(items),
        "time": _time(items),
    }


def _corpus(
    plan: Plan, corpus: CorpusPlan, made: Sequence[Table], items: Sequence[Reported], results: Results
) -> dict[str, Any]:
    metric = corpus.clips.main_metric
    by_kind = [[item for item in items if item.table.kind == kind] for kind in ("head", "fusion")]
    group = corpus.clips.group
    return {
        "plan": corpus,
        "tables": [table for table in made if table.corpus == corpus.name],
        "metrics": {metric: METRIC_NAMES[metric] for metric in corpus.clips.metrics},
        "main_metric": metric,
        "licence": corpus.about.get("licence"),
        "citation": corpus.about.get("citation"),
        "classes": list(zip(corpus.clips.classes, corpus.clips.counts.tolist(), strict=True)),
        "n_groups": None if group is None else len(set(group)),
        "certainty": corpus.design.text,
        "chance": corpus.design.chance,
        "swept": _swept(items),
        "baseline": baseline(corpus),
        "leaks": leaks(corpus),
        "looked_for": looked_for(corpus),
        "random": [facts.name for facts in corpus.encoders if facts.is_random],
        "contamination": list(contamination(corpus)),
        "confusions": [] if corpus.clips.targets else _confusions(plan, corpus, by_kind),
        "by_target": [(item, by_target(item.cell, "spearman")) for item in items] if corpus.clips.targets else [],
        "gaps": [found[:_GAPS] for mine in by_kind if len(mine) > 1 for found in [gaps(mine, metric)]],
        "chosen": _chosen(items, results),
    }


def _swept(items: Sequence[Reported]) -> bool:
    """Return whether several layers of one encoder stand in the tables, of which a reader may pick the best."""
    layers: dict[tuple[str, str], set[str]] = {}
    for item in items:
        layers.setdefault((item.row[0], item.column), set()).add(item.row[1])
    return any(len(found) > 2 for found in layers.values())


def _confusions(plan: Plan, corpus: CorpusPlan, by_kind: Sequence[Sequence[Reported]]) -> list[tuple[Any, ...]]:
    """Return the best of each kind, then what `shown:` names: a cell, why it is there, and its lines."""
    metric = corpus.clips.main_metric
    best = [best_item(mine, metric) for mine in by_kind if mine]
    shown = plan.config.shown
    named = [item for mine in by_kind for item in mine if is_named(item.experiment, shown) and item not in best]
    why = {
        "head": f"Highest {METRIC_NAMES[metric]} among heads",
        "fusion": f"Highest {METRIC_NAMES[metric]} among fusions",
    }
    return [(item, why[item.table.kind], _matrix(corpus, item)) for item in best] + [
        (item, "Named under shown:", _matrix(corpus, item)) for item in named
    ]


def _matrix(corpus: CorpusPlan, item: Reported) -> list[tuple[str, list[tuple[int, float]], float, float]]:
    """Return one line a true class: its name, (count, share of the class) a predicted class, its recall and F1."""
    shares = item.counts / item.counts.sum(1, keepdims=True).clip(1)
    _, recall, f1 = per_class(item.counts)
    return [
        (name, list(zip(counts.tolist(), row.tolist(), strict=True)), float(r), float(f))
        for name, counts, row, r, f in zip(corpus.clips.classes, item.counts, shares, recall, f1, strict=True)
    ]


def _chosen(items: Sequence[Reported], results: Results) -> list[tuple[Reported, list[tuple[str, str]]]]:
    """Return for every searched cell each option with its values and in how many folds (of all seeds) each was chosen."""
    found = []
    for item in items:
        said = [choice for key in item.cell.keys for choice in results.chosen(key)]
        options = dict.fromkeys(name for choice in said for name in choice)
        lines = [(name, _counted([str(choice[name]) for choice in said if name in choice])) for name in options]
        if lines:
            found.append((item, lines))
    return found


def _counted(values: Sequence[str]) -> str:
    return ", ".join(f"{value} in {count}" for value, count in Counter(values).most_common())


def _published(plan: Plan, published: Published, across: Sequence[PaperTable]) -> dict[str, Any] | None:
    """Return whose figures stand beside ours and what keeps them from being compared; None where none were asked for."""
    if published.name is None:
        return None
    random = sorted({facts.name for corpus in plan.corpora for facts in corpus.encoders if facts.is_random})
    theirs = {figure.architecture for figure in published.figures}
    ours = {experiment.chosen.name for experiment in plan.experiments}
    return {
        "name": published.name,
        "random": random,
        "shown": any(table.has_published for table in across),
        "others": sorted(theirs - ours - {""}),
        "corpora": sorted({figure.corpus for figure in published.figures} - {corpus.name for corpus in plan.corpora}),
    }


def _own_training(plan: Plan) -> list[tuple[str, Training]]:
    """Return the heads that are trained by something else than the preset."""
    made = {e.chosen.label: e.chosen.trained_by(plan.config) for e in plan.experiments if e.chosen.learner.training}
    return [(label, own) for label, own in made.items() if own != plan.training]


def _missing(plan: Plan, made: Sequence[Table]) -> list[str]:
    shown = {key for table in made for cell in table.cells.values() for key in cell.keys}
    return [experiment.text for experiment in plan.experiments if experiment.key not in shown]


def _versions(items: Sequence[Reported]) -> list[str]:
    return list(dict.fromkeys(row.versions for item in items for row in item.cell.rows))


def _time(items: Sequence[Reported]) -> dict[str, Any]:
    """Return where the time went: in all, by head or fusion, and the cells that took most."""

    def seconds(item: Reported) -> float:
        return sum(row.train_s for row in item.cell.rows)

    by_column: Counter[str] = Counter()
    for item in items:
        by_column[item.column] += seconds(item)  # type: ignore[assignment]
    return {
        "total": duration(sum(map(seconds, items))),
        "by_column": [(name, duration(value)) for name, value in by_column.most_common()],
        "slowest": [
            (item, duration(seconds(item))) for item in sorted(items, key=lambda item: -seconds(item))[:_SLOWEST]
        ],
    }
