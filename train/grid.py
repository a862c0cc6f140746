"""The values a plan is made of: encoders, corpora, cells of the grid, and the plan itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from .architecture import Architecture
from .clips import Clips
from .config import SplitConfig, TrainConfig, Training
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
    dim: int
    has_std: bool
    frame_layers: tuple[int, ...]
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
