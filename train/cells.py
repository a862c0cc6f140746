"""Which inputs go to which head or fusion, and what is wrong with what was asked for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import ConfigError, nearest
from ..registry import Registry
from .architecture import Architecture, check_options
from .config import ArchitectureConfig, TrainConfig
from .grid import Chosen, CorpusPlan, EncoderFacts, Kind
from .inputs import WEIGHTED, Input


def choose(
    kind: Kind, registry: Registry[Architecture], wanted: Sequence[ArchitectureConfig], problems: list[str]
) -> list[Chosen]:
    """Return the heads or fusions named in the configuration with their options; what is wrong becomes problems."""
    chosen: dict[str, Chosen] = {}
    for item in wanted:
        try:
            entry = registry.get(item.name)
        except ConfigError as error:
            problems += error.problems
            continue
        options, wrong = check_options(kind, item.name, entry.options, dict(item.options))
        problems += wrong
        if options is None:
            continue
        stated = ", ".join(f"{key}={_plain(value)}" for key, value in item.options.items())
        label = f"{item.name} ({stated})" if stated else item.name
        if label in chosen:
            problems.append(f"train, {kind} {label!r}: named twice. Remove one, or give them different options.")
        text = json.dumps(options.model_dump(mode="json"), sort_keys=True)
        chosen[label] = Chosen(kind, item.name, label, text)
    return list(chosen.values())


def _plain(value: Any) -> str:
    return str(value).replace(" ", "")


def refuse_weighted(config: TrainConfig, heads: list[Chosen], problems: list[str]) -> None:
    """Add a problem for every head that cannot learn weights over layers."""
    if config.inputs.layer != "weighted":
        return
    problems += [
        f"train.inputs.layer: weights over layers are learned with a network, head {head.name!r} is none. "
        f"Remove the head, or choose one layer."
        for head in heads
        if head.entry.engine != "torch"
    ]


Cell = tuple[tuple[Input, ...], Chosen]


def refuse_unsuited(config: TrainConfig, corpus: CorpusPlan, wanted: list[Chosen], problems: list[str]) -> None:
    """Add a problem for everything that does not predict what the corpus gives."""
    targets = corpus.clips.targets
    for chosen in wanted:
        if not (chosen.entry.regresses if targets else chosen.entry.classifies):
            problems.append(
                f"train, {chosen.kind} {chosen.name!r}: predicts {'classes' if targets else 'continuous targets'} only, "
                f"corpus {corpus.name!r} gives {', '.join(targets) or 'classes'}. Remove it, or name another `target`."
            )
    if targets and config.resolved_training.class_weights != "none":
        problems.append("train.training.class_weights: continuous targets have no classes. Remove it.")


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
                    yield (Input(facts.name, layer, stats),), head
                elif _has_frames(config, facts, layer, head, problems):
                    yield (Input(facts.name, layer, "frames"),), head
    for group in _groups(config, corpus, problems):
        for fusion in fusions:
            yield tuple(Input(name, _fusion_layer(config, corpus.facts(name)), stats) for name in group), fusion


def _has_frames(config: TrainConfig, facts: EncoderFacts, layer: int, head: Chosen, problems: list[str]) -> bool:
    """Return whether a layer's frames were kept; where not, that is a problem unless all layers were asked for."""
    if layer in facts.frame_layers:
        return True
    if layer == WEIGHTED:
        problems.append(f"train.inputs.layer: head {head.name!r} reads frames of one layer. Name one, or remove it.")
    elif config.inputs.layer != "all" or not facts.frame_layers:
        kept = ", ".join(map(str, facts.frame_layers)) or "none"
        problems.append(
            f"train, head {head.name!r}: reads frames, those of layer {layer} of {facts.name!r} were not kept (kept: "
            f"{kept}). Extract with `{{name: {facts.name}, frames: [{layer}]}}`, or remove the head."
        )
    return False


def _layers(config: TrainConfig, facts: EncoderFacts, corpus: CorpusPlan, problems: list[str]) -> list[int]:
    layer = config.inputs.layer
    if layer == "all":
        return list(range(facts.n_layers))
    if layer == "weighted":
        return [WEIGHTED if facts.n_layers > 1 else 0]
    index = facts.n_layers - 1 if layer == "last" else int(layer)
    if not -facts.n_layers <= index < facts.n_layers:
        problems.append(
            f"train.inputs.layer: expected a layer that every encoder has, got {layer}; {facts.name!r} in "
            f"{corpus.name!r} has 0 to {facts.n_layers - 1}. Choose `encoders:` that have it."
        )
        return []
    return [index % facts.n_layers]


def _fusion_layer(config: TrainConfig, facts: EncoderFacts) -> int:
    """Fusions take the last layer where heads run through all of them."""
    if config.inputs.layer == "weighted" and facts.n_layers > 1:
        return WEIGHTED
    return int(config.inputs.layer) % facts.n_layers if isinstance(config.inputs.layer, int) else facts.n_layers - 1


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
    return groups


def resolve(name: str, stored: Sequence[str]) -> str | None:
    """Return the stored name of an encoder, which ends in -random where its weights are; None where it is not there."""
    return next((found for found in (name, f"{name}-random") if found in stored), None)


def holds(known: Iterable[str]) -> str:
    """Return a sentence that lists what there is."""
    return f"It holds: {', '.join(sorted(known)) or 'none'}."
