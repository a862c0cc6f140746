"""Frames of clips of different lengths: kept end to end or in the store, padded a batch at a time, lengths beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .frame_source import FrameSource

_READ_CLIPS = 64


@dataclass(frozen=True)
class Padded:
    """A batch: `values` float32 [model, row, frame, feature], 0 past each clip's end, `length` int64 [model, row]."""

    values: Tensor
    length: Tensor

    @property
    def valid(self) -> Tensor:
        """Which frames are a clip's own, bool [model, row, frame]."""
        return valid_frames(self.length, self.values.shape[2])


@dataclass(frozen=True)
class Ragged:
    """Frames of all clips end to end, [frame, feature] as stored, and where each clip's lie, int64 [clip] each."""

    values: Tensor
    start: Tensor
    length: Tensor

    @staticmethod
    def of(clips: Sequence[np.ndarray], device: str) -> Ragged:
        """Return the frames of clips, [frame, feature] each."""
        length = np.array([len(clip) for clip in clips], dtype=np.int64)
        start = np.concatenate([[0], np.cumsum(length)[:-1]])
        values = torch.from_numpy(np.concatenate(list(clips)))
        return Ragged(values.to(device), torch.from_numpy(start).to(device), torch.from_numpy(length).to(device))

    @property
    def dim(self) -> int:
        """Features of a frame."""
        return self.values.shape[1]

    @property
    def clip_bytes(self) -> int:
        """Bytes of the longest clip as float32."""
        return int(self.length.max()) * self.dim * 4

    def __getitem__(self, rows: Tensor) -> Padded:
        """Return the clips `rows`, int64 [model, row], padded to the longest of them."""
        length = self.length[rows]
        frame = torch.arange(int(length.max()), device=rows.device)
        valid = frame < length.unsqueeze(-1)
        index = (self.start[rows].unsqueeze(-1) + frame) * valid
        return Padded(self.values[index].float() * valid.unsqueeze(-1), length)

    def moments(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over all frames of some clips, float32 [1, feature] each."""
        total = int(self.length[clips].sum())
        mean = self._sum(clips, 0.0) / total
        variance = self._sum(clips, mean, power=2) / total
        return tuple(x.float().unsqueeze(0).to(self.values.device) for x in (mean, variance.sqrt()))  # type: ignore[return-value]

    def _sum(self, clips: Tensor, shift: Tensor | float, *, power: int = 1) -> Tensor:
        parts = [self.values[int(self.start[clip]) : int(self.start[clip] + self.length[clip])] for clip in clips]
        if self.values.device.type == "mps":  # it has no float64
            parts = [part.cpu() for part in parts]
        sums = [(part.double() - shift).pow(power).sum(0) for part in parts]
        return torch.stack(sums).sum(0)


@dataclass(frozen=True)
class Stored:
    """The same, but the frames stay in the store; `length` int64 [clip]."""

    source: FrameSource
    length: Tensor

    @staticmethod
    def of(source: FrameSource, device: str) -> Stored:
        """Return the frames of a source, whose batches go to a device."""
        return Stored(source, torch.from_numpy(source.length).to(device))

    @property
    def clip_bytes(self) -> int:
        """Bytes of the longest clip as float32."""
        return int(self.length.max()) * self.source.dim * 4

    def __getitem__(self, rows: Tensor) -> Padded:
        """Return the clips `rows`, int64 [model, row], padded to the longest of them."""
        length = self.length[rows]
        values = np.zeros((rows.numel(), int(length.max()), self.source.dim), dtype=np.float32)
        wanted, places = np.unique(rows.cpu().numpy().ravel(), return_inverse=True)
        clips = self.source.read(wanted)
        for place, value in zip(places.ravel(), values, strict=True):
            value[: len(clips[place])] = clips[place]
        return Padded(torch.from_numpy(values).view(*rows.shape, *values.shape[1:]).to(rows.device), length)

    def moments(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over all frames of some clips, float32 [1, feature] each."""
        shift, sums, squares = self._sums[0], self._sums[1][clips.cpu()].sum(0), self._sums[2][clips.cpu()].sum(0)
        total = self.length[clips].sum().cpu()
        off = sums / total
        std = (squares / total - off.square()).clamp_min(0).sqrt()
        return tuple(x.float().unsqueeze(0).to(self.length.device) for x in (shift + off, std))  # type: ignore[return-value]

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """The first clip's mean, and each clip's sums of differences from it and of their squares, float64 [clip, feature]."""
        shift = torch.from_numpy(self.source[0]).double().mean(0)
        found = []
        for start in range(0, len(self.source), _READ_CLIPS):
            off = [torch.from_numpy(clip).double() - shift for clip in self.source[start : start + _READ_CLIPS]]
            found += [torch.stack([clip.sum(0), clip.square().sum(0)]) for clip in off]
        sums = torch.stack(found, dim=1)  # [2, clip, feature]
        return shift, sums[0], sums[1]


def valid_frames(length: Tensor, n_frames: int) -> Tensor:
    """Return which of `n_frames` frames lie within each clip, bool [..., frame]."""
    return torch.arange(n_frames, device=length.device) < length.unsqueeze(-1)


def mean_over(values: Tensor, length: Tensor) -> Tensor:
    """Return the mean of [model, row, frame, feature] over each clip's own frames (EmotionShare, equation 1)."""
    own = valid_frames(length, values.shape[2]).unsqueeze(-1)
    return (values * own).sum(2) / length.unsqueeze(-1)
