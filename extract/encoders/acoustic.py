"""Log-mel filterbank and MFCC: nothing learned. Imports no torch."""

from __future__ import annotations

from .base import Card, Encoder, Entry, FrameRule, Request

FRAME = FrameRule("framed", hop_samples=160, receptive_samples=400)
"""25 ms every 10 ms, whole frames only: no frame sees anything but its own clip."""

MEL = {"n_fft": 400, "hop_length": 160, "n_mels": 40, "f_min": 0.0, "f_max": 8000.0, "power": 2.0}
N_MFCC = 13


def acoustic_entry(name: str, dim: int, citation: str) -> Entry:
    """Return the entry of one kind of spectral features."""
    card = Card(
        name=name,
        family="acoustic",
        source="computed",
        dim=dim,
        n_layers=1,
        frame=FRAME,
        max_window_s=None,
        licence="none needed",
        citation=citation,
        weights="none",
        n_parameters=0,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        from .acoustic_model import AcousticEncoder

        return AcousticEncoder(request, card, device)

    return Entry(card, load, {**MEL, "n_mfcc": N_MFCC})


ENTRIES: dict[str, Entry] = {
    "logmel": acoustic_entry(
        "logmel", 40, "Davis & Mermelstein, Comparison of Parametric Representations, IEEE TASSP 1980 (mel filterbank)"
    ),
    "mfcc": acoustic_entry(
        "mfcc", N_MFCC, "Davis & Mermelstein, Comparison of Parametric Representations, IEEE TASSP 1980"
    ),
}
