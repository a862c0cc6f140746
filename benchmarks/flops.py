"""Floating point operations that encoders need for a second of audio, counted by torch on tensors without data.

    python benchmarks/flops.py [ENCODER ...] [--clip-s 7.2]

A multiplication and an addition count as two. Nothing is computed, so that the largest encoders take no longer than the smallest.
Prints GFLOP a second of audio in clips of that length, and the hours that a number of audio hours take at a given rate.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from voxcache.extract.encoders.base import SAMPLE_RATE_HZ
from voxcache.extract.encoders.checkpoints import build, to_config
from voxcache.extract.encoders.registry import ENCODERS

TEN = ("wav2vec2-base", "hubert-base", "wavlm-base", "unispeech-sat-base", "data2vec-audio-base", "hubert-large", "wavlm-large",
       "unispeech-sat-large", "data2vec-audio-large", "mms-300m")  # fmt: skip


def gflop_a_second(name: str, clip_s: float) -> float:
    """Return GFLOP for a second of audio."""
    model = build(to_config(ENCODERS.get(name).config)).eval()
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):  # weight norm, which tensors without data do not have
            parametrize.remove_parametrizations(module, "weight")
    model = model.to("meta")
    wave = torch.zeros(1, int(clip_s * SAMPLE_RATE_HZ), device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(wave)
    return float(counter.get_total_flops() / clip_s / 1e9)


def main() -> None:
    """Parse the command line and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=TEN)
    parser.add_argument("--clip-s", type=float, default=7.2)
    parser.add_argument("--hours", type=float, default=2000, help="hours of audio")
    parser.add_argument(
        "--tflops", type=float, default=20, help="rate that the device reaches in practice, an assumption"
    )
    options = parser.parse_args()
    total = 0.0
    for name in options.encoders:
        found = gflop_a_second(name, options.clip_s)
        total += found
        print(f"{name}: {found:.1f} GFLOP a second of audio")
    hours = total * options.hours / options.tflops / 1000
    print(f"in all {total:.0f}; {options.hours:.0f} h of audio at {options.tflops:g} TFLOP/s take {hours:.1f} h")


if __name__ == "__main__":
    main()
