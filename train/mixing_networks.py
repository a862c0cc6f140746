"""Fusions to compare with: gated units and cross-attention, over stacks of models; see `layers`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Rngs, Shape
from .fusion_networks import Branches
from .fusions import CrossOptions, GatedOptions
from .layers import Dense, Linear, Noise
from .networks import Output


class Gated(nn.Module):
    """Gated multimodal units (Arevalo et al., ICLR workshop 2017): what each encoder adds is weighed, feature by feature.

    Each vector becomes tanh of a dense layer; gates from all vectors together, softmaxed over the encoders (with two
    encoders the paper's sigmoid), weigh them into one vector.
    """

    def __init__(self, shape: Shape, rngs: Rngs, options: GatedOptions) -> None:
        super().__init__()
        self.project = nn.ModuleList(Linear(rngs, dim, options.width) for dim in shape.dims)
        self.gate = Linear(rngs, sum(shape.dims), len(shape.dims) * options.width)
        self.dense = Dense(rngs, options.width, shape.n_outputs, hidden=options.hidden, dropout=options.dropout)

    def forward(self, xs: Sequence[Tensor], noise: Noise | None) -> Output:
        """Return the output layer's values."""
        said = torch.stack([torch.tanh(layer(x)) for layer, x in zip(self.project, xs, strict=True)], dim=2)
        gates = self.gate(torch.cat(list(xs), dim=-1)).view(said.shape).softmax(dim=2)  # [model, row, encoder, feature]
        return Output(self.dense((gates * said).sum(2), noise))


class CrossAttention(nn.Module):
    """Conv branches as in `reno`; each encoder's tokens attend to those of all others, with a residual; dense layers."""

    def __init__(self, shape: Shape, rngs: Rngs, options: CrossOptions) -> None:
        super().__init__()
        channels = options.filters[1]
        self.branches = Branches(shape, rngs, options)
        self.attend = nn.ModuleList(Attention(rngs, channels, heads=options.attention_heads) for _ in shape.dims)
        width = len(shape.dims) * self.branches.n_tokens * channels
        self.dense = Dense(rngs, width, shape.n_outputs, hidden=options.hidden, dropout=options.dropout)

    def forward(self, xs: Sequence[Tensor], noise: Noise | None) -> Output:
        """Return the output layer's values."""
        tokens = self.branches(xs)
        mixed = [
            attend(own, torch.cat([*tokens[:index], *tokens[index + 1 :]], dim=2))
            for index, (attend, own) in enumerate(zip(self.attend, tokens, strict=True))
        ]
        return Output(self.dense(torch.cat(mixed, dim=2).flatten(2), noise))


class Attention(nn.Module):
    """Multi-head attention of one set of tokens to another (Vaswani et al. 2017, section 3.2), plus the first."""

    def __init__(self, rngs: Rngs, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = Linear(rngs, dim, dim), Linear(rngs, dim, 2 * dim)
        self.out = Linear(rngs, dim, dim)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return x [model, row, token, dim] plus what `other` [model, row, token, dim] says to it."""
        n_models, n_rows, n_tokens, dim = x.shape
        key_value = self.key_value(other.reshape(n_models, -1, dim))
        key, value = (self._heads(part, other.shape) for part in key_value.chunk(2, dim=-1))
        flat = x.reshape(n_models, n_rows * n_tokens, dim)
        mixed = F.scaled_dot_product_attention(self._heads(self.query(flat), x.shape), key, value)
        out: Tensor = flat + self.out(mixed.transpose(1, 2).reshape(n_models, n_rows * n_tokens, dim))
        return out.view(x.shape)

    def _heads(self, flat: Tensor, shape: torch.Size) -> Tensor:
        """Return [model x row, head, token, dim / head]."""
        n_models, n_rows, n_tokens, dim = shape
        return flat.reshape(n_models * n_rows, n_tokens, self.heads, dim // self.heads).transpose(1, 2)
