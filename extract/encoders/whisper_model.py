"""Runs Whisper's encoder as transformers does, and keeps the clip's own frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import EncoderError
from .base import SAMPLE_RATE_HZ, Card, Dtype, Emit, Encoder, Request
from .checkpoints import Loaded, check_extractor, check_transformers, load_transformers
from .inference import exact_inference, to_precision
from .listening import Listener

EXTRACTOR = "whisper-1"
N_FFT = 400
HOP = 160
WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ
POSITIONS = 1500
FLOOR = 1e-10


def load_whisper(
    request: Request, card: Card, device: str, *, config: Mapping[str, object], folder: str | None = None
) -> WhisperEncoder:
    """Load a Whisper encoder; see `load_transformers` for `config` and `folder`."""
    check_whisper(request, card, config, folder)
    loaded = load_transformers(request, card, config, folder=folder)
    return WhisperEncoder(loaded, card=card, device=device, dtype=request.dtype)


def check_whisper(request: Request, card: Card, config: Mapping[str, object], folder: str | None) -> None:
    """Raise `EncoderError` for a checkpoint that does not fit, or whose spectrogram or window is not the published one."""
    checkpoint = check_transformers(request, card, config, folder=folder)
    if checkpoint is None:
        return
    n_mels = checkpoint.config.get("num_mel_bins", 80)
    wanted = {"feature_size": n_mels, "n_fft": N_FFT, "hop_length": HOP, "chunk_length": 30}
    found = {**wanted, **check_extractor(card, checkpoint)}
    frames = checkpoint.config.get("max_source_positions", POSITIONS)
    wrong = [f"{key} {found[key]!r} and not {value!r}" for key, value in wanted.items() if found[key] != value]
    wrong += [f"max_source_positions {frames!r} and not {POSITIONS}"] if frames != POSITIONS else []
    if wrong:
        raise EncoderError(
            f"{card.name}: expected Whisper's spectrogram and its window of 30 s, got {', '.join(wrong)}. It would be fed what "
            f"it was not trained on."
        )


class WhisperEncoder(Encoder):
    """The encoder on 30 s windows, as it was trained: silence after a clip is seen by every frame, but not kept.

    Clips cannot reach each other in a batch, because each has its own window.
    """

    def __init__(self, loaded: Loaded, *, card: Card, device: str, dtype: Dtype) -> None:
        self.card = card
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = loaded.sha256
        self.weights_origin = loaded.origin
        self.ignored = loaded.ignored
        self._model = to_precision(loaded.model, device, dtype)
        n_mels = int(self._model.num_mel_bins)
        self.preprocessing = {"extractor": EXTRACTOR, "window_s": 30, "n_fft": N_FFT, "hop": HOP, "n_mels": n_mels}
        self._filters = mel_filters(n_mels).to(device)  # [mel, frequency]
        self._listener = Listener(self._model.layers)

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch; see `Encoder.encode`. Raises `EncoderError` on clips past 30 s."""
        longest = max(n_samples)
        if longest > WINDOW_SAMPLES:
            raise EncoderError(
                f"{self.card.name}: expected windows of at most {WINDOW_SAMPLES} samples, got {longest}. "
                f"Cut longer clips into windows first."
            )
        n_frames = self.card.frame.n_frames(longest)

        def keep(layer: int, states: torch.Tensor) -> None:
            emit(layer, states[:, :n_frames])

        with exact_inference(), self._listener.to(keep):
            mel = log_mel(waves[:, :longest], self._filters)
            out = self._model(mel.to(getattr(torch, self.dtype)))
            keep(self.card.n_layers - 1, out.last_hidden_state)


def mel_filters(n_mels: int) -> torch.Tensor:
    """Return Whisper's Slaney mel filters, [mel, frequency] float32, from transformers' feature extractor."""
    from transformers import WhisperFeatureExtractor

    extractor: Any = WhisperFeatureExtractor
    return torch.from_numpy(extractor(feature_size=n_mels).mel_filters).float().T.contiguous()


def log_mel(waves: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return Whisper's input, [clip, mel, 3000], as `WhisperFeatureExtractor` gives it for clips padded to 30 s.

    Only the stretch that holds sound goes through the transform: a frame of padding is exactly the floor.
    """
    n = min(-(-(waves.shape[1] + N_FFT) // HOP) * HOP, WINDOW_SAMPLES)
    padded = torch.nn.functional.pad(waves, (0, n - waves.shape[1]))
    window = torch.hann_window(N_FFT, device=waves.device)
    spectrum = torch.stft(padded, N_FFT, HOP, window=window, return_complex=True)[..., :-1]
    power = filters @ spectrum.abs().square()  # [clip, mel, frame]
    log = power.clamp(min=FLOOR).log10()
    silence = torch.full((), FLOOR).log10().item()
    log = torch.nn.functional.pad(log, (0, WINDOW_SAMPLES // HOP - log.shape[-1]), value=silence)
    peak = log.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(log, peak - 8.0) + 4.0) / 4.0
