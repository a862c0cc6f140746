"""The values a plan is made of: encoders, corpora, cells of the grid, and the plan itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from .architecture import Architecture, candidates_of
from .clips import Clips
from .config import ArchitectureConfig, SplitConfig, TrainConfig, Training
from .design import Design, design_of
from .fusions import FUSIONS
from .heads import HEADS
from .inputs import Input
from .splits import Split

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
    layers: tuple[int, ...]
    dim: int
    has_std: bool
    frame_layers: tuple[int, ...]
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Chosen:
    """A head or fusion with its options, as the grid runs it.

    Attributes:
        label: what tables call it.
        options: JSON of all its options; of the first candidate where some are searched.
        candidates: options of each candidate of a search, JSON; `searched` names the options that they differ in.
    """

    kind: Kind
    name: str
    label: str
    options: str
    candidates: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()

    @property
    def entry(self) -> Architecture:
        """What the registry knows of it."""
        return (HEADS if self.kind == "head" else FUSIONS).get(self.name)

    @property
    def values(self) -> Any:
        """The options as the architecture's own model."""
        return self.entry.options(**json.loads(self.options))

    def choices(self) -> list[tuple[Chosen, dict[str, Any]]]:
        """Return each candidate of its search, and the values that make it one."""
        made = []
        for text in self.candidates:
            said = {name: json.loads(text)[name] for name in self.searched}
            made.append((replace(self, options=text, candidates=(), searched=()), said))
        return made

    @property
    def late(self) -> Chosen | None:
        """The head that a late fusion gives each of its encoders; None for everything else."""
        if self.entry.engine != "late":
            return None
        head = self.values.head
        return chosen_of("head", HEADS.get(head.name), head)

    @property
    def learner(self) -> Architecture:
        """What learns from the clips: the head of a late fusion, otherwise the entry itself."""
        late = self.late
        return self.entry if late is None else late.entry

    def trained_by(self, config: TrainConfig) -> Training:
        """Return how its networks are trained."""
        return config.training_of(self.learner.training)

    @property
    def nested(self) -> bool:
        """Whether something is decided on inner folds: a search, or a stacking."""
        late = self.late
        return bool(self.candidates) or (late is not None and (late.nested or self.values.how == "stacking"))


def chosen_of(kind: Kind, entry: Architecture, item: ArchitectureConfig) -> Chosen:
    """Return a head or fusion as its configuration states it.

    Raises:
        ConfigError: all that is wrong with its options.
    """
    candidates, searched = candidates_of(kind, item.name, entry.options, dict(item.options), dict(item.search))
    texts = tuple(json.dumps(options.model_dump(mode="json"), sort_keys=True) for options in candidates)
    return Chosen(kind, item.name, item.label, texts[0], texts if searched else (), searched)


@dataclass(frozen=True)
class CorpusPlan:
    """One corpus: the clips every experiment on it uses, and how they are split.

    `dealt` is the fold of every clip that carries a label, usable or not, by its id.
    """

    name: str
    about: dict[str, Any]
    clips: Clips
    split: Split
    split_config: SplitConfig
    encoders: tuple[EncoderFacts, ...]
    notes: tuple[str, ...]
    dealt: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def design(self) -> Design:
        """Who is tested in which fold, which every interval and test rests on."""
        clips = self.clips
        return design_of(clips.y, self.split.fold, clips.group, column=clips.group_column, classes=clips.classes)

    def facts(self, encoder: str) -> EncoderFacts:
        """Return what is known of one of its encoders."""
        return next(facts for facts in self.encoders if facts.name == encoder)


@dataclass(frozen=True)
class Experiment:
    """One cell of the grid: corpus x inputs x head or fusion x split x seed.

    Attributes:
        slot: names the cell; key: names what produced its result. Same slot, other key: the result is stale.
        cell: names the cell whatever its seed.
    """

    corpus: str
    inputs: tuple[Input, ...]
    chosen: Chosen
    seed: int
    slot: str
    key: str
    cell: str

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
