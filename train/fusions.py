"""The fusions: what turns the vectors of two or more encoders into class scores. Listing them imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..registry import Registry
from .architecture import Architecture, Rngs, Shape
from .heads import CnnOptions

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
