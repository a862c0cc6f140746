"""From the configuration and the store to the list of experiments, each with the key it is remembered by.

Nothing here imports torch or scikit-learn: a finished grid is recognised in well under a second.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import ConfigError, nearest
from ..registry import Registry
from . import clips as clips_module
from . import splits
from .architecture import Architecture, check_options
from .clips import Clips
from .config import ArchitectureConfig, SplitConfig, TrainConfig, Training
from .fusions import FUSIONS
from .heads import HEADS
from .inputs import WEIGHTED, Input
from .splits import Split

if TYPE_CHECKING:
    from ..store import Corpus, EncoderGroup, Store

CODE_VERSION = 1
"""Raised by whoever changes what an experiment computes, so that older results count as stale."""

Kind = Literal["head", "fusion"]


@dataclass(frozen=True)
class EncoderFacts:
    """What the report says about an encoder of a corpus."""

    name: str
    content: str
    origin: str
    is_random: bool
    pretraining: tuple[str, ...]
    licence: str
    n_layers: int
    dim: int
    has_std: bool
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Chosen:
    """A head or fusion with its options, as the grid runs it. `label` is what tables call it."""

    kind: Kind
    name: str
    label: str
    options: str

    @property
    def entry(self) -> Architecture:
        """What the registry knows of it."""
        return (HEADS if self.kind == "head" else FUSIONS).get(self.name)

    @property
    def values(self) -> Any:
        """The options as the architecture's own model."""
        return self.entry.options(**json.loads(self.options))


@dataclass(frozen=True)
class CorpusPlan:
    """One corpus: the clips every experiment on it uses, and how they are split."""

    name: str
    about: dict[str, Any]
    clips: Clips
    split: Split
    split_config: SplitConfig
    encoders: tuple[EncoderFacts, ...]
    notes: tuple[str, ...]

    def facts(self, encoder: str) -> EncoderFacts:
        """Return what is known of one of its encoders."""
        return next(facts for facts in self.encoders if facts.name == encoder)


@dataclass(frozen=True)
class Experiment:
    """One cell of the grid: corpus x inputs x head or fusion x split x seed.

    Attributes:
        slot: names the cell; key: names what produced its result. Same slot, other key: the result is stale.
    """

    corpus: str
    inputs: tuple[Input, ...]
    chosen: Chosen
    seed: int
    slot: str
    key: str

    @property
    def encoders(self) -> str:
        """Names of the encoders, joined by +."""
        return " + ".join(item.encoder for item in self.inputs)

    @property
    def input_text(self) -> str:
        """What is taken of the encoders, such as "layer 12, mean"."""
        return " | ".join(dict.fromkeys(item.text for item in self.inputs))

    @property
    def text(self) -> str:
        """One line that names the experiment."""
        return f"{self.corpus}: {self.encoders} ({self.input_text}) -> {self.chosen.label}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """Every experiment asked for, in order, and what a reader must know before believing any of them."""

    config: TrainConfig
    training: Training
    corpora: tuple[CorpusPlan, ...]
    experiments: tuple[Experiment, ...]
    notes: tuple[str, ...]

    def corpus(self, name: str) -> CorpusPlan:
        """Return the plan of one corpus."""
        return next(corpus for corpus in self.corpora if corpus.name == name)


def plan(config: TrainConfig, store: Store) -> Plan:
    """Return the grid that `config` asks for over `store`.

    Raises:
        ConfigError: everything that cannot be done as asked, at once.
        TrainError: no clip is usable.
    """
    problems: list[str] = []
    heads = _choose("head", HEADS, config.heads, problems)
    fusions = _choose("fusion", FUSIONS, config.fusion.methods if config.fusion else (), problems)
    _refuse_weighted(config, heads, problems)
    corpora, notes = _corpora(config, store, problems)
    cells = [(corpus, cell) for corpus in corpora for cell in _cells(config, corpus, heads, fusions, problems)]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    training = config.resolved_training
    experiments = tuple(
        _experiment(config, training, corpus, inputs, chosen, seed)
        for corpus, (inputs, chosen) in cells
        for seed in (config.seeds if chosen.entry.seeded else config.seeds[:1])
    )
    if not experiments:
        raise ConfigError(
            "train: nothing to run: expected heads, or a fusion and two encoders. Name one under `heads:`."
        )
    return Plan(config, training, tuple(corpora), experiments, tuple(notes))


def _choose(
    kind: Kind, registry: Registry[Architecture], wanted: Sequence[ArchitectureConfig], problems: list[str]
) -> list[Chosen]:
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


def _refuse_weighted(config: TrainConfig, heads: list[Chosen], problems: list[str]) -> None:
    if config.inputs.layer != "weighted":
        return
    problems += [
        f"train.inputs.layer: weights over layers are learned with a network, head {head.name!r} is none. "
        f"Remove the head, or choose one layer."
        for head in heads
        if head.entry.engine != "torch"
    ]


def _corpora(config: TrainConfig, store: Store, problems: list[str]) -> tuple[list[CorpusPlan], list[str]]:
    plans, notes = [], []
    for name in _names("corpora", config.corpora, store.corpora, problems):
        try:
            planned = _corpus(config, store.corpus(name))
        except ConfigError as error:
            if config.corpora == "all" and len(store.corpora) > 1:
                notes += [f"corpus {name!r} is left out: {problem}" for problem in error.problems]
            else:
                problems += error.problems
            continue
        if planned is None:
            notes.append(f"corpus {name!r} is left out: none of the chosen encoders has embedded any of it")
            continue
        plans.append(planned)
    if config.encoders != "all":
        known = sorted({name for corpus in store.corpora for name in store.corpus(corpus).encoders})
        problems += [
            f"train.encoders: {name!r} is not in the store{nearest(name, known)} {_holds(known)}"
            for name in config.encoders
            if resolve(name, known) is None
        ]
    if not plans and not problems:
        problems.append("; ".join(notes) or f"store {store.path}: holds no corpus. Run `voxcache extract` first.")
    return plans, notes


def _names(what: str, wanted: Any, known: Sequence[str], problems: list[str]) -> list[str]:
    if wanted == "all":
        return list(known)
    problems += [
        f"train.{what}: {name!r} is not in the store{nearest(name, known)} {_holds(known)}"
        for name in wanted
        if name not in known
    ]
    return [name for name in wanted if name in known]


def _holds(known: Iterable[str]) -> str:
    return f"It holds: {', '.join(sorted(known)) or 'none'}."


def _corpus(config: TrainConfig, corpus: Corpus) -> CorpusPlan | None:
    notes: list[str] = []
    encoders = []
    for name in _encoder_names(config, corpus, notes):
        encoder = corpus.encoder(name)
        if encoder.ledger().ok.any():
            encoders.append(encoder)
        else:
            notes.append(f"encoder {name!r} is left out: it has embedded no clip yet. Run `voxcache extract`.")
    if not encoders:
        return None
    labelled = clips_module.labelled(corpus, config.target, config.split.group)
    fold, n_folds, text, grouped = splits.assign(labelled, config.split)
    clips = clips_module.usable(labelled, encoders)
    kept = np.isin(labelled.rows, clips.rows)
    split = splits.finish(clips, fold[kept], n_folds, text, grouped)
    if clips.split is not None and config.split.kind != "predefined":
        notes.append("the corpus has a split of its own; `split: {kind: predefined}` uses it")
    facts = tuple(_facts(encoder) for encoder in encoders)
    return CorpusPlan(corpus.name, dict(corpus.attrs), clips, split, config.split, facts, (*notes, *split.notes))


def _encoder_names(config: TrainConfig, corpus: Corpus, notes: list[str]) -> list[str]:
    if config.encoders == "all":
        return list(corpus.encoders)
    names = []
    for name in config.encoders:
        stored = resolve(name, corpus.encoders)
        if stored is None:
            notes.append(f"encoder {name!r} has not embedded this corpus")
        elif stored not in names:
            names.append(stored)
    return names


def resolve(name: str, stored: Sequence[str]) -> str | None:
    """Return the stored name of an encoder, which ends in -random where its weights are; None where it is not there."""
    return next((found for found in (name, f"{name}-random") if found in stored), None)


def _facts(encoder: EncoderGroup) -> EncoderFacts:
    card = encoder.card
    return EncoderFacts(
        name=encoder.name,
        content=encoder.content_hash(),
        origin=encoder.weights_origin,
        is_random=encoder.is_random,
        pretraining=tuple(card.get("pretraining") or ()),
        licence=str(card.get("licence") or "unknown"),
        n_layers=encoder.n_layers,
        dim=encoder.dim,
        has_std=encoder.has_std,
        counts=tuple(encoder.ledger().counts().items()),
    )


Cell = tuple[tuple[Input, ...], Chosen]


def _cells(
    config: TrainConfig, corpus: CorpusPlan, heads: list[Chosen], fusions: list[Chosen], problems: list[str]
) -> Iterator[Cell]:
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
                yield (Input(facts.name, layer, stats),), head
    for group in _groups(config, corpus, problems):
        for fusion in fusions:
            yield tuple(Input(name, _fusion_layer(config, corpus.facts(name)), stats) for name in group), fusion


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
            f"{place}: encoder {name!r} is not among those in use{nearest(name, names)} {_holds(names)}"
            for name in absent
        ]
        if len(group) < 2:
            problems.append(f"{place}: expected two or more encoders, got {len(group)}. Use a head for one encoder.")
        elif len(set(stored)) < len(stored) and not absent:
            problems.append(f"{place}: expected encoders that differ, got {' + '.join(group)}. Name each once.")
        elif not absent:
            groups.append(tuple(name for name in stored if name))
    return groups


def _experiment(
    config: TrainConfig, training: Training, corpus: CorpusPlan, inputs: tuple[Input, ...], chosen: Chosen, seed: int
) -> Experiment:
    names = {
        "corpus": corpus.name,
        "inputs": [[item.encoder, item.layer, item.statistics] for item in inputs],
        "kind": chosen.kind,
        "architecture": chosen.name,
        "options": chosen.options,
        "target": config.target,
        "split": config.split.model_dump(mode="json"),
        "training": _relevant(training, chosen),
        "seed": seed,
    }
    produced_by = {
        **names,
        "split": corpus.split.content,
        "grouped": corpus.split.grouped,
        "clips": corpus.clips.content,
        "store": [corpus.facts(item.encoder).content for item in inputs],
        "code": CODE_VERSION,
    }
    return Experiment(corpus.name, inputs, chosen, seed, _hash(names), _hash(produced_by))


def _relevant(training: Training, chosen: Chosen) -> dict[str, Any]:
    if chosen.entry.engine == "torch":
        return training.model_dump(mode="json")
    return {"class_weights": training.class_weights}


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
