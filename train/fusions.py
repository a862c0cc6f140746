"""The fusions: what turns the vectors of two or more encoders into class scores. Listing them imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import AliasChoices, Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from ..errors import ConfigError
from ..registry import Registry
from .architecture import Architecture, Options, Rngs, Shape, candidates_of
from .config import ArchitectureConfig
from .config import Chosen as Head
from .heads import HEADS, CnnOptions, DenseOptions

if TYPE_CHECKING:
    from torch import nn

FUSIONS: Registry[Architecture] = Registry("fusion", group="voxcache.fusions")


class BranchOptions(CnnOptions):
    """A conv branch an encoder, each pooled to one size, then dense layers over all of them."""

    positions: PositiveInt = Field(
        default=40,
        description="pooled positions of all branches together; each branch keeps positions / encoders of them, so that "
        "the network has the paper's 1.3 to 1.5 M parameters for encoders of any dim (ours)",
    )


def _heads_divide_channels(options: Any) -> Any:
    if options.filters[1] % options.attention_heads:
        raise ValueError(f"expected attention_heads to divide the {options.filters[1]} channels of filters")
    return options


class RenoOptions(BranchOptions):
    """RENO. The paper's values of alpha, lambda and eps are lost in the text we have; these are ours."""

    alpha: PositiveFloat = Field(default=0.5, description="order of the Renyi divergence; 1 is Kullback-Leibler (ours)")
    weight: NonNegativeFloat = Field(
        default=0.1,
        validation_alias=AliasChoices("weight", "lambda"),
        description="lambda, the weight of the divergence in the loss; may be written lambda, too (ours)",
    )
    eps: PositiveFloat = Field(default=1e-8, description="added inside the logarithm (ours)")
    attention_heads: PositiveInt = 2
    _divides = model_validator(mode="after")(_heads_divide_channels)


class LateOptions(Options):
    """A head for each encoder; what they say is averaged or stacked."""

    head: Head = Field(
        default=ArchitectureConfig(name="fcn"), description="the head each encoder gets: a name, or a name with options"
    )
    how: Literal["average", "stacking"] = Field(
        default="average", description="mean of the outputs, or a logistic (for targets a ridge) regression over them"
    )
    c: PositiveFloat = Field(default=1.0, description="of the logistic regression of a stacking")
    alpha: PositiveFloat = Field(default=1.0, description="of the ridge regression of a stacking")

    @field_validator("head")
    @classmethod
    def _head_is_known(cls, head: ArchitectureConfig) -> ArchitectureConfig:
        try:
            candidates_of("head", head.name, HEADS.get(head.name).options, dict(head.options), dict(head.search))
        except ConfigError as error:
            raise ValueError("; ".join(error.problems)) from None
        return head


class GatedOptions(DenseOptions):
    """Gated units over one projection an encoder."""

    width: PositiveInt = Field(default=512, description="of each encoder's projection (ours)")


class CrossOptions(BranchOptions):
    """Conv branches that attend to each other."""

    attention_heads: PositiveInt = 2
    _divides = model_validator(mode="after")(_heads_divide_channels)


def _late(*_: object) -> nn.Module:
    raise NotImplementedError("a late fusion is no network of its own; `nested` fits its heads")


def _gated(shape: Shape, options: GatedOptions, rngs: Rngs) -> nn.Module:
    from .mixing_networks import Gated

    return Gated(shape, rngs, options)


def _cross_attention(shape: Shape, options: CrossOptions, rngs: Rngs) -> nn.Module:
    from .mixing_networks import CrossAttention

    return CrossAttention(shape, rngs, options)


def _concat(shape: Shape, options: BranchOptions, rngs: Rngs) -> nn.Module:
    from .fusion_networks import Concat

    return Concat(shape, rngs, options)


def _reno(shape: Shape, options: RenoOptions, rngs: Rngs) -> nn.Module:
    from .fusion_networks import Reno

    return Reno(shape, rngs, options)


FUSIONS.register(
    "concat",
    Architecture(
        summary="a conv branch an encoder, concatenated, dense 512, 128",
        source="Phukan et al., RENO, section IV-B",
        options=BranchOptions,
        engine="torch",
        build=_concat,
        n_encoders=(2, None),
        least_dim=4,
    ),
)
FUSIONS.register(
    "reno",
    Architecture(
        summary="conv branches aligned by a Renyi divergence, 2-head self-attention in each and over both, dense 512, 128",
        source="Phukan et al., RENO, section III-A",
        options=RenoOptions,
        engine="torch",
        build=_reno,
        n_encoders=(2, None),
        least_dim=4,
    ),
)
FUSIONS.register(
    "gated",
    Architecture(
        summary="a projection an encoder, weighed feature by feature by gates from all of them, dense 512, 128",
        source="Arevalo et al., Gated Multimodal Units, ICLR workshop 2017",
        options=GatedOptions,
        engine="torch",
        build=_gated,
        n_encoders=(2, None),
    ),
)
FUSIONS.register(
    "cross-attention",
    Architecture(
        summary="conv branches, each attending to the others with 2 heads, dense 512, 128",
        source="baseline, after Vaswani et al. 2017",
        options=CrossOptions,
        engine="torch",
        build=_cross_attention,
        n_encoders=(2, None),
        least_dim=4,
    ),
)
FUSIONS.register(
    "late",
    Architecture(
        summary="a head for each encoder, their outputs averaged or stacked (a regression fitted on inner folds)",
        source="baseline; stacking: Wolpert, Neural Networks 5, 1992",
        options=LateOptions,
        engine="late",
        build=_late,
        n_encoders=(2, None),
    ),
)
