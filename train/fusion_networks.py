"""The networks of the fusions, over stacks of models; see `layers`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Rngs, Shape
from .fusions import BranchOptions, RenoOptions
from .layers import ConvFeatures, Dense, Noise, SelfAttention
from .networks import Output, check_width


class Branches(nn.Module):
    """A conv branch an encoder, each pooled to the same number of positions, which are its tokens."""

    def __init__(self, shape: Shape, rngs: Rngs, options: BranchOptions) -> None:
        super().__init__()
        for dim in shape.dims:
            check_width("fusion", dim)
        self.n_tokens = max(1, options.positions // len(shape.dims))
        self.branches = nn.ModuleList(ConvFeatures(rngs, options.filters, n_tokens=self.n_tokens) for _ in shape.dims)

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return [model, row, token, channel] for each [model, row, feature]."""
        return [branch(x) for branch, x in zip(self.branches, xs, strict=True)]


class Concat(nn.Module):
    """RENO without its attention and its divergence: the paper's baseline (section IV-B)."""

    def __init__(self, shape: Shape, rngs: Rngs, options: BranchOptions) -> None:
        super().__init__()
        self.branches = Branches(shape, rngs, options)
        width = len(shape.dims) * self.branches.n_tokens * options.filters[1]
        self.dense = Dense(rngs, width, shape.n_outputs, hidden=options.hidden, dropout=options.dropout)

    def forward(self, xs: Sequence[Tensor], noise: Noise | None) -> Output:
        """Return logits, and while training the loss of its own where it has one."""
        joint = torch.cat(self.branches(xs), dim=2).flatten(2)  # [model, row, encoder x token x channel]
        return Output(self.dense(joint, noise))


class Reno(nn.Module):
    """RENO (Phukan et al., section III-A): aligned and self-attended conv branches, fused by self-attention.

    The paper attends over flattened features without saying what a token is; over one flattened vector softmax attention
    would do nothing. Here the flattened vector is cut into its positions along the embedding: a token is one pooled position
    with its 64 channels, `positions / encoders` of them an encoder, and all encoders' tokens together in the last block. Each
    block has a residual (ours). Between each two branches, in the order given, stands the Renyi divergence of their
    softmaxed flattened features; with more than two encoders its mean over the pairs.
    """

    def __init__(self, shape: Shape, rngs: Rngs, options: RenoOptions) -> None:
        super().__init__()
        channels = options.filters[1]
        self.options = options
        self.branches = Branches(shape, rngs, options)
        self.within = nn.ModuleList(SelfAttention(rngs, channels, heads=options.attention_heads) for _ in shape.dims)
        self.across = SelfAttention(rngs, channels, heads=options.attention_heads)
        width = len(shape.dims) * self.branches.n_tokens * channels
        self.dense = Dense(rngs, width, shape.n_outputs, hidden=options.hidden, dropout=options.dropout)

    def forward(self, xs: Sequence[Tensor], noise: Noise | None) -> Output:
        """Return logits, and while training the loss of its own where it has one."""
        tokens = [x + attend(x) for attend, x in zip(self.within, self.branches(xs), strict=True)]
        fused = torch.cat(tokens, dim=2)
        joint = (fused + self.across(fused)).flatten(2)
        loss = self._divergence([x.flatten(2) for x in tokens]) if noise is not None else None
        return Output(self.dense(joint, noise), loss)

    def _divergence(self, features: Sequence[Tensor]) -> Tensor:
        pairs = list(itertools.combinations([F.log_softmax(x, dim=-1) for x in features], 2))
        total = sum(renyi_divergence(p, q, alpha=self.options.alpha, eps=self.options.eps) for p, q in pairs)
        return self.options.weight / len(pairs) * torch.as_tensor(total)


def renyi_divergence(log_p: Tensor, log_q: Tensor, *, alpha: float, eps: float) -> Tensor:
    """Return RD_a(P, Q) = 1 / (a - 1) log(sum_i p_i^a q_i^(1 - a) + eps), computed from log-probabilities.

    RENO, equation 2; van Erven and Harremos, IEEE Trans. Inf. Theory 60(7), 2014. At alpha = 1 its limit, KL(P, Q).

    Args:
        log_p, log_q: [..., feature], normalised.

    Returns:
        [...], not negative up to eps.
    """
    if abs(alpha - 1) < 1e-6:
        return (log_p.exp() * (log_p - log_q)).sum(-1)
    log_sum = torch.logsumexp(alpha * log_p + (1 - alpha) * log_q, dim=-1)
    return torch.logaddexp(log_sum, torch.full_like(log_sum, math.log(eps))) / (alpha - 1)
