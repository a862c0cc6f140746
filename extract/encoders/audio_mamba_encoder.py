"""Runs Audio-Mamba: log-mel of each clip, windows of all clips through the blocks, layers regrouped into time steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torchaudio.transforms import MelSpectrogram

from ...errors import ConfigError, EncoderError, nearest
from .audio_mamba import BANDS, MEL, WEIGHTS_PAGE, WINDOW_FRAMES, WINDOW_STEPS
from .audio_mamba_model import AudioMamba
from .author_weights import Weighted, load_weights
from .base import Card, Dtype, Emit, Encoder, Request
from .inference import exact_inference

EXTRACTOR = "audio-mamba-1"
"""Part of the cache key; raise it when a change here changes numbers."""

LAYOUTS = ("released", "time")
OF_TRAINING = ("mask_token", "pred.0.weight", "pred.0.bias", "pred.2.weight", "pred.2.bias")
"""What a checkpoint holds for masked prediction only."""

WINDOWS_AT_ONCE = {"cpu": 4, "cuda": 256}
"""On a CPU few, so that what a block computes stays in the cache."""


def load_audio_mamba(request: Request, card: Card, device: str) -> AudioMambaEncoder:
    """Load an Audio-Mamba of the card's size.

    Raises:
        ConfigError: an option it does not have.
        CheckpointError: weights that do not fit.
        EncoderError: weights that cannot be had from here.
    """
    layout = _layout(request)
    loaded = load_weights(
        request,
        card,
        lambda: AudioMamba(card.dim // BANDS),
        own_key=lambda key: None if key in OF_TRAINING else key,
        from_hub=lambda: _not_on_a_hub(card),
    )
    return AudioMambaEncoder(loaded, card=card, device=device, dtype=request.dtype, layout=layout)


def _layout(request: Request) -> str:
    problems = [
        f"{request.name}, option {key!r}: expected layout, got an option it does not have. Remove it."
        for key in request.options
        if key != "layout"
    ]
    layout = request.options.get("layout", "released")
    if layout not in LAYOUTS:
        hint = nearest(str(layout), LAYOUTS)
        problems.append(f"{request.name}, option layout: expected {' or '.join(LAYOUTS)}, got {layout!r}{hint}")
    if problems:
        raise ConfigError(problems)
    return str(layout)


def _not_on_a_hub(card: Card) -> tuple[Path, str]:
    raise EncoderError(
        f"{card.name}, weights 'hub': expected a local file, its authors publish no hub repository. Download the "
        f"folder of this size from {WEIGHTS_PAGE} (see {card.source}) and pass its newest checkpoint: "
        f"`weights: <folder>/checkpoints/checkpoint-<epoch>.pth`; or `weights: random` for a try."
    )


class AudioMambaEncoder(Encoder):
    """Layer 0 is the tokens with positions, layer k the residual stream after block k, the last that of the final norm.

    Every layer has 50 time steps a window, each the 5 tokens of `layout` concatenated. "released" regroups as the
    authors' release does, where "step" k is tokens k, k + 50, k + 100, k + 150, k + 200; "time" takes the 5 bands of a
    time step.
    """

    def __init__(self, loaded: Weighted[AudioMamba], *, card: Card, device: str, dtype: Dtype, layout: str) -> None:
        self.card = card
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = loaded.sha256
        self.weights_origin = loaded.origin
        self.preprocessing = {
            **MEL, "extractor": EXTRACTOR, "layout": layout, "log": "log(mel + float32 eps)",
            "standardise": "per clip, unbiased std + 1e-8", "window_frames": WINDOW_FRAMES,
        }  # fmt: skip
        self._in_time = layout == "time"
        self._mel = MelSpectrogram(**MEL).to(device)
        self._model = loaded.model.to_precision(getattr(torch, dtype)).to(device)
        self._windows_at_once = WINDOWS_AT_ONCE.get(torch.device(device).type, 32)

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch; see `Encoder.encode`. One layer of all windows stands in memory at a time."""
        with exact_inference():
            self._encode(waves, n_samples, emit)

    def _encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        mels = [self._windows(wave[:n]) for wave, n in zip(waves, n_samples, strict=True)]
        n_windows = [len(mel) for mel in mels]
        windows = torch.cat(mels)
        stream = torch.cat([self._model.embed(part) for part in torch.split(windows, self._windows_at_once)])
        parts = torch.split(stream, self._windows_at_once)  # views: [window, 1 + token, dim]
        emit(0, self._steps(stream, n_windows))
        for layer, block in enumerate(self._model.blocks, start=1):
            for part in parts:
                part += block(part)
            if layer == len(self._model.blocks):
                self._normalise(parts)
            emit(layer, self._steps(stream, n_windows))

    def _windows(self, wave: torch.Tensor) -> torch.Tensor:
        """Turn one clip [sample] into standardised log-mel windows [window, frame, mel], the last filled with zeros."""
        log = (self._mel(wave).T + torch.finfo(torch.float32).eps).log()  # [frame, mel]
        standard = (log - log.mean()) / (log.std() + 1e-8)
        filled = F.pad(standard, (0, 0, 0, -len(log) % WINDOW_FRAMES))
        return filled.reshape(-1, WINDOW_FRAMES, filled.shape[1])

    def _normalise(self, parts: Sequence[torch.Tensor]) -> None:
        norm = self._model.encoder_norm
        for part in parts:
            part.copy_(norm(part.to(norm.weight.dtype)))

    def _steps(self, stream: torch.Tensor, n_windows: Sequence[int]) -> torch.Tensor:
        """Regroup [window, 1 + token, dim] into [clip, step, band x dim]."""
        tokens = stream[:, 1:]  # without CLS
        if self._in_time:
            grid = tokens.view(-1, WINDOW_STEPS, BANDS, stream.shape[2])
        else:
            grid = tokens.view(-1, BANDS, WINDOW_STEPS, stream.shape[2]).transpose(1, 2)
        steps = stream.new_zeros(len(n_windows), max(n_windows), *grid.shape[1:])  # [clip, window, step, band, dim]
        for clip, of_clip in zip(steps, torch.split(grid, list(n_windows)), strict=True):
            clip[: len(of_clip)] = of_clip
        return steps.flatten(3).flatten(1, 2)
