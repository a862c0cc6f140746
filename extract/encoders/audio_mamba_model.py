"""The network of Audio-Mamba, with the parameter names of the authors' checkpoints."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .audio_mamba import BANDS, CONV_WIDTH, DEPTH, EXPAND, N_STATE, NORM_EPS, PATCH_FRAMES, PATCH_MELS, WINDOW_STEPS
from .selective_scan import Scan, selective_scan

IN_FLOAT32 = ("A_log", "D", "cls_token", "pos_embed")
"""Parameters kept in float32 at any precision: those of the scan, and of the residual stream."""


class AudioMamba(nn.Module):
    """Patches and positions, Mamba blocks on a float32 residual stream, final norm. Initialised as published."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim)
        self.cls_token = nn.Parameter(nn.init.normal_(torch.empty(1, 1, dim), std=0.02))
        self.pos_embed = nn.Parameter(positions(dim))
        self.blocks = nn.ModuleList(Block(dim) for _ in range(DEPTH))
        self.encoder_norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn standardised log-mel [window, frame, mel] into [window, 1 + token, dim] float32; the CLS token is first.

        Tokens lie time-major: token 5 k + band belongs to time step k.
        """
        patches = self.patch_embed(windows.to(self.patch_embed.proj.weight.dtype))
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches.float()], dim=1)
        return tokens + self.pos_embed

    def to_precision(self, dtype: torch.dtype) -> AudioMamba:
        """Bring all parameters but `IN_FLOAT32` to `dtype`, in place."""
        for name, parameter in self.named_parameters():
            if name.rpartition(".")[2] not in IN_FLOAT32:
                parameter.data = parameter.data.to(dtype)
        return self


class PatchEmbed(nn.Module):
    """One linear map for each patch of 4 frames x 16 mel bands."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        patch = (PATCH_FRAMES, PATCH_MELS)
        self.proj = nn.Conv2d(1, dim, kernel_size=patch, stride=patch)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Map [window, frame, mel] to [window, token, dim], time-major."""
        grid: torch.Tensor = self.proj(windows[:, None])  # [window, dim, step, band]
        return grid.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Norm, then Mamba; its output is for the residual stream."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mixer = Mixer(dim)

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """Map the stream [window, token, dim] float32 to what is added to it."""
        out: torch.Tensor = self.mixer(self.norm(residual.to(self.norm.weight.dtype)))
        return out


class Mixer(nn.Module):
    """Mamba (Gu & Dao 2023, figure 3): gate, short causal convolution, selective scan."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = EXPAND * dim
        self.rank = math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * self.inner, bias=False)
        self.conv1d = nn.Conv1d(self.inner, self.inner, CONV_WIDTH, groups=self.inner)
        self.x_proj = nn.Linear(self.inner, self.rank + 2 * N_STATE, bias=False)
        self.dt_proj = nn.Linear(self.rank, self.inner)
        self.A_log = nn.Parameter(torch.arange(1.0, N_STATE + 1).log().repeat(self.inner, 1))
        self.D = nn.Parameter(torch.ones(self.inner))
        self.out_proj = nn.Linear(self.inner, dim, bias=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Spread step sizes log-uniformly over 0.001 to 0.1 (inverse softplus); scale the output by depth."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        step = torch.empty(self.inner).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.dt_proj.bias.copy_(step + (-torch.expm1(-step)).log())
        self.out_proj.weight.div_(math.sqrt(DEPTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [window, token, dim] to the same shape."""
        xz = self.in_proj(x)
        u = F.silu(causal_conv(xz[..., : self.inner], self.conv1d.weight, self.conv1d.bias))
        low, B, C = self.x_proj(u).split([self.rank, N_STATE, N_STATE], dim=-1)  # noqa: N806
        dt = self.dt_proj(low).float()
        scan = Scan(u.float(), dt, -self.A_log.exp(), B.float(), C.float(), self.D, xz[..., self.inner :].float())
        out: torch.Tensor = self.out_proj(selective_scan(scan).to(x.dtype))
        return out


def causal_conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve each channel with its own past: out[t] = bias + sum over k of weight[k] x[t - width + 1 + k].

    As shifted multiply-adds, four times faster on a CPU than the library's depthwise convolution at these sizes.

    Args:
        x: [window, time, channel].
        weight: [channel, 1, width].
    """
    taps = weight[:, 0].T  # [tap, channel]
    out = x * taps[-1] if bias is None else torch.addcmul(bias, x, taps[-1])
    for shift in range(1, len(taps)):
        out[:, shift:].addcmul_(x[:, :-shift], taps[-1 - shift])
    return out


def positions(dim: int) -> torch.Tensor:
    """Return the fixed 2-D sin-cos positions, [1, 1 + token, dim]; zero for the CLS token.

    The first half of the features encodes the band, the second the time step; in each, sines then cosines (He et al.
    2022, MAE). A checkpoint brings its own.
    """
    step, band = torch.meshgrid(torch.arange(WINDOW_STEPS), torch.arange(BANDS), indexing="ij")
    frequency = 1.0 / 10_000 ** (torch.arange(dim // 4) / (dim / 4))
    angles = [axis.reshape(-1, 1) * frequency for axis in (band, step)]  # [token, dim / 4]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return F.pad(table, (0, 0, 1, 0))[None]
