"""The `train:` section of pipeline.yaml: one frozen model a section; every default stands here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

Layer = Literal["last", "all", "weighted", "best"] | int
Statistics = Literal["mean", "mean+std"]
Names = Literal["all"] | tuple[str, ...]


class Section(BaseModel):
    """A section of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(Section):
    """How clips are divided into folds."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: Literal["kfold", "predefined", "logo"] = Field(
        default="kfold", description="stratified k-fold; the corpus' own split column; leave one group out"
    )
    folds: int = Field(default=5, ge=2, description="number of folds of a k-fold")
    group: str = Field(
        default="auto",
        description="column whose values never stand in two folds; auto: where there is one; none: ignore groups",
    )
    tested: Literal["test", "dev"] = Field(
        default="test", description="the part of a predefined train/dev/test split that is tested"
    )
    source: str | None = Field(
        default=None,
        alias="from",
        description="CSV file with the columns clip and fold (and corpus), as `voxcache folds --out` writes it",
    )
    seed: NonNegativeInt = Field(
        default=0, description="decides which clip goes to which fold; the same for every experiment"
    )

    @field_validator("group", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        return "none" if value is None or value is False else value


class InputsConfig(Section):
    """What of an encoder's embeddings a head is given."""

    layer: Layer = Field(
        default="last",
        description="last, a layer number, all (each in turn), weighted (learned weights) or best (chosen on inner folds)",
    )
    statistics: Statistics = Field(default="mean", description="over a clip's frames")


class ArchitectureConfig(BaseModel):
    """A head or fusion by name, and whatever options differ from its defaults."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    search: Mapping[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="options with lists of candidates; chosen in every fold on inner folds"
    )

    @field_validator("search")
    @classmethod
    def _something_to_choose(cls, search: Mapping[str, tuple[Any, ...]]) -> Mapping[str, tuple[Any, ...]]:
        if any(not values for values in search.values()):
            raise ValueError("expected one candidate or more of each option")
        return search

    @property
    def label(self) -> str:
        """What tables call it: its name and what was stated of it."""
        stated = [f"{key}={_plain(value)}" for key, value in self.options.items()]
        searched = [f"{key}={'|'.join(_plain(value) for value in values)}" for key, values in self.search.items()]
        return f"{self.name} ({', '.join([*stated, *searched])})" if stated or searched else self.name

    @property
    def options(self) -> Mapping[str, Any]:
        """The options as written; checked against the architecture when the grid is planned."""
        return self.model_extra or {}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        return ArchitectureConfig.model_validate(value).label
    return str(value).replace(" ", "")


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Chosen = Annotated[ArchitectureConfig, BeforeValidator(_by_name)]


class FusionConfig(Section):
    """Which encoders are fused, and how."""

    methods: tuple[Chosen, ...] = Field(
        default=(ArchitectureConfig(name="concat"), ArchitectureConfig(name="reno")), description="fusions by name"
    )
    pairs: Literal["all"] | tuple[tuple[str, ...], ...] = Field(
        default="all", description="all pairs of encoders, or lists of two or more encoders"
    )


class Training(Section):
    """How a network is trained. The defaults are the paper's (RENO, section IV-A) except where marked ours."""

    epochs: PositiveInt = 20
    batch: PositiveInt = 32
    lr: PositiveFloat = 1e-3
    patience: PositiveInt = Field(default=5, description="epochs without a better inner loss before stopping (ours)")
    warmup_steps: NonNegativeInt = Field(default=0, description="steps over which the learning rate rises to lr")
    decay: Literal["none", "linear"] = Field(
        default="none", description="of the learning rate after the warm-up, to 0 at the end"
    )
    weight_decay: NonNegativeFloat = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    inner: float = Field(
        default=0.2,
        gt=0,
        description="share of the training clips that early stopping watches, up to 0.5: one of round(1 / inner) even parts (ours)",
    )

    @field_validator("inner")
    @classmethod
    def _at_most_half(cls, inner: float) -> float:
        if inner > 0.5:
            raise ValueError("expected at most 0.5: one of round(1 / inner) even parts is set aside, two parts or more")
        return inner


PRESETS: dict[str, Training] = {
    "reno": Training(),
    "voc2vec": Training(epochs=50, batch=16, lr=1e-4, warmup_steps=500, decay="linear"),
    "emotion-share": Training(epochs=50, batch=128, lr=1e-4),
}
PRESET_SPLITS: dict[str, dict[str, Any]] = {
    "reno": {"folds": 5},
    "voc2vec": {"folds": 10},
    "emotion-share": {"kind": "predefined"},
}
"""What each preset says of the split, unless `split:` states it."""


class TrainConfig(Section):
    """The whole section. `train: {}` runs the heads of RENO on every corpus and encoder of the store."""

    corpora: Names = Field(default="all", description="corpora of the store")
    encoders: Names = Field(default="all", description="encoders of the store")
    clips: Path | None = Field(
        default=None,
        description="file of the clip ids to use, one a row, in place of those that the store knows as listed",
    )
    target: str | tuple[str, ...] = Field(
        default="label", description="the column to predict: classes, or numbers; or several columns of numbers"
    )
    joint: bool = Field(
        default=False, description="one network for all columns of numbers, instead of one network a column"
    )
    split: SplitConfig = SplitConfig()
    inputs: InputsConfig = InputsConfig()
    heads: tuple[Chosen, ...] = (ArchitectureConfig(name="fcn"), ArchitectureConfig(name="cnn"))
    fusion: FusionConfig | None = None
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0, 1, 2), min_length=1)
    inner_folds: int = Field(
        default=3,
        ge=2,
        description="folds of the training clips on which searches choose and stackings are fitted (ours)",
    )
    preset: Literal["reno", "voc2vec", "emotion-share"] = "reno"
    training: Training = Field(default=Training(), description="what differs from the preset")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:N or mps"
    )
    published: str | None = Field(
        default=None,
        description="a recipe (reno, voc2vec, emotion-share) or CSV file whose figures the report prints beside ours",
    )

    shown: tuple[tuple[str, ...], ...] = Field(
        default=(),
        description="systems whose confusion matrix and learned map the report shows beside those of the best: lists of "
        "encoders and a head or fusion, such as [wavlm-base, cnn]",
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("expected seeds that differ from each other")
        return seeds

    @field_validator("shown")
    @classmethod
    def _encoders_then_a_head(cls, shown: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if any(len(system) < 2 for system in shown):
            raise ValueError("expected lists of one encoder or more and a head or fusion, such as [wavlm-base, cnn]")
        return shown

    @field_validator("target")
    @classmethod
    def _targets_differ(cls, target: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not isinstance(target, str) and (not target or len(set(target)) != len(target)):
            raise ValueError("expected one column or more, each named once")
        return target

    @property
    def target_names(self) -> tuple[str, ...]:
        """The columns to predict."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def resolved_split(self) -> SplitConfig:
        """The preset's split with what `split:` states laid over it."""
        stated = {name: getattr(self.split, name) for name in self.split.model_fields_set}
        return self.split.model_copy(update={**PRESET_SPLITS[self.preset], **stated})

    @property
    def resolved_training(self) -> Training:
        """The preset with what `training:` states laid over it."""
        stated = {name: getattr(self.training, name) for name in self.training.model_fields_set}
        return PRESETS[self.preset].model_copy(update=stated)

    def training_of(self, own: Mapping[str, Any]) -> Training:
        """Return how an architecture trains that says `own` of it: laid over the preset, below what `training:` states."""
        stated = self.training.model_fields_set
        return self.resolved_training.model_copy(update={name: v for name, v in own.items() if name not in stated})
