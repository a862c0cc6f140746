"""The figures of one corpus: maps, score by layer, learned layer weights, true against predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import svg
from ..grid import CorpusPlan, Experiment, Plan
from ..inputs import Input, load
from ..maps import NAMES, Method, key_of_learned, key_of_raw, methods, put
from ..records import Features
from ..results import Results
from ..scores import METRIC_NAMES, METRICS
from ..seeding import MAX_POINTS, draw
from ..shown import is_named
from ..tables import by_target
from .reported import Reported

if TYPE_CHECKING:
    from ...store import Store

Tell = Callable[[str], None]
_NAMED_SPEAKERS = svg.HUES
_GLANCED = 60


@dataclass(frozen=True)
class Figure:
    """An SVG with what stands under it."""

    svg: str
    caption: str
    small: str = ""


@dataclass(frozen=True)
class Panel:
    """Figures under one heading, with a legend (HTML) and a sentence; `first` ones stand before the tables."""

    title: str
    figures: tuple[Figure, ...]
    legend: str = ""
    text: str = ""
    wide: bool = False
    first: bool = False


def panels(
    plan: Plan, corpus: CorpusPlan, items: Sequence[Reported], store: Store, results: Results, tell: Tell
) -> list[Panel]:
    """Return every panel that a corpus has something for."""
    experiments = [e for e in plan.experiments if e.corpus == corpus.name]
    found = [
        *_at_a_glance(corpus, items),
        *_by_layer(corpus, items, experiments),
        *_layer_weights(corpus, items, experiments, results),
    ]
    if corpus.clips.targets:
        return [*found, *_against(corpus, items)]
    return [
        *found,
        *_raw_maps(corpus, experiments, store, results, tell),
        *_learned_maps(plan, corpus, items, results, tell),
    ]


def _at_a_glance(corpus: CorpusPlan, items: Sequence[Reported]) -> Iterator[Panel]:
    """Yield every score with its interval in one figure a kind: a line an input, a mark a head (EmotionShare, figure 3)."""
    metric = corpus.clips.main_metric
    scale = 100 if metric in METRICS else 1
    name = METRIC_NAMES[metric] + (" in %" if scale == 100 else "")
    for kind, what in (("head", "heads"), ("fusion", "fusions")):
        mine = [item for item in items if item.table.kind == kind]
        rows = list(dict.fromkeys(item.row for item in mine))
        heads = list(dict.fromkeys(item.column for item in mine))
        if len(mine) < 2 or len(rows) > _GLANCED:
            continue
        several = len({encoders for encoders, _ in rows}) < len(rows)
        marks = [
            svg.Mark(
                rows.index(item.row),
                heads.index(item.column),
                *(scale * value for value in _pooled(item, metric)),
            )
            for item in mine
        ]
        chance = None if corpus.design.chance is None else 100 * corpus.design.chance
        names = [f"{encoders}, {text}" if several else encoders for encoders, text in rows]
        figure = svg.dots(names, heads, marks, title=f"{corpus.name}, {what}: {name}", x_name=name, chance=chance)
        small = _lines_text(corpus) + ("; dashed: chance" if chance is not None else "")
        yield Panel(f"At a glance: {what}", (Figure(figure, "", small),), svg.legend(heads), wide=True, first=True)


def _by_layer(corpus: CorpusPlan, items: Sequence[Reported], experiments: Sequence[Experiment]) -> Iterator[Panel]:
    """Yield a panel a head: the main score over layers, a line an encoder, where three layers or more were tried."""
    layer_of = {e.key: e.inputs[0].layer for e in experiments if len(e.inputs) == 1 and e.inputs[0].layer >= 0}
    metric = corpus.clips.main_metric
    scale = 100 if metric in METRICS else 1
    for head in dict.fromkeys(item.column for item in items if item.table.kind == "head"):
        by_encoder: dict[str, list[tuple[int, Reported]]] = {}
        for item in items:
            if item.column == head and item.table.kind == "head" and item.cell.keys[0] in layer_of:
                by_encoder.setdefault(item.row[0], []).append((layer_of[item.cell.keys[0]], item))
        lines = [_line(name, found, metric, scale) for name, found in by_encoder.items() if len(found) >= 3]
        if lines:
            name = METRIC_NAMES[metric] + (" in %" if scale == 100 else "")
            title = f"{corpus.name}, {head}: {name} by layer"
            figure = svg.lines(lines, title=title, x_name="layer", y_name=name)
            small = f"upright {_lines_text(corpus)}; layer 0 is the input to the first block"
            legend = svg.legend([line.name for line in lines])
            text = (
                "The best layer of this figure was found on the clips that it is scored on, so its score is too high; "
                "`layer: best` chooses on inner folds."
            )
            yield Panel(f"Score by layer: {head}", (Figure(figure, "", small),), legend, text, wide=True)


def _line(name: str, found: Sequence[tuple[int, Reported]], metric: str, scale: int) -> svg.Line:
    points = sorted(found, key=lambda pair: pair[0])
    values = [[scale * value for value in _pooled(item, metric)] for _, item in points]
    return svg.Line(name, [layer for layer, _ in points], *(list(part) for part in zip(*values, strict=True)))


def _pooled(item: Reported, metric: str) -> tuple[float, float, float]:
    """Return the pooled score and the ends of its interval, which are the score itself where there is none."""
    found = item.cell.scores[metric].pooled
    if found is None:
        return (item.cell.scores[metric].mean,) * 3
    return (found.value, found.low, found.high) if found.known else (found.value,) * 3


def _lines_text(corpus: CorpusPlan) -> str:
    none = corpus.clips.main_metric in corpus.design.refused
    return "no intervals: see above" if none else "lines: 95 % intervals"


def _layer_weights(
    corpus: CorpusPlan, items: Sequence[Reported], experiments: Sequence[Experiment], results: Results
) -> Iterator[Panel]:
    inputs = {e.key: e.inputs for e in experiments}
    layers = {facts.name: facts.layers for facts in corpus.encoders}
    figures = []
    for item in items:
        runs = [weights for key in item.cell.keys for weights in results.layer_weights(key)]
        for index, wanted in enumerate(inputs[item.cell.keys[0]]):
            given = [np.array(weights[index]) for weights in runs if index < len(weights) and weights[index]]
            if given:
                table = np.stack(given)  # [seed x fold, layer]
                text = f"{item.text}: {wanted.encoder}" if len(inputs[item.cell.keys[0]]) > 1 else item.text
                figures.append(_weights_figure(table, text, layers[wanted.encoder]))
    if figures:
        text = "Softmax weights over layers, mean over folds and seeds; thin lines from the least to the most."
        yield Panel("Learned layer weights", tuple(figures), text=text)


def _weights_figure(table: np.ndarray, text: str, layers: Sequence[int]) -> Figure:
    mean = table.mean(0)
    figure = svg.columns(layers, mean, table.min(0), table.max(0), title=f"Layer weights of {text}", x_name="layer")
    return Figure(figure, text, f"most: layer {layers[int(mean.argmax())]} ({100 * mean.max():.1f} %)")


def _against(corpus: CorpusPlan, items: Sequence[Reported]) -> Iterator[Panel]:
    """Yield true against predicted of the best cell, a small figure a target (EmotionShare, figure 2)."""
    if not items:
        return
    best = max(items, key=lambda item: _pooled(item, "spearman")[0])
    scores = by_target(best.cell, "spearman")
    tested = np.flatnonzero(~np.isnan(best.said[:, 0]))
    shown = tested[draw(np.zeros(len(tested), dtype=np.int64))]
    figures = []
    for index, name in enumerate(corpus.clips.targets):
        caption = f"{name}: ρ = {scores[name].mean:.3f}"
        title = f"{corpus.name}, {best.text}, {caption}, true against predicted"
        figures.append(Figure(svg.against(corpus.clips.y[shown, index], best.said[shown, index], title=title), caption))
    text = (
        f"{best.text} ({best.row[1]}), the highest Spearman; each of {len(shown)} tested clips once, predictions averaged "
        f"over seeds; ρ is the mean over folds and seeds; the dashed line is where both are the same."
    )
    yield Panel("True against predicted", tuple(figures), text=text)


def _raw_maps(
    corpus: CorpusPlan, experiments: Sequence[Experiment], store: Store, results: Results, tell: Tell
) -> Iterator[Panel]:
    made: list[tuple[str, np.ndarray, np.ndarray]] = []
    for method in methods():
        for facts in corpus.encoders:
            layer = _mapped_layer(corpus, facts.name, experiments)
            tell(f"{corpus.name}: {NAMES[method]} of {facts.name}")
            found = _raw_map(corpus, facts.name, layer, method, store, results)
            if found is not None:
                made.append((f"{facts.name}, layer {layer}, {NAMES[method]}", *found))
    names = " and ".join(NAMES[method] for method in methods())
    yield from _coloured(corpus, made, f"Raw embeddings ({names})", "")


def _mapped_layer(corpus: CorpusPlan, encoder: str, experiments: Sequence[Experiment]) -> int:
    """Return the layer in use; the last where several are, or weights over all."""
    used = {item.layer for e in experiments for item in e.inputs if item.encoder == encoder}
    return used.pop() if len(used) == 1 and min(used) >= 0 else corpus.facts(encoder).layers[-1]


def _raw_map(
    corpus: CorpusPlan, encoder: str, layer: int, method: Method, store: Store, results: Results
) -> tuple[np.ndarray, np.ndarray] | None:
    key = key_of_raw(corpus, encoder, layer, method)
    found = results.get_map(key)
    if found is None and len(corpus.clips) >= 5:
        clip = draw(corpus.clips.strata)
        x = load(store.corpus(corpus.name), Input(encoder, layer, "mean"), corpus.clips.rows)
        put(key, x[clip], clip, method, results)
        found = results.get_map(key)
    return found


def _learned_maps(
    plan: Plan, corpus: CorpusPlan, items: Sequence[Reported], results: Results, tell: Tell
) -> Iterator[Panel]:
    """Yield a map of what networks make of the test clips of one fold, before the last layer."""
    made = []
    for item, kept, features in _with_features(plan, corpus, items, results):
        for method in methods():
            key = key_of_learned(kept, method)
            if results.get_map(key) is None:
                tell(f"{corpus.name}: {NAMES[method]} of what {item.text} learned")
                put(key, features.values, features.clip, method, results)
            found = results.get_map(key)
            if found is not None:
                name = f"{item.text}, {features.values.shape[1]} features, fold {features.fold}, {NAMES[method]}"
                made.append((name, *found))
    named = ", and of what shown: names" if plan.config.shown else ""
    text = (
        f"What enters the last layer of the best head and the best fusion that keep it{named}, for the clips of one fold that "
        f"the network was not trained on (first seed)."
    )
    yield from _coloured(corpus, made, "Learned embeddings of tested clips", text)


def _with_features(
    plan: Plan, corpus: CorpusPlan, items: Sequence[Reported], results: Results
) -> Iterator[tuple[Reported, str, Features]]:
    """Yield the best of each kind that keeps features, and every named one that does, with the key they are kept by."""
    metric = corpus.clips.main_metric
    for kind in ("head", "fusion"):
        of_kind = [item for item in items if item.table.kind == kind]
        best_yet = True
        for item in sorted(of_kind, key=lambda item: -_pooled(item, metric)[0]):
            if not best_yet and not is_named(item.experiment, plan.config.shown):
                continue
            found = ((key, results.features(key)) for key in item.cell.keys)
            kept, features = next(((key, value) for key, value in found if value is not None), ("", None))
            if features is not None and len(features.clip) >= 5:
                yield item, kept, features
                best_yet = False


def _coloured(
    corpus: CorpusPlan, made: Sequence[tuple[str, np.ndarray, np.ndarray]], title: str, text: str
) -> Iterator[Panel]:
    if not made:
        return
    clips = corpus.clips
    yield Panel(
        f"{title}, coloured by class",
        tuple(_map(corpus, name, clip, xy, clips.y[clip], clips.classes, "class") for name, clip, xy in made),
        svg.legend(clips.classes),
        text,
    )
    if clips.group is None:
        return
    shown = np.unique(np.concatenate([clip for _, clip, _ in made]))
    named, number, rest = _speakers(clips.group.astype(str), shown)
    yield Panel(
        f"{title}, coloured by {clips.group_column}",
        tuple(_map(corpus, name, clip, xy, number[clip], named, str(clips.group_column)) for name, clip, xy in made),
        svg.legend(named, f"{rest} others" if rest else ""),
        f"Where a {clips.group_column}'s clips lie together, the embedding tells who is heard.",
    )


def _speakers(group: np.ndarray, shown: np.ndarray) -> tuple[list[str], np.ndarray, int]:
    """Return the groups with most clips shown, the number of each clip's among them or -1, and how many others are shown."""
    counts = Counter(group[shown].tolist())
    named = [name for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_NAMED_SPEAKERS]]
    place = {name: index for index, name in enumerate(named)}
    return named, np.array([place.get(name, -1) for name in group.tolist()]), len(counts) - len(named)


def _map(
    corpus: CorpusPlan, name: str, clip: np.ndarray, xy: np.ndarray, y: np.ndarray, classes: Sequence[str], what: str
) -> Figure:
    figure = svg.scatter(xy, y, classes, title=f"{corpus.name}, {name}, coloured by {what}")
    some = f", drawn from {len(corpus.clips)}" if len(clip) == MAX_POINTS else ""
    return Figure(figure, name, f"{len(clip)} clips{some}")
