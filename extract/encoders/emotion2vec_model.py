"""The network of emotion2vec (data2vec 2.0 for audio), with the parameter names of the authors' checkpoints.

Written for batches: padding is zeroed before every positional convolution, and each clip attends to its own frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .base import Emit
from .emotion2vec import FRAME, Shape


class Emotion2vec(nn.Module):
    """Convolutional front end, positions, then prenet and main blocks with ALiBi. Initialised as published."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.modality_encoders = nn.ModuleDict({"AUDIO": AudioEncoder(shape)})
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_main))
        self.apply(_as_in_bert)
        self.audio.project_features[2].reset_parameters()  # type: ignore[operator]

    @property
    def audio(self) -> AudioEncoder:
        """The encoder of the only modality there is."""
        audio = self.modality_encoders["AUDIO"]
        assert isinstance(audio, AudioEncoder)
        return audio

    def forward(self, waves: torch.Tensor, n_frames: Sequence[int], emit: Emit) -> None:
        """Emit the input to the first block and the output of every block, without the extra tokens.

        Args:
            waves: [clip, sample], each clip normalised over its own samples and zero after them.
            n_frames: each clip's own frames.
        """
        x, bias = self.audio(waves, n_frames)
        n_extra = self.audio.extra_tokens.shape[1]
        n_tokens = [n_extra + n for n in n_frames]
        emit(0, x[:, n_extra:])
        for layer, block in enumerate([*self.audio.context_encoder.blocks, *self.blocks], start=1):
            x = block(x, bias, n_tokens)
            emit(layer, x[:, n_extra:])


def _as_in_bert(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class AudioEncoder(nn.Module):
    """From waveforms to the tokens of the first block, and the ALiBi that all blocks share."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.local_encoder = LocalEncoder(shape.n_channels)
        norm = nn.LayerNorm(shape.n_channels)
        self.project_features = nn.Sequential(Swap(), norm, nn.Linear(shape.n_channels, shape.dim))
        self.relative_positional_encoder = nn.Sequential(
            Swap(), *(_positional(shape) for _ in range(shape.n_positional))
        )
        self.extra_tokens = nn.Parameter(torch.randn(1, shape.n_extra, shape.dim))
        nn.init.zeros_(self.extra_tokens[:, 0].detach())
        self.alibi_scale = nn.Parameter(torch.ones(1, 1, shape.n_heads, 1, 1))
        self.context_encoder = Prenet(shape)

    def forward(self, waves: torch.Tensor, n_frames: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens [clip, extra + frame, dim] and the bias [head, token, token] float32 of attention scores."""
        features = self.project_features(self.local_encoder(waves))  # [clip, frame, dim]
        padded = _past(n_frames, features)
        x = features + self._positions(features, padded)
        x = torch.cat([self.extra_tokens.expand(len(x), -1, -1), x], dim=1)
        return self.context_encoder.norm(x), self._alibi(features.shape[1])

    def _positions(self, features: torch.Tensor, padded: torch.Tensor | None) -> torch.Tensor:
        first, *convolutions = self.relative_positional_encoder
        x: torch.Tensor = first(features)  # [clip, dim, frame]
        for convolution in convolutions:
            x = convolution(x if padded is None else x.masked_fill(padded[:, None], 0))
        return x.transpose(1, 2)

    def _alibi(self, n_frames: int) -> torch.Tensor:
        """Return -slope x distance for frames, times the learned scale of each head; zero for the extra tokens."""
        scale = self.alibi_scale.float().clamp_min(0).reshape(-1, 1, 1)
        at = torch.arange(n_frames, device=scale.device)
        bias = slopes(len(scale)).to(scale.device)[:, None, None] * -(at[None] - at[:, None]).abs() * scale
        n_extra = self.extra_tokens.shape[1]
        return F.pad(bias, (n_extra, 0, n_extra, 0))


class LocalEncoder(nn.Module):
    """Seven convolutions without padding, each with layer norm over channels and GELU."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            nn.Sequential(
                _kaiming(nn.Conv1d(n_channels if i else 1, n_channels, kernel, stride=stride, bias=False)),
                nn.Identity(),
                nn.Sequential(Swap(), nn.LayerNorm(n_channels), Swap()),
                nn.GELU(),
            )
            for i, (kernel, stride) in enumerate(zip(FRAME.kernels, FRAME.strides, strict=True))
        )

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Map [clip, sample] to [clip, channel, frame]."""
        x = waves[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x


def _kaiming(convolution: nn.Conv1d) -> nn.Conv1d:
    nn.init.kaiming_normal_(convolution.weight)
    return convolution


def _positional(shape: Shape) -> nn.Sequential:
    kernel = shape.positional_kernel
    return nn.Sequential(
        nn.Conv1d(shape.dim, shape.dim, kernel, padding=kernel // 2, groups=shape.positional_groups),
        Swap(),
        nn.LayerNorm(shape.dim, elementwise_affine=False),
        Swap(),
        nn.GELU(),
    )


class Prenet(nn.Module):
    """Holds the norm before the first block and the audio encoder's own blocks."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_prenet))
        self.norm = nn.LayerNorm(shape.dim)


class Block(nn.Module):
    """Transformer block with the norms after the residuals."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attn = Attention(shape)
        self.norm1 = nn.LayerNorm(shape.dim)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(shape.dim, 4 * shape.dim), "fc2": nn.Linear(4 * shape.dim, shape.dim)}
        )
        self.norm2 = nn.LayerNorm(shape.dim)

    def forward(self, x: torch.Tensor, bias: torch.Tensor, n_tokens: Sequence[int]) -> torch.Tensor:
        """Map [clip, token, dim] to the same shape."""
        x = self.norm1(x + self.attn(x, bias, n_tokens))
        out: torch.Tensor = self.norm2(x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](x))))
        return out


class Attention(nn.Module):
    """Self-attention of each clip over its own tokens."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim)
        self.proj = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: torch.Tensor, bias: torch.Tensor, n_tokens: Sequence[int]) -> torch.Tensor:
        """Map [clip, token, dim] to the same shape; past a clip's own tokens what comes out is undefined.

        Clips of different lengths attend one after the other: a mask for each would cost more than it saves.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # [clip, head, token, _]
        bias = bias.to(q.dtype)
        if all(n == x.shape[1] for n in n_tokens):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            out = torch.zeros_like(q)
            for i, n in enumerate(n_tokens):
                own = (slice(i, i + 1), slice(None), slice(n))
                out[own] = F.scaled_dot_product_attention(q[own], k[own], v[own], attn_mask=bias[:, :n, :n])
        projected: torch.Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected


class Swap(nn.Module):
    """Swaps the last two dimensions; keeps its place in the checkpoint's numbering."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [clip, a, b] to [clip, b, a]."""
        return x.transpose(1, 2)


def slopes(n_heads: int) -> torch.Tensor:
    """Return ALiBi's slope of each head, [head] (Press et al. 2022): 2^(-8 k / n) for n heads, n a power of 2.

    For another number: those of the next lower power, then every second one of the next higher.
    """
    lower = 2 ** math.floor(math.log2(n_heads))
    of_lower = [2 ** (-8 * k / lower) for k in range(1, lower + 1)]
    of_higher = [2 ** (-4 * k / lower) for k in range(1, 2 * lower + 1, 2)]
    return torch.tensor((of_lower + of_higher)[:n_heads])


def _past(n_frames: Sequence[int], features: torch.Tensor) -> torch.Tensor | None:
    """Return [clip, frame], true past each clip's own frames; None where nothing is padded."""
    if all(n == features.shape[1] for n in n_frames):
        return None
    ends = torch.tensor(list(n_frames), device=features.device)[:, None]
    return torch.arange(features.shape[1], device=features.device)[None] >= ends
