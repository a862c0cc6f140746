"""Audio-Mamba (SSAM; Yadav & Tan, Interspeech 2024, arXiv 2406.02178): cards and lazy loader. Imports no torch.

Facts are those of the authors' release, github.com/SarthakYadav/audio-mamba-official.
"""

from __future__ import annotations

from .base import Card, Encoder, Entry, FrameRule, Request

MEL = {
    "sample_rate": 16_000, "n_fft": 400, "win_length": 400, "hop_length": 160,
    "n_mels": 80, "f_min": 50.0, "f_max": 8000.0, "power": 2.0,
}  # fmt: skip
WINDOW_FRAMES = 200
PATCH_FRAMES, PATCH_MELS = 4, 16
WINDOW_STEPS = WINDOW_FRAMES // PATCH_FRAMES
BANDS = int(MEL["n_mels"]) // PATCH_MELS
DEPTH = 12
N_STATE, CONV_WIDTH, EXPAND = 24, 4, 3
NORM_EPS = 1e-6

SHORTEST_SAMPLES = int(MEL["n_fft"]) // 2 + 1
"""A centred STFT reflects half a window at each end, which takes one sample more than that."""

FRAME = FrameRule("mamba", int(MEL["hop_length"]) * PATCH_FRAMES, SHORTEST_SAMPLES)
WEIGHTS_PAGE = "https://drive.google.com/drive/folders/1l6_8e1TFEfnobwUMIbA7-aKw2FwlBhho"


def _load(request: Request, card: Card, device: str) -> Encoder:
    from .audio_mamba_encoder import load_audio_mamba

    return load_audio_mamba(request, card, device)


def _entry(size: str, dim: int, n_parameters: int) -> Entry:
    card = Card(
        name=f"audio-mamba-{size}",
        family="audio-mamba",
        source="github.com/SarthakYadav/audio-mamba-official",
        dim=dim * BANDS,
        n_layers=DEPTH + 1,
        frame=FRAME,
        max_window_s=None,
        licence="MIT",
        citation="Yadav & Tan, Audio Mamba: Selective State Spaces for Self-Supervised Audio Representations, "
        "Interspeech 2024",
        pretraining=("AudioSet",),
        n_parameters=n_parameters,
    )
    architecture = {
        "dim": dim, "depth": DEPTH, "n_state": N_STATE, "conv_width": CONV_WIDTH, "expand": EXPAND,
        "patch": [PATCH_FRAMES, PATCH_MELS], "window_frames": WINDOW_FRAMES,
    }  # fmt: skip
    return Entry(card, _load, architecture)


ENTRIES: dict[str, Entry] = {
    entry.card.name: entry
    for entry in (_entry("tiny", 192, 4_759_104), _entry("small", 384, 17_812_608), _entry("base", 768, 68_802_816))
}
