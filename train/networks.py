"""The networks of the heads, and what stands before every network: layer weights and the scaler.

Every body maps ([model, row, feature], ...) and noise to `Output`; see `layers` for what the model axis means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .architecture import Rngs, Shape
from .frames import Padded
from .layers import ConvFeatures, Dense, Noise


@dataclass(frozen=True)
class Output:
    """What a network says: `logits` [model, row, class], and a loss of its own, [model, row], to be added, if any."""

    logits: Tensor
    extra_loss: Tensor | None = None


class Fcn(nn.Module):
    """Dense layers over one vector (RENO, section III: 512, 128, output)."""

    def __init__(self, shape: Shape, rngs: Rngs, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.dense = Dense(rngs, shape.dims[0], shape.n_outputs, hidden=hidden, dropout=dropout)

    def forward(self, xs: Sequence[Tensor], noise: Noise | None) -> Output:
        """Return logits."""
        return Output(self.dense(xs[0], noise))


class Cnn(nn.Module):
    """Convolutions over the vector as a 1-D signal, flattened, then dense layers (RENO, section III).

    Its 6.4 M parameters at 768 features follow from the paper's layer sizes; the paper states 0.9 to 1.1 M.
    """

    def __init__(
        self, shape: Shape, rngs: Rngs, *, filters: tuple[int, int], hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        (dim,) = shape.dims
        check_width("cnn", dim)
        self.features = ConvFeatures(rngs, filters)
        self.dense = Dense(rngs, dim // 4 * filters[1], shape.n_outputs, hidden=hidden, dropout=dropout)

    def forward(self, xs: Sequence[Tensor], noise: Noise | None) -> Output:
        """Return logits."""
        return Output(self.dense(self.features(xs[0]).flatten(2), noise))


def check_width(name: str, dim: int) -> None:
    """Raise `ConfigError` where nothing would be left of a vector after two poolings."""
    if dim < 4:
        raise ConfigError(f"{name}: expected vectors of at least 4 features, got {dim}. Use another head.")


class Network(nn.Module):
    """The scaler of each model's own training clips, learned layer weights where asked for, then the body.

    Takes, for each encoder, [model, row, feature], or [model, row, layer, feature] for weighted layers, or `Padded` frames.

    Args:
        stats: mean and standard deviation an encoder, each [model, 1, ...] in the shape of that encoder's input.
    """

    def __init__(self, body: nn.Module, stats: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.body = body
        for index, (mean, std) in enumerate(stats):
            self.register_buffer(f"mean_{index}", mean)
            self.register_buffer(f"scale_{index}", 1 / std)
        self.mixes = nn.ParameterDict(
            {
                str(index): nn.Parameter(torch.zeros(mean.shape[0], mean.shape[2]))
                for index, (mean, _) in enumerate(stats)
                if mean.ndim == 4
            }
        )

    def forward(self, xs: Sequence[Tensor | Padded], noise: Noise | None = None) -> Output:
        """Return what the body says of the scaled inputs."""
        out: Output = self.body([self._prepare(index, x) for index, x in enumerate(xs)], noise)
        return out

    def layer_weights(self, index: int) -> Tensor | None:
        """Return the weights of an encoder's layers, [model, layer], summing to 1; None where one layer is used."""
        return torch.softmax(self.mixes[str(index)], dim=-1) if str(index) in self.mixes else None

    def _prepare(self, index: int, x: Tensor | Padded) -> Tensor | Padded:
        if isinstance(x, Padded):
            mean, scale = (getattr(self, f"{name}_{index}").unsqueeze(1) for name in ("mean", "scale"))
            return Padded((x.values - mean) * scale * x.valid.unsqueeze(-1), x.length)
        x = (x - getattr(self, f"mean_{index}")) * getattr(self, f"scale_{index}")
        weights = self.layer_weights(index)
        return x if weights is None else torch.einsum("mrlf,ml->mrf", x, weights)


def n_parameters(network: nn.Module) -> int:
    """Return the parameters of one model of the stack."""
    return sum(parameter[0].numel() for parameter in network.parameters())
