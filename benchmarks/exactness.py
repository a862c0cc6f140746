"""How far padding moves an embedding, in transformers and torchaudio as they come and in voxcache.

    python benchmarks/exactness.py [ENCODER ...]

Builds each encoder with random weights in its published configuration and runs a clip of 1 s of noise: alone; padded to
4 s through the reference implementation, without and with its attention mask ("before"); and in a shuffled batch of
four lengths through voxcache ("after"). Prints relative errors (norm of difference / norm) as a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from voxcache.extract.encoders.base import SAMPLE_RATE_HZ, Encoder, Request
from voxcache.extract.encoders.checkpoints import random_model
from voxcache.extract.encoders.exactness import Errors, collect, compare, compare_alone, relative_error
from voxcache.extract.encoders.registry import ENCODERS, load, resolve

DEFAULT = (
    "wav2vec2-base", "wav2vec2-large-lv60", "hubert-base", "hubert-large", "wavlm-base", "wavlm-large",
    "unispeech-sat-base", "unispeech-sat-large", "data2vec-audio-base", "whisper-base", "logmel", "mfcc",
    "opensmile-egemaps", "audio-mamba-tiny", "emotion2vec-base",
)  # fmt: skip
SPEECH = ("wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio")
SECONDS = (1.0, 4.0, 2.3, 0.7)
PADDED_S = 4.0


@dataclass(frozen=True)
class Row:
    """One line of the table: errors of the clip's mean over frames before, of everything after."""

    name: str
    unmasked: float | None
    masked: float | None
    batch: Errors
    reference: Errors | None


def clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(int(s * SAMPLE_RATE_HZ), generator=generator) for s in SECONDS]


def normalised(waves: list[torch.Tensor], normalise: bool) -> list[torch.Tensor]:
    return [(w - w.mean()) / (w.var(correction=0) + 1e-7).sqrt() for w in waves] if normalise else waves


def padded(wave: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(wave, (0, int(PADDED_S * SAMPLE_RATE_HZ) - len(wave)))[None]


def pooled_error(ours: torch.Tensor, alone: torch.Tensor) -> float:
    return relative_error(ours.mean(0), alone.mean(0))


def speech_row(name: str, encoder: Encoder, waves: list[torch.Tensor]) -> Row:
    model: Any = random_model(ENCODERS.get(name).config, 0).model
    wave, n = padded(waves[0]), len(waves[0])
    n_frames = encoder.card.frame.n_frames(n)
    mask = (torch.arange(wave.shape[1]) < n).long()[None]
    with torch.inference_mode():
        alone = model(waves[0][None], output_hidden_states=True)
        layers = [state[0] for state in (*alone.hidden_states[:-1], alone.last_hidden_state)]
        before = [model(wave, attention_mask=m).last_hidden_state[0, :n_frames] for m in (None, mask)]
    return Row(
        name,
        *(pooled_error(states, layers[-1]) for states in before),
        compare_alone(encoder, waves),
        compare(collect(encoder, waves)[:1], [layers]),
    )


def whisper_row(name: str, encoder: Encoder, waves: list[torch.Tensor]) -> Row:
    from transformers import WhisperFeatureExtractor

    model: Any = random_model(ENCODERS.get(name).config, 0).model
    mel = WhisperFeatureExtractor()(waves[0].numpy(), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        out = model(mel.input_features, output_hidden_states=True)
    n_frames = encoder.card.frame.n_frames(len(waves[0]))
    layers = [state[0, :n_frames] for state in (*out.hidden_states[:-1], out.last_hidden_state)]
    whole = relative_error(out.last_hidden_state[0].mean(0), layers[-1].mean(0))
    return Row(name, whole, None, compare_alone(encoder, waves), compare(collect(encoder, waves)[:1], [layers]))


def spectral_row(name: str, encoder: Encoder, waves: list[torch.Tensor]) -> Row:
    import torchaudio

    mel = {"n_fft": 400, "hop_length": 160, "n_mels": 40}
    theirs: Callable[[torch.Tensor], torch.Tensor] = (
        torchaudio.transforms.MFCC(SAMPLE_RATE_HZ, n_mfcc=13, melkwargs=mel)
        if name == "mfcc"
        else torch.nn.Sequential(torchaudio.transforms.MelSpectrogram(SAMPLE_RATE_HZ, **mel), _Log())
    )
    alone = theirs(waves[0][None])[0].T
    before = theirs(padded(waves[0]))[0].T[: len(alone)]
    return Row(name, pooled_error(before, alone), None, compare_alone(encoder, waves), None)


class _Log(torch.nn.Module):
    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return (mel + torch.finfo(torch.float32).eps).log()


def emotion2vec_row(name: str, encoder: Encoder, waves: list[torch.Tensor]) -> Row:
    """ "Before" is this model without the zeroing between positional convolutions, which is what funasr computes."""
    from voxcache.extract.encoders import emotion2vec_model

    alone = collect(encoder, [waves[0]])[0][-1]
    zeroing = emotion2vec_model._past
    emotion2vec_model._past = lambda _n_frames, _features: None
    before = collect(encoder, [waves[0], torch.zeros(int(PADDED_S * SAMPLE_RATE_HZ))])[0][-1]
    emotion2vec_model._past = zeroing
    return Row(name, None, pooled_error(before, alone), compare_alone(encoder, waves), None)


def measure(name: str) -> Row:
    card, _ = resolve(Request(name=name))
    encoder = load(Request(name=name, weights=None if card.weights == "none" else "random"))
    waves = normalised(clips(), encoder.card.normalise)
    if card.family in SPEECH:
        return speech_row(name, encoder, waves)
    if card.family == "whisper":
        return whisper_row(name, encoder, waves)
    if card.family == "emotion2vec":
        return emotion2vec_row(name, encoder, waves)
    if card.family == "acoustic":
        return spectral_row(name, encoder, waves)
    return Row(name, None, None, compare_alone(encoder, waves), None)


def line(row: Row) -> str:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.1e}"

    reference = shown(None if row.reference is None else row.reference.worst)
    cells = (row.name, shown(row.unmasked), shown(row.masked), shown(row.batch.worst), reference)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=DEFAULT)
    print("| encoder | before, no mask | before, mask | after, batch vs alone | after, batch vs reference alone |")
    print("|---|---|---|---|---|")
    for name in parser.parse_args().encoders:
        print(line(measure(name)), flush=True)


if __name__ == "__main__":
    main()
