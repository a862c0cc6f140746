"""Checkpoints in the shapes in which people publish them, through the real command, against transformers on each clip alone."""

from __future__ import annotations

import json
import re
import wave as wav
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as T
from command import voxcache
from published import OTHERS, REFUSED, SPEECH, WHISPERS, add_language, make, make_refused

from voxcache.errors import EncoderError
from voxcache.extract.audio import load as load_audio
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.registry import resolve
from voxcache.store import Corpus, open_store

CLIPS = {
    "one-sample": (16_000, 1),
    "30-ms": (8_000, 240),
    "1-s": (48_000, 48_000),
    "11-s": (22_050, 245_000),
    "31-s": (16_000, 496_123),
}
"""Rate in Hz and length in samples of each file."""

LONG = {"45-s": (44_100, 1_984_500), "3-s": (11_025, 33_333)}
"""Those of the slow run besides."""

Layers = list[torch.Tensor]
"""Of each layer, [feature]."""


def write_clips(folder: Path, clips: dict[str, tuple[int, int]]) -> None:
    """Write a WAV of loud and soft noise for each clip, and a manifest."""
    rows = ["path,label"]
    for i, (name, (rate, n)) in enumerate(clips.items()):
        rng = np.random.default_rng(i)
        values = rng.normal(0, 0.1, n) * (1 + np.sin(np.arange(n) / rate * 3.0))
        with wav.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((values.clip(-1, 1) * 32767).astype("<i2").tobytes())
        rows.append(f"{name}.wav,{'ab'[i % 2]}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")


def run_command(folder: Path, names: list[str], clips: dict[str, tuple[int, int]]) -> Corpus:
    """Make checkpoints and clips, run `voxcache extract` over them once, and open what it wrote."""
    write_clips(folder, clips)
    encoders: list[dict[str, Any]] = [{"name": str(make(name, folder / "models")), "as": name} for name in names]
    if "w2v2-adapterattn" in names:
        add_language(folder / "models" / "w2v2-adapterattn", "fra")
        french = {
            "name": str(folder / "models" / "w2v2-adapterattn"),
            "as": "french",
            "options": {"target_lang": "fra"},
        }
        encoders.append(french)
    pipeline = {
        "store": "s.zarr",
        "corpora": {"noise": {"manifest": "clips.csv"}},
        "encoders": encoders,
        "extract": {"batch_s": 20, "device": "cpu"},
    }
    (folder / "p.yaml").write_text(json.dumps(pipeline))
    done = voxcache("extract", "p.yaml", cwd=folder, VOXCACHE_CACHE=str(folder / "cache"))
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return open_store(folder / "s.zarr").corpus("noise")


def compare(corpus: Corpus, folder: Path, name: str, *, encoder: str | None = None) -> None:
    """Assert that what the store holds of one encoder is what transformers gives, on every clip and layer, to 1e-5."""
    held = corpus.encoder(encoder or name)
    assert held.ledger().ok.all(), list(held.ledger().reason)
    stored = held.pooled_all(np.arange(corpus.n_clips))  # [clip, layer, feature]
    reference = reference_of(folder / "models" / name, name, language="fra" if encoder == "french" else None)
    for row, clip in enumerate(corpus.clip):
        samples = torch.from_numpy(load_audio(folder / f"{Path(str(clip)).stem}.wav", None, None))
        for layer, expected in enumerate(reference(samples)):
            found = torch.from_numpy(stored[row, layer])
            error = float((found.double() - expected.double()).norm() / expected.double().norm())
            assert error < 1e-5, (name, str(clip), layer, error)


def pieces(n: int, longest: int, step: int, half: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, stop, first sample kept, first not kept) of windows with seams in the middle of their overlaps."""
    if n <= longest:
        yield 0, n, 0, n
        return
    starts = list(range(0, n - (longest - step), step))
    for i, start in enumerate(starts):
        yield (
            start,
            min(start + longest, n),
            start + half if i else 0,
            starts[i + 1] + half if start != starts[-1] else n,
        )


def averaged(n: int, cut: tuple[int, int, int], states: Callable[[int, int], list[tuple[torch.Tensor, int]]]) -> Layers:
    """Return the mean of each layer over the vectors of all windows that lie between their seams.

    Args:
        cut: longest window, step and half overlap in samples.
        states: gives, for (start, stop), each layer's own vectors [time, ..., feature] and the samples from one to the next.
    """
    kept: list[list[torch.Tensor]] = []
    for start, stop, keep_from, keep_to in pieces(n, *cut):
        layers = []
        for vectors, hop in states(start, stop):
            end = None if keep_to == n else (keep_to - start) // hop
            layers.append(vectors[(keep_from - start) // hop : end].flatten(0, -2))
        kept.append(layers)
    return [torch.cat(parts).double().mean(0) for parts in zip(*kept, strict=True)]


def hidden(model: Any, **inputs: Any) -> list[torch.Tensor]:
    """Return every layer of one clip, [vector, feature], the last as the model returns it."""
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    return [state[0] for state in (*out.hidden_states[:-1], out.last_hidden_state)]


def reference_of(where: Path, name: str, *, language: str | None = None) -> Callable[[torch.Tensor], Layers]:
    """Return what embeds a clip [sample] with transformers alone."""
    extractor = T.AutoFeatureExtractor.from_pretrained(where)
    if name in WHISPERS:
        kind = T.WhisperForConditionalGeneration if name == "whisper-gen" else T.WhisperForAudioClassification
        whole = kind.from_pretrained(where).eval()
        encoder = whole.model.encoder if name == "whisper-gen" else whole.encoder
        return lambda clip: whisper_layers(encoder, extractor, clip, [320, 320])
    if language is not None:
        ctc = T.Wav2Vec2ForCTC.from_pretrained(where, target_lang=language, ignore_mismatched_sizes=True).eval()
        return lambda clip: speech_layers(ctc.wav2vec2, extractor, clip)
    model = T.AutoModel.from_pretrained(where, dtype=torch.float32).eval()
    if name in SPEECH:
        return lambda clip: speech_layers(model, extractor, clip)
    if name == "qwen2-audio-encoder":
        return lambda clip: whisper_layers(model, extractor, clip, [320, 320, 640])
    if name.startswith("ast"):
        return lambda clip: ast_layers(model, extractor, clip)
    return lambda clip: flowing_layers(model, extractor, clip, name)


def speech_layers(model: Any, extractor: Any, clip: torch.Tensor) -> Layers:
    """Embed with a model of the wav2vec family: standardised whole, then cut; every frame is the clip's own."""
    values = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    values = torch.nn.functional.pad(values, (0, max(0, 400 - values.shape[1])))
    return averaged(
        values.shape[1],
        (480_000, 448_000, 16_000),
        lambda start, stop: [(state, 320) for state in hidden(model, input_values=values[:, start:stop])],
    )


def whisper_layers(model: Any, extractor: Any, clip: torch.Tensor, hops: list[int]) -> Layers:
    """Embed with a model that sees 30 s: of a layer with one vector every `hop` samples, ceil(n / hop) are the clip's."""

    def states(start: int, stop: int) -> list[tuple[torch.Tensor, int]]:
        features = extractor(clip[start:stop].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
        layers = hidden(model, input_features=features)
        steps = [hops[min(i, len(hops) - 1)] for i in range(len(layers) - 1)] + [hops[-1]]
        return [(layer[: -(-(stop - start) // hop)], hop) for layer, hop in zip(layers, steps, strict=True)]

    return averaged(len(clip), (480_000, 448_000, 16_000), states)


def ast_layers(model: Any, extractor: Any, clip: torch.Tensor) -> Layers:
    """Embed with AST: 12 bands of 101 patches after two tokens; those are the clip's that begin in one of its frames."""
    clip = torch.nn.functional.pad(clip, (0, max(0, 400 - len(clip))))

    def states(start: int, stop: int) -> list[tuple[torch.Tensor, int]]:
        features = extractor(clip[start:stop].numpy(), sampling_rate=16_000, return_tensors="pt")
        n_frames = 1 + (stop - start - 400) // 160
        patches = [state[2:].unflatten(0, (12, 101)).transpose(0, 1) for state in hidden(model, **features)]
        return [(layer[: -(-n_frames // 10)], 1600) for layer in patches]

    return averaged(len(clip), (164_239, 131_200, 16_000), states)


FLOWING = {
    "w2v-bert": (560, (480_000, 448_000, 16_000), (320, 320)),
    "w2v2-conformer": (400, (480_000, 448_000, 16_000), (320, 320)),
    "sew": (720, (480_000, 448_000, 16_000), (640, 320)),
    "sew-d": (720, (480_000, 448_000, 16_000), (640, 320)),
    "parakeet": (400, (480_000, 449_280, 15_360), (1280, 1280)),
}
"""Shortest clip, windows, and samples from one vector to the next in the blocks and at the end."""


def flowing_layers(model: Any, extractor: Any, clip: torch.Tensor, name: str) -> Layers:
    """Embed with a model that takes clips as long as they are: every vector that its mask keeps is the clip's own."""
    shortest, cut, (inner, last) = FLOWING[name]
    clip = torch.nn.functional.pad(clip, (0, max(0, shortest - len(clip))))

    def states(start: int, stop: int) -> list[tuple[torch.Tensor, int]]:
        inputs = extractor(clip[start:stop].numpy(), sampling_rate=16_000, return_tensors="pt")
        layers = hidden(model, **inputs)
        n_own = [len(layer) for layer in layers]
        if name == "parakeet":
            n_own = [int(model(**inputs).attention_mask.sum())] * len(layers)
        elif name == "w2v-bert":
            n_own = [int(inputs.attention_mask.sum())] * len(layers)
        hops = [inner] * (len(layers) - 1) + [last]
        return [(layer[:n], hop) for layer, n, hop in zip(layers, n_own, hops, strict=True)]

    return averaged(len(clip), cut, states)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """Every shape that loads, embedded by one run of the command; the folder of it all and the corpus."""
    folder = tmp_path_factory.mktemp("published")
    return folder, run_command(folder, [*SPEECH, *WHISPERS, *OTHERS], CLIPS)


@pytest.mark.parametrize("name", [*SPEECH, *WHISPERS, *OTHERS])
def test_a_published_shape_gives_what_transformers_gives(extracted: tuple[Path, Corpus], name: str) -> None:
    """Every layer of every clip, from 1 sample to 31 s, is transformers' own, averaged over the clip's own frames."""
    folder, corpus = extracted
    compare(corpus, folder, name)


def test_a_language_that_is_asked_for_is_the_one_that_runs(extracted: tuple[Path, Corpus]) -> None:
    """Adapters of a language beside the checkpoint replace its own, and the key says which."""
    folder, corpus = extracted
    compare(corpus, folder, "w2v2-adapterattn", encoder="french")
    languages = [corpus.encoder(name).key["adapter_language"] for name in ("w2v2-adapterattn", "french")]
    assert languages == ["as in the checkpoint", "fra"]


def test_what_is_not_the_encoder_s_is_named(extracted: tuple[Path, Corpus]) -> None:
    """Heads and decoders are named in the log and in the store, with the tensors in each."""
    folder, corpus = extracted
    assert corpus.encoder("whisper-gen").attrs["ignored_tensors"] == {"model.decoder": 28}
    assert corpus.encoder("w2v2-audeering").attrs["ignored_tensors"] == {"classifier": 4}
    assert "ignored_tensors" not in corpus.encoder("hubert-bn").attrs
    said = " ".join((folder / "output.txt").read_text().split())
    assert "wavlm-xvector: the checkpoint holds more than the encoder" in said
    assert re.search(r"feature_extractor \(2\), objective \(1\), projector \(2\), tdnn \(10\)", said)


@pytest.mark.slow
def test_longer_clips_of_other_rates(tmp_path: Path) -> None:
    """The same holds for 45 s at 44.1 kHz and 3 s at 11 kHz, and for what is embedded again."""
    names = ["w2v2-stable", "wavlm-ctc", "whisper-gen", *OTHERS]
    corpus = run_command(tmp_path, names, {**CLIPS, **LONG})
    for name in names:
        compare(corpus, tmp_path, name)
    again = voxcache("store", "verify", "s.zarr", "--re-embed", "7", "--pipeline", "p.yaml", cwd=tmp_path)
    assert again.stdout.count(": agrees") == len(names)


@pytest.mark.parametrize("name", [name for name in REFUSED if hasattr(T, REFUSED[name][0])])
def test_a_model_around_an_encoder_is_refused_by_what_is_inside(tmp_path: Path, name: str) -> None:
    """A model that holds its encoder among other things is refused when the run is planned, in words that name it."""
    with pytest.raises(EncoderError, match=rf"{name}.*holds one inside: .*{REFUSED[name][1]}"):
        resolve(Request(name=str(make_refused(name, tmp_path))))
