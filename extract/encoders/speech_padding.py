"""What makes wav2vec-type models independent of padding: three places where it would reach a clip's own frames.

Group norm over time (first convolution of the base models), positional convolutions that follow another operation, and
attention keys. Attention is masked by transformers itself once it is given the sample mask; the other two are here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .base import FrameRule


class Padding:
    """The lengths of the batch that is running, shared by the modules that need them; empty when nothing is padded."""

    def __init__(self, frame: FrameRule) -> None:
        self.frame = frame
        self.first_conv_frames: list[int] | None = None
        self.frame_mask: torch.Tensor | None = None

    @contextmanager
    def of(self, waves: torch.Tensor, n_samples: Sequence[int]) -> Iterator[torch.Tensor | None]:
        """Hold the lengths of one batch; gives the sample mask [clip, sample], or None where no clip is padded."""
        if all(n == waves.shape[1] for n in n_samples):
            yield None
            return
        kernel, stride = self.frame.kernels[0], self.frame.strides[0]
        self.first_conv_frames = [(n - kernel) // stride + 1 for n in n_samples]
        n_frames = [self.frame.n_frames(n) for n in n_samples]
        self.frame_mask = _mask(n_frames, self.frame.n_frames(waves.shape[1]), waves.device)
        try:
            yield _mask(n_samples, waves.shape[1], waves.device).long()
        finally:
            self.first_conv_frames = self.frame_mask = None


def _mask(lengths: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
    ends = torch.tensor(list(lengths), device=device)[:, None]
    return torch.arange(size, device=device)[None] < ends  # [clip, size]


class ValidGroupNorm(nn.Module):
    """Group norm with one group per channel, its statistics over each clip's own frames only."""

    def __init__(self, norm: nn.GroupNorm, padding: Padding) -> None:
        super().__init__()
        self.norm = norm
        self.padding = padding

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Normalise [clip, channel, frame]; frames past a clip's own come out as zeros or finite numbers."""
        lengths = self.padding.first_conv_frames
        if lengths is None:
            return self._whole(states)
        return self._one_by_one(states, lengths) if states.device.type == "cpu" else self._at_once(states, lengths)

    def _whole(self, states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(states)
        return out

    def _one_by_one(self, states: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        out = torch.zeros_like(states)
        for i, length in enumerate(lengths):
            out[i : i + 1, :, :length] = self.norm(states[i : i + 1, :, :length])
        return out

    def _at_once(self, states: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        padded = ~_mask(lengths, states.shape[-1], states.device)[:, None]  # [clip, 1, frame]
        count = torch.tensor(list(lengths), device=states.device)[:, None, None]
        mean = states.masked_fill(padded, 0).sum(-1, keepdim=True, dtype=torch.float32) / count
        centred = (states - mean).masked_fill(padded, 0)  # float32, [clip, channel, frame]
        scale = (centred.square().sum(-1, keepdim=True) / count + self.norm.eps).rsqrt()
        out = centred * (scale * self.norm.weight[:, None]) + self.norm.bias[:, None]
        return out.to(states.dtype)


def make_exact(model: nn.Module, padding: Padding) -> None:
    """Change a wav2vec-type model of transformers so that padding cannot reach a clip's own frames."""
    first: Any = model.get_submodule("feature_extractor.conv_layers.0")
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        if first.layer_norm.num_groups != first.layer_norm.num_channels:
            raise NotImplementedError("group norm with several channels a group: no such model is published")
        first.layer_norm = ValidGroupNorm(first.layer_norm, padding)
    positional: Any = model.get_submodule("encoder.pos_conv_embed")
    stacked = list(getattr(positional, "layers", []))
    before_conv = [positional.batch_norm] if getattr(positional, "batch_norm", None) is not None else []
    for module in (*stacked[:-1], *before_conv):
        module.register_forward_hook(lambda _module, _inputs, states: _rezero(states, padding))


def _rezero(states: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Zero [clip, channel, frame] past each clip's own frames, as a convolution of the clip alone would see it."""
    if padding.frame_mask is None:
        return states
    return states.masked_fill(~padding.frame_mask[:, None], 0)
