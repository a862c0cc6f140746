"""The networks of the heads that read frames, over stacks of models; see `layers`.

Whatever stands past a clip's end is zeroed or masked before it can reach the clip, so that a clip's prediction is the
same alone and in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Rngs, Shape
from .frames import Padded, mean_over, valid_frames
from .layers import Dense, Linear, Noise, SelfAttention, uniform
from .networks import Output


class HalvingConv(nn.Module):
    """A convolution of width 3 and stride 2 a model: [model, row, frame, in] -> [model, row, ceil(frame / 2), out]."""

    def __init__(self, rngs: Rngs, n_in: int, n_out: int) -> None:
        super().__init__()
        self.dense = Linear(rngs, 3 * n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved frames; those past a clip's end must be 0, as the padding of the signal is."""
        n_models, n_rows, n_frames, _ = x.shape
        half = -(-n_frames // 2)
        padded = F.pad(x, (0, 0, 1, 2 * half - n_frames))
        around = torch.cat([padded[:, :, k : k + 2 * half - 1 : 2] for k in range(3)], dim=-1)
        out: Tensor = self.dense(around.reshape(n_models, n_rows * half, -1))
        return out.view(n_models, n_rows, half, -1)


class Lstm(nn.Module):
    """One LSTM layer a model, forward in time: [model, row, frame, in] -> [model, row, frame, hidden].

    It looks back only, so frames past a clip's end change nothing within it.
    """

    def __init__(self, rngs: Rngs, n_in: int, hidden: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden)
        self.hidden = hidden
        self.input_weight = uniform(rngs, (4 * hidden, n_in), bound)
        self.hidden_weight = uniform(rngs, (4 * hidden, hidden), bound)
        self.input_bias = uniform(rngs, (4 * hidden,), bound)
        self.hidden_bias = uniform(rngs, (4 * hidden,), bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden state of every frame."""
        weights = (self.input_weight, self.hidden_weight, self.input_bias, self.hidden_bias)
        start = x.new_zeros(1, x.shape[1], self.hidden)
        out = [
            torch.lstm(
                clips,
                (start, start),
                [weight[model] for weight in weights],
                has_biases=True,
                num_layers=1,
                dropout=0.0,
                train=False,
                bidirectional=False,
                batch_first=True,
            )[0]
            for model, clips in enumerate(x.unbind(0))
        ]
        return torch.stack(out)


class CnnLstm(nn.Module):
    """EmotionShare's regressors (Mohapatra et al., ACM MM 2023, section 2.4): architecture 1, and with attention 2.

    A convolution that halves the length, two LSTM layers, then their mean over a clip's own steps (1), or scaled
    dot-product attention over them whose query comes from the last hidden state of both layers (2); dense layers.
    """

    def __init__(
        self,
        shape: Shape,
        rngs: Rngs,
        *,
        channels: int,
        lstm: int,
        hidden: Sequence[int],
        dropout: float,
        attention: bool,
    ) -> None:
        super().__init__()
        self.conv = HalvingConv(rngs, shape.dims[0], channels)
        self.first = Lstm(rngs, channels, lstm)
        self.second = Lstm(rngs, lstm, lstm)
        self.query = uniform(rngs, (2 * lstm, lstm), 1 / math.sqrt(2 * lstm)) if attention else None
        self.dense = Dense(rngs, lstm, shape.n_outputs, hidden=hidden, dropout=dropout)

    def forward(self, xs: Sequence[Padded], noise: Noise | None) -> Output:
        """Return what the dense layers say of each clip."""
        length = (xs[0].length + 1) // 2
        first = self.first(F.relu(self.conv(xs[0].values)))
        second = self.second(first)
        if self.query is None:
            return Output(self.dense(mean_over(second, length), noise))
        last = torch.cat([_last(first, length), _last(second, length)], dim=-1)  # [model, row, 2 x hidden]
        return Output(self.dense(attend(torch.bmm(last, self.query), second, length), noise))


def attend(query: Tensor, steps: Tensor, length: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(width)) V over each clip's own steps, keys and values being the steps.

    The paper's equation 2b prints the width without its root; its words and its source (Vaswani et al. 2017) have it.

    Args:
        query: [model, row, width]; steps: [model, row, step, width].
    """
    fit = torch.einsum("mrw,mrsw->mrs", query, steps) / math.sqrt(query.shape[-1])
    fit = fit.masked_fill(~valid_frames(length, steps.shape[2]), -math.inf)
    return torch.einsum("mrs,mrsw->mrw", fit.softmax(-1), steps)


def _last(steps: Tensor, length: Tensor) -> Tensor:
    """Return each clip's last own step, [model, row, width]."""
    index = (length - 1)[..., None, None].expand(-1, -1, 1, steps.shape[-1])
    return steps.gather(2, index).squeeze(2)


class LayerNorm(nn.Module):
    """Layer normalisation a model over the last axis of [model, row, frame, feature]."""

    def __init__(self, rngs: Rngs, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(len(rngs), 1, 1, dim))
        self.bias = nn.Parameter(torch.zeros(len(rngs), 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised, scaled and shifted."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class Block(nn.Module):
    """A pre-norm encoder block: masked multi-head self-attention, then two dense layers of four times the width."""

    def __init__(self, rngs: Rngs, dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.before_attention, self.before_dense = LayerNorm(rngs, dim), LayerNorm(rngs, dim)
        self.attend = SelfAttention(rngs, dim, heads=heads)
        self.widen, self.narrow = Linear(rngs, dim, 4 * dim), Linear(rngs, 4 * dim, dim)

    def forward(self, x: Tensor, valid: Tensor, noise: Noise | None) -> Tensor:
        """Return [model, row, frame, dim]. `valid` bool [model, row, frame] are the frames that may be looked at."""
        x = x + self.attend(self.before_attention(x), valid)
        dense = F.relu(_each(self.widen, self.before_dense(x)))
        if noise is not None:
            # one mask for all frames of a clip: one a frame would depend on how far the batch is padded
            dense = dense * noise.drop(dense.new_ones(dense[:, :, 0].shape), self.dropout).unsqueeze(2)
        return x + _each(self.narrow, dense)


class Transformer(nn.Module):
    """Frames projected, sinusoidal positions, encoder blocks, mean over a clip's own frames, dense output."""

    def __init__(
        self, shape: Shape, rngs: Rngs, *, dim: int, blocks: int, heads: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.project = Linear(rngs, shape.dims[0], dim)
        self.blocks = nn.ModuleList(Block(rngs, dim, heads=heads, dropout=dropout) for _ in range(blocks))
        self.norm = LayerNorm(rngs, dim)
        self.dense = Dense(rngs, dim, shape.n_outputs, hidden=hidden, dropout=dropout)

    def forward(self, xs: Sequence[Padded], noise: Noise | None) -> Output:
        """Return what the dense layers say of each clip."""
        x = _each(self.project, xs[0].values)
        x = x + positions(x.shape[2], x.shape[3]).to(x)
        for block in self.blocks:
            x = block(x, xs[0].valid, noise)
        return Output(self.dense(mean_over(self.norm(x), xs[0].length), noise))


def positions(n_frames: int, dim: int) -> Tensor:
    """Return sinusoidal positions [frame, dim] (Vaswani et al. 2017, section 3.5), sines first; dim is even."""
    rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angle = torch.arange(n_frames).unsqueeze(1) * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _each(layer: Linear, x: Tensor) -> Tensor:
    """Return a dense layer of every frame of [model, row, frame, in]."""
    n_models, n_rows, n_frames, width = x.shape
    out: Tensor = layer(x.reshape(n_models, n_rows * n_frames, width))
    return out.view(n_models, n_rows, n_frames, -1)
