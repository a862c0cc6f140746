"""Which inputs go to which head or fusion, and what is wrong with what was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ConfigError, nearest
from ..registry import Registry
from .architecture import Architecture
from .config import ArchitectureConfig, TrainConfig
from .grid import Chosen, CorpusPlan, EncoderFacts, Kind, chosen_of
from .inputs import BEST, WEIGHTED, Input


def choose(
    kind: Kind, registry: Registry[Architecture], wanted: Sequence[ArchitectureConfig], problems: list[str]
) -> list[Chosen]:
    """Return the heads or fusions named in the configuration with their options; what is wrong becomes problems."""
    chosen: dict[str, Chosen] = {}
    for item in wanted:
        try:
            made = chosen_of(kind, registry.get(item.name), item)
        except ConfigError as error:
            problems += error.problems
            continue
        same = [
            label for label, other in chosen.items() if label == made.label or replace(other, label=made.label) == made
        ]
        if same:
            also = "" if made.label in same else f", also as {same[0]!r}"
            problems.append(
                f"train, {kind} {made.label!r}: named twice{also}. Remove one, or give them different options."
            )
        chosen[made.label] = made
    return list(chosen.values())


def refuse_weighted(config: TrainConfig, wanted: list[Chosen], problems: list[str]) -> None:
    """Add a problem for everything that cannot learn weights over layers."""
    if config.inputs.layer != "weighted":
        return
    problems += [
        f"train.inputs.layer: weights over layers are learned with a network, {_named(chosen)} is none. "
        f"Remove it, or choose one layer."
        for chosen in wanted
        if chosen.learner.engine != "torch"
    ]


Cell = tuple[tuple[Input, ...], Chosen]


def refuse_unsuited(config: TrainConfig, corpus: CorpusPlan, wanted: list[Chosen], problems: list[str]) -> None:
    """Add a problem for everything that does not predict what the corpus gives."""
    targets = corpus.clips.targets
    for chosen in wanted:
        if not (chosen.learner.regresses if targets else chosen.learner.classifies):
            problems.append(
                f"train, {_named(chosen)}: predicts {'classes' if targets else 'continuous targets'} only, "
                f"corpus {corpus.name!r} gives {', '.join(targets) or 'classes'}. Remove it, or name another `target`."
            )
    if config.resolved_training.class_weights == "none":
        return
    if targets:
        problems.append("train.training.class_weights: continuous targets have no classes. Remove it.")
    problems += [
        f"train.training.class_weights: {_named(chosen)} knows no weights of classes. Remove it, or `class_weights: none`."
        for chosen in wanted
        if not targets and not chosen.learner.weighs_classes
    ]


def cells(
    config: TrainConfig, corpus: CorpusPlan, heads: list[Chosen], fusions: list[Chosen], problems: list[str]
) -> Iterator[Cell]:
    """Yield the cells of one corpus: inputs and the head or fusion that takes them."""
    stats = config.inputs.statistics
    problems += [
        f"train.inputs.statistics: standard deviations of {facts.name!r} were not kept in {corpus.name!r}. "
        f"Extract again with `statistics: [mean, std]`, or use `statistics: mean`."
        for facts in corpus.encoders
        if stats == "mean+std" and not facts.has_std
    ]
    for facts in corpus.encoders:
        for layer in _layers(config, facts, corpus, problems):
            for head in heads:
                if not head.entry.frames:
                    item = Input(facts.name, layer, stats)
                    if _wide_enough(corpus, [item], head, problems):
                        yield (item,), head
                elif _has_frames(config, facts, layer, head, problems):
                    yield (Input(facts.name, layer, "frames"),), head
    for group in _groups(config, corpus, problems):
        for fusion in fusions:
            yield from _fused(config, corpus, group, fusion, problems)


def _fused(
    config: TrainConfig, corpus: CorpusPlan, group: tuple[str, ...], fusion: Chosen, problems: list[str]
) -> Iterator[Cell]:
    least, most = fusion.entry.n_encoders
    if not least <= len(group) <= (most or len(group)):
        problems.append(
            f"train, {_named(fusion)}: takes {f'{least} to {most}' if most != least else least} encoders, got "
            f"{len(group)}: {' + '.join(group)}. Remove it, or name other `pairs`."
        )
        return
    inputs = []
    for name in group:
        facts = corpus.facts(name)
        layer = _fusion_layer(config, facts, fusion)
        statistics: Any = "frames" if fusion.learner.frames else config.inputs.statistics
        if statistics != "frames" or _has_frames(config, facts, layer, fusion, problems):
            inputs.append(Input(name, layer, statistics))
    if len(inputs) == len(group) and _wide_enough(corpus, inputs, fusion, problems):
        yield tuple(inputs), fusion


def _wide_enough(corpus: CorpusPlan, inputs: Sequence[Input], chosen: Chosen, problems: list[str]) -> bool:
    """Return whether every vector is as long as a head or fusion needs it; where not, that is a problem."""
    found = True
    for item in inputs:
        width = corpus.facts(item.encoder).dim * (2 if item.statistics == "mean+std" else 1)
        if width < chosen.learner.least_dim:
            found = False
            problems.append(
                f"train, {_named(chosen)}: expected vectors of at least {chosen.learner.least_dim} features, "
                f"{item.encoder!r} in {corpus.name!r} gives {width}. Remove it, or choose other `encoders`."
            )
    return found


def _named(chosen: Chosen) -> str:
    """Return such as "head 'knn'", or "head 'knn' of fusion 'late'"."""
    late = chosen.late
    return f"{chosen.kind} {chosen.name!r}" if late is None else f"head {late.name!r} of fusion {chosen.name!r}"


def _has_frames(config: TrainConfig, facts: EncoderFacts, layer: int, head: Chosen, problems: list[str]) -> bool:
    """Return whether a layer's frames were kept; where not, that is a problem unless all layers were asked for."""
    if layer in facts.frame_layers or (layer == BEST and facts.frame_layers):
        return True
    if layer == WEIGHTED:
        problems.append(f"train.inputs.layer: {_named(head)} reads frames of one layer. Name one, or remove it.")
    elif layer == BEST:
        problems.append(
            f"train, {_named(head)}: reads frames, none of {facts.name!r} were kept. Extract with "
            f"`{{name: {facts.name}, frames: [last]}}`, or remove it."
        )
    elif config.inputs.layer != "all" or not facts.frame_layers:
        kept = ", ".join(map(str, facts.frame_layers)) or "none"
        problems.append(
            f"train, {_named(head)}: reads frames, those of layer {layer} of {facts.name!r} were not kept (kept: "
            f"{kept}). Extract with `{{name: {facts.name}, frames: [{layer}]}}`, or remove it."
        )
    return False


def _layers(config: TrainConfig, facts: EncoderFacts, corpus: CorpusPlan, problems: list[str]) -> list[int]:
    layer = config.inputs.layer
    if layer == "all":
        return list(facts.layers)
    if layer == "weighted":
        return [WEIGHTED if len(facts.layers) > 1 else facts.layers[0]]
    if layer == "best":
        return [BEST if len(facts.layers) > 1 else facts.layers[0]]
    index = facts.n_layers - 1 if layer == "last" else int(layer)
    if not -facts.n_layers <= index < facts.n_layers:
        problems.append(
            f"train.inputs.layer: expected a layer that every encoder has, got {layer}; {facts.name!r} in "
            f"{corpus.name!r} has 0 to {facts.n_layers - 1}. Choose `encoders:` that have it."
        )
        return []
    if index % facts.n_layers not in facts.layers:
        problems.append(
            f"train.inputs.layer: {facts.name!r} in {corpus.name!r} holds layers {', '.join(map(str, facts.layers))} of 0 to "
            f"{facts.n_layers - 1}, not {index % facts.n_layers}. Choose one of these."
        )
        return []
    return [index % facts.n_layers]


def _fusion_layer(config: TrainConfig, facts: EncoderFacts, fusion: Chosen) -> int:
    """Fusions take the last layer held where heads run through all of them; a late one lets each of its heads choose."""
    if config.inputs.layer == "best" and fusion.late is not None and len(facts.layers) > 1:
        return BEST
    if config.inputs.layer == "weighted" and len(facts.layers) > 1:
        return WEIGHTED
    if isinstance(config.inputs.layer, int):
        return config.inputs.layer % facts.n_layers
    kept = facts.frame_layers if fusion.learner.frames and config.inputs.layer == "all" else ()
    return (kept or facts.layers)[-1]


def _groups(config: TrainConfig, corpus: CorpusPlan, problems: list[str]) -> list[tuple[str, ...]]:
    names = [facts.name for facts in corpus.encoders]
    if config.fusion is None:
        return []
    if config.fusion.pairs == "all":
        return list(itertools.combinations(names, 2))
    groups = []
    for index, group in enumerate(config.fusion.pairs):
        place = f"train.fusion.pairs[{index}], corpus {corpus.name!r}"
        stored = [resolve(name, names) for name in group]
        absent = [name for name, found in zip(group, stored, strict=True) if found is None]
        problems += [
            f"{place}: encoder {name!r} is not among those in use{nearest(name, names)} {holds(names)}"
            for name in absent
        ]
        if len(group) < 2:
            problems.append(f"{place}: expected two or more encoders, got {len(group)}. Use a head for one encoder.")
        elif len(set(stored)) < len(stored) and not absent:
            problems.append(f"{place}: expected encoders that differ, got {' + '.join(group)}. Name each once.")
        elif not absent:
            groups.append(tuple(name for name in stored if name))
            if groups.count(groups[-1]) == 2:
                problems.append(f"{place}: {' + '.join(groups[-1])} is named twice. Remove one.")
    return groups


def resolve(name: str, stored: Sequence[str]) -> str | None:
    """Return the stored name of an encoder, which ends in -random where its weights are; None where it is not there."""
    return next((found for found in (name, f"{name}-random") if found in stored), None)


def holds(known: Iterable[str]) -> str:
    """Return a sentence that lists what there is."""
    return f"It holds: {', '.join(sorted(known)) or 'none'}."
