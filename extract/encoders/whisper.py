"""The encoders of Whisper (Radford et al. 2022). Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Card, Encoder, Entry, FrameRule, Request

WHISPER = "Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, ICML 2023"
FRAME = FrameRule("ceil", 320, 320)
WINDOW_S = 30.0

SIZES: Mapping[str, tuple[int, int, int]] = {
    "tiny": (384, 4, 6),
    "base": (512, 6, 8),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
    "large": (1280, 32, 20),
    "large-v2": (1280, 32, 20),
    "large-v3": (1280, 32, 20),
}
"""Width, blocks and heads, table 1 of the paper; the feed-forward layers are four times as wide."""

N_PARAMETERS: Mapping[str, int] = {
    "tiny": 8_208_384,
    "base": 20_590_592,
    "small": 88_154_112,
    "medium": 307_216_384,
    "large": 636_784_640,
    "large-v2": 636_784_640,
    "large-v3": 636_968_960,
}
"""Of the encoder alone."""

REVISIONS: Mapping[str, str] = {
    "tiny": "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
    "base": "e37978b90ca9030d5170a5c07aadb050351a65bb",
    "small": "973afd24965f72e36ca33b3055d56a652f456b4d",
    "medium": "abdf7c39ab9d0397620ccaea8974cc764cd0953e",
    "large": "4ef9b41f0d4fe232daafdb5f76bb1dd8b23e01d7",
    "large-v2": "ae4642769ce2ad8fc292556ccea8e901f1530655",
    "large-v3": "06f233fe06e710322aca913c1bc4249a0d71fce1",
}

V3_DATA = ("Whisper's 1M hours of weakly labelled audio from the web", "4M hours labelled by Whisper large-v2")
DATA = ("Whisper's 680,000 hours of weakly labelled audio from the web",)


def config_of(size: str) -> dict[str, object]:
    """Return the published configuration of a size; the decoder's half is kept for the record of the whole model."""
    dim, n_blocks, n_heads = SIZES[size]
    return {
        "model_type": "whisper",
        "d_model": dim,
        "encoder_layers": n_blocks,
        "encoder_attention_heads": n_heads,
        "encoder_ffn_dim": 4 * dim,
        "decoder_layers": n_blocks,
        "decoder_attention_heads": n_heads,
        "decoder_ffn_dim": 4 * dim,
        "num_mel_bins": 128 if size == "large-v3" else 80,
        "max_source_positions": 1500,
        "vocab_size": 51866 if size == "large-v3" else 51865,
        "activation_function": "gelu",
        "scale_embedding": False,
    }


def whisper_entry(
    name: str,
    config: Mapping[str, object],
    *,
    source: str,
    revision: str | None = None,
    licence: str = "unknown",
    pretraining: tuple[str, ...] = (),
    n_parameters: int | None = None,
    folder: str | None = None,
) -> Entry:
    """Return the entry of a Whisper encoder."""
    card = Card(
        name=name,
        family="whisper",
        source=source,
        revision=revision,
        dim=int(str(config["d_model"])),
        n_layers=int(str(config["encoder_layers"])) + 1,
        frame=FRAME,
        max_window_s=WINDOW_S,
        licence=licence,
        citation=WHISPER,
        pretraining=pretraining,
        n_parameters=n_parameters,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        from .whisper_model import load_whisper

        return load_whisper(request, card, device, config=config, folder=folder)

    def check(request: Request, card: Card) -> object:
        from .whisper_model import check_whisper

        check_whisper(request, card, config, folder)
        return None

    return Entry(card, load, config, check)


ENTRIES: dict[str, Entry] = {
    f"whisper-{size}": whisper_entry(
        f"whisper-{size}",
        config_of(size),
        source=f"openai/whisper-{size}",
        revision=REVISIONS.get(size),
        licence="apache-2.0",
        pretraining=V3_DATA if size == "large-v3" else DATA,
        n_parameters=N_PARAMETERS[size],
    )
    for size in SIZES
}
