"""The fusions: what turns the vectors of two or more encoders into class scores. Listing them imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..registry import Registry
from .architecture import Architecture, Rngs, Shape
from .heads import CnnOptions, DenseOptions

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


class RenoOptions(BranchOptions):
    """RENO. The paper's values of alpha, lambda and eps are lost in the text we have; these are ours."""

    alpha: PositiveFloat = Field(default=0.5, description="order of the Renyi divergence; 1 is Kullback-Leibler (ours)")
    weight: NonNegativeFloat = Field(default=0.1, description="lambda, the weight of the divergence in the loss (ours)")
    eps: PositiveFloat = Field(default=1e-8, description="added inside the logarithm (ours)")
    attention_heads: PositiveInt = 2


class GatedOptions(DenseOptions):
    """Gated units over one projection an encoder."""

    width: PositiveInt = Field(default=512, description="of each encoder's projection (ours)")


class CrossOptions(BranchOptions):
    """Conv branches that attend to each other."""

    attention_heads: PositiveInt = 2


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
    ),
)
