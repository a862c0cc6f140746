"""`voxcache encoders`: the registry for people and machines. Imports no torch."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from .base import SAMPLE_RATE_HZ, Card, Request
from .registry import ENCODERS, resolve

HOUR_SAMPLES = 3600 * SAMPLE_RATE_HZ
TYPICAL_CLIP_S = 5


def list_encoders(*, as_json: bool = False) -> str:
    """Return every registered encoder, one a line, or their facts as JSON."""
    cards = [entry.card for _, entry in ENCODERS.items()]
    if as_json:
        return json.dumps([facts(card) for card in cards], indent=2)
    table = Table("encoder", "layers", "dim", "hop", "weights", box=None)
    for column in ("licence", "pre-trained on"):
        table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=50)
    for card in cards:
        hop = "clip" if card.frame.kind == "clip" else f"{card.frame.hop_samples / SAMPLE_RATE_HZ * 1000:.0f} ms"
        size = (str(card.n_layers), str(card.dim), hop)
        source = card.source if card.weights == "hub" else {"random": "random only", "none": "computed"}[card.weights]
        table.add_row(card.name, *size, source, card.licence, ", ".join(card.pretraining) or "-")
    also = "Also: any hub id or local folder of a transformers audio model, hear:package.module, plug-ins."
    return f"{_text(table)}\n{also} One in full: voxcache encoders NAME"


def show_encoder(name: str, *, as_json: bool = False) -> str:
    """Return all facts of one encoder. Raises `UnknownName` with the nearest name."""
    card, _ = resolve(Request(name=name))
    known = facts(card)
    if as_json:
        return json.dumps(known, indent=2)
    return "\n".join(f"{key.replace('_', ' '):24} {_words(value)}" for key, value in known.items())


def facts(card: Card) -> dict[str, Any]:
    """Return what a card says, with what follows from it: frames and bytes an hour of audio."""
    frames = card.frame.n_frames(HOUR_SAMPLES) if card.frame.kind != "clip" else 3600 // TYPICAL_CLIP_S
    pooled = 3600 // TYPICAL_CLIP_S * card.n_layers * card.dim * 4
    return {
        "name": card.name,
        "family": card.family,
        "source": card.source,
        "revision": card.revision or "not pinned",
        "weights": card.weights,
        "licence": card.licence,
        "citation": card.citation,
        "pretraining": list(card.pretraining),
        "parameters": card.n_parameters,
        "layers": card.n_layers,
        "dim": card.dim,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "hop_samples": card.frame.hop_samples,
        "receptive_samples": card.frame.receptive_samples,
        "normalise": card.normalise,
        "pooling": card.pooling,
        "max_window_s": card.max_window_s,
        "frames_per_hour": frames,
        f"pooled_bytes_per_hour_of_{TYPICAL_CLIP_S}_s_clips": pooled,
        "frame_bytes_per_hour_and_layer": frames * card.dim * 2,
    }


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)


def _text(table: Table) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
