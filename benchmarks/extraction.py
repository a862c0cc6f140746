"""Whole extraction against bare forward passes of the reference model on ready tensors, in one run.

    python benchmarks/extraction.py [ENCODER ...] [--clips 24] [--rounds 3]

The reference, in a process of its own, gets the waveforms decoded, resampled and normalised for nothing, and runs them
one clip at a time, in padded batches of 16 in random order, and in padded batches of 8 sorted by length. It is
transformers' own model, or, for Audio-Mamba and emotion2vec, ours without pooling. Ours decodes WAV files, resamples,
batches, runs, pools every layer and writes the store, durably. Rounds alternate; medians are compared. Prints x real time
and ours as a share of the fastest reference; 1.00 or more means that everything around the model costs nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import wave
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxcache.extract.audio import load as load_audio
from voxcache.extract.calibrate import calibrate
from voxcache.extract.embed import Cutting, prepare
from voxcache.extract.encoders.base import SAMPLE_RATE_HZ, Request
from voxcache.extract.encoders.checkpoints import random_model
from voxcache.extract.encoders.registry import ENCODERS
from voxcache.extract.jobs import Loaded
from voxcache.extract.plan import plan_encoders
from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import Pipeline, check

WITHOUT_REFERENCE = ("audio-mamba", "emotion2vec")
OURS = "voxcache, all of it"
HOPELESS = 1.3
DEFAULT = ("hubert-base", "wavlm-base", "wav2vec2-base", "unispeech-sat-base", "data2vec-audio-base", "whisper-tiny",
           "audio-mamba-base", "emotion2vec-base")  # fmt: skip
SHORTEST_S, LONGEST_S, FILE_RATE_HZ = 0.7, 7.0, 22_050


def write_clips(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for i, seconds in enumerate(rng.uniform(SHORTEST_S, LONGEST_S, n)):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        samples = (rng.normal(size=int(seconds * FILE_RATE_HZ)) * 3000).astype("<i2")
        with wave.open(str(folder / "ab"[i % 2] / f"{i:03d}.wav"), "wb") as file:
            file.setparams((1, 2, FILE_RATE_HZ, 0, "NONE", ""))
            file.writeframes(samples.tobytes())


def pipeline(audio: Path, store: Path, name: str, batch_s: float | None) -> Pipeline:
    data = {
        "store": str(store),
        "corpora": {"noise": {"root": str(audio)}},
        "encoders": [{"name": name, "weights": "random"}],
        "extract": {"batch_s": batch_s} if batch_s else {},
    }
    return check(Pipeline, data, where="benchmark")


def reference(name: str, waves: list[np.ndarray]) -> dict[str, Callable[[], None]]:
    """Return the three ways to run the bare model over tensors that are ready: transformers' own where it has one."""
    entry = ENCODERS.get(name)
    model: Any = _bare(name) if name.startswith(WITHOUT_REFERENCE) else random_model(entry.config, 0).model
    if name.startswith("whisper"):
        features = [_whisper_features(model.config, wave) for wave in waves]
        return {"one at a time": lambda: _each(lambda x: model(x), features)}
    tensors = [torch.from_numpy(wave) for wave in waves]
    shuffled = [tensors[i] for i in np.random.default_rng(0).permutation(len(tensors))]
    ordered = sorted(tensors, key=len)
    return {
        "one at a time": lambda: _each(lambda x: model(x), [t[None] for t in tensors]),
        "batches of 16, random": lambda: _batches(model, shuffled, 16),
        "batches of 8, sorted": lambda: _batches(model, ordered, 8),
    }


def _bare(name: str) -> Callable[..., None]:
    """Return our model without pooling, for families that transformers does not have."""
    entry = ENCODERS.get(name)
    encoder = entry.load(Request(name=name, weights="random"), entry.card, "cpu")

    def run(waves: torch.Tensor, attention_mask: torch.Tensor | None = None) -> None:
        lengths = [waves.shape[1]] * len(waves) if attention_mask is None else attention_mask.sum(1).tolist()
        encoder.encode(waves, lengths, lambda _layer, _states: None)

    return run


def _whisper_features(config: Any, wave: np.ndarray) -> torch.Tensor:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    return extractor(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features


def _each(run: Callable[[torch.Tensor], Any], inputs: list[torch.Tensor]) -> None:
    for item in inputs:
        run(item)


def _batches(model: Any, tensors: list[torch.Tensor], size: int) -> None:
    for start in range(0, len(tensors), size):
        part = tensors[start : start + size]
        padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
        mask = torch.stack([(torch.arange(padded.shape[1]) < len(t)).long() for t in part])
        model(padded, attention_mask=mask)


def serve_reference(name: str, waves: list[np.ndarray], pipe: Connection) -> None:
    """Run in a process of its own, as a user's script would: warm up, then time the ways whenever told to.

    A way far behind the fastest is timed once.
    """
    ways = reference(name, waves)
    with torch.inference_mode():
        next(iter(ways.values()))()
        pipe.send(None)
        while pipe.recv():
            seconds = {label: _timed(way) for label, way in ways.items()}
            pipe.send(seconds)
            ways = {label: way for label, way in ways.items() if seconds[label] < HOPELESS * min(seconds.values())}


def measure(name: str, n_clips: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "audio"
        audio.mkdir()
        write_clips(audio, n_clips)
        first = pipeline(audio, Path(folder) / "first.zarr", name, None)
        loaded, plan = Loaded("cpu", Reporter(quiet=True)), plan_encoders(first)[0]
        encoder = loaded.get(plan)
        raw = loaded.thread.do(lambda: [load_audio(file) for file in sorted(audio.rglob("*.wav"))])
        seconds = sum(map(len, raw)) / SAMPLE_RATE_HZ
        pipe, far = multiprocessing.Pipe()
        waves = [prepare(encoder, wave) for wave in raw]
        child = multiprocessing.get_context("spawn").Process(
            target=serve_reference, args=(name, waves, far), daemon=True
        )
        child.start()
        pipe.recv()
        budget = loaded.thread.do(lambda: calibrate(encoder, raw, Cutting())) or 1
        batch_s = max(budget / SAMPLE_RATE_HZ, 1e-4)
        times: dict[str, list[float]] = {}
        for i in range(rounds):
            pipe.send(True)
            for label, value in pipe.recv().items():
                times.setdefault(label, []).append(value)
            config = pipeline(audio, Path(folder) / f"{i}.zarr", name, batch_s)
            run = lambda config=config: extract(config, Reporter(quiet=True), loaded=loaded)  # noqa: E731
            times.setdefault(OURS, []).append(_timed(run))
        pipe.send(False)
    middle = {label: statistics.median(values) for label, values in times.items()}
    best = min(value for label, value in middle.items() if label != OURS)
    chosen = "alone" if budget == 1 else f"{batch_s:.0f} s"
    cells = ", ".join(f"{label} {seconds / value:.1f}x" for label, value in middle.items())
    print(f"{name}: {cells}; share of the fastest {best / middle[OURS]:.2f} (batches: {chosen})", flush=True)


def _timed(way: Callable[[], Any]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=DEFAULT)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{options.clips} clips of {SHORTEST_S} to {LONGEST_S} s, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for name in options.encoders:
        measure(name, options.clips, options.rounds)


if __name__ == "__main__":
    main()
