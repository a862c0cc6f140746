"""Computes log-mel filterbanks and MFCC in batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .acoustic import MEL, N_MFCC
from .base import SAMPLE_RATE_HZ, Card, Emit, Encoder, Request
from .requests import refuse_options, refuse_weights
from .weights import state_sha256

EXTRACTOR = "acoustic-1"


class AcousticEncoder(Encoder):
    """log(mel energy + float32 epsilon), 40 bands; for `mfcc` the first 13 coefficients of its orthonormal DCT-II.

    Computed in float32 whatever `dtype` asks for: there is nothing to gain from less.
    """

    def __init__(self, request: Request, card: Card, device: str) -> None:
        refuse_weights(request)
        refuse_options(request)
        from torchaudio.functional import create_dct
        from torchaudio.transforms import MelSpectrogram

        self.card = card
        self.device = device
        self.dtype = "float32"
        self._mel = MelSpectrogram(SAMPLE_RATE_HZ, center=False, **MEL).to(device)
        is_mfcc = card.name == "mfcc"
        dct = create_dct(N_MFCC, int(MEL["n_mels"]), "ortho")  # [mel, coefficient]
        self._dct = dct.to(device) if is_mfcc else None
        self.weights_sha256 = state_sha256({} if self._dct is None else {"dct": self._dct})
        self.weights_origin = "none"
        self.preprocessing = {"extractor": EXTRACTOR, "log": "log(mel + float32 eps)", **MEL}
        if is_mfcc:
            self.preprocessing |= {"n_mfcc": N_MFCC}

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch; see `Encoder.encode`."""
        with torch.inference_mode():
            mel = self._mel(waves[:, : max(n_samples)]).transpose(1, 2)  # [clip, frame, mel]
            log = (mel + torch.finfo(torch.float32).eps).log()
            emit(0, log if self._dct is None else log @ self._dct)
