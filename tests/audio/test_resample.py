"""Counts and values after resampling to 16 kHz."""

from __future__ import annotations

import importlib.metadata
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from bad_files import tone, write_wav
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxcache.errors import AudioError
from voxcache.extract.audio import RESAMPLER, load, probe
from voxcache.extract.audio.resample import n_resampled, resample, resample_directly

RATES = (7350, 8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 22_255, 44_101)
REUSE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@REUSE
@given(rate_hz=st.sampled_from(RATES), n=st.integers(1, 5000))
def test_probe_and_load_agree_for_every_rate_and_length(tmp_path: Path, rate_hz: int, n: int) -> None:
    """Both give exactly ceil(n * 16000 / rate), computed here in rational numbers."""
    path = write_wav(tmp_path / "a.wav", np.full((n, 1), 1000, "<i2"), rate_hz)
    expected = math.ceil(Fraction(n * 16_000, rate_hz))
    assert probe(path) == expected
    assert len(load(path)) == expected


@REUSE
@given(data=st.data(), rate_hz=st.sampled_from(RATES), n=st.integers(50, 3000))
def test_parts_are_cut_on_the_files_own_grid(tmp_path: Path, data: st.DataObject, rate_hz: int, n: int) -> None:
    """A part equals the same samples written to a file of their own: cut before resampling, on round(s * rate)."""
    samples = np.random.RandomState(n).randint(-20_000, 20_000, (n, 1)).astype("<i2")
    path = write_wav(tmp_path / "a.wav", samples, rate_hz)
    start_s = data.draw(st.floats(0, 0.4 * n / rate_hz))
    end_s = data.draw(st.floats(0.6 * n / rate_hz, n / rate_hz))
    cut = samples[round(start_s * rate_hz) : round(end_s * rate_hz)]
    alone = write_wav(tmp_path / "alone.wav", cut, rate_hz)
    assert probe(path, start_s, end_s) == probe(alone)
    np.testing.assert_array_equal(load(path, start_s, end_s), load(alone))


def test_neighbouring_parts_make_up_the_whole(tmp_path: Path) -> None:
    """At 16 kHz, cutting at any instant and putting the parts together gives the file back."""
    path = write_wav(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    parts = [load(path, None, 0.30001), load(path, 0.30001, 0.777), load(path, 0.777, None)]
    np.testing.assert_array_equal(np.concatenate(parts), load(path))


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(1.5, 2.0), (0.5, 1.2), (0.5, 0.5), (0.50001, 0.50002), (-0.1, 0.5), (1.0, None)]
)
def test_a_part_outside_its_file_is_refused(tmp_path: Path, start_s: float, end_s: float | None) -> None:
    """Bounds past the end, reversed or without a sample between them name the file's length and what was asked."""
    path = write_wav(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    with pytest.raises(AudioError, match=r"a.wav: expected a part of at least one sample within its 1.000 s, got"):
        probe(path, start_s, end_s)


def test_an_end_rounded_past_the_file_is_the_files_end(tmp_path: Path) -> None:
    """Annotations are rounded: up to 10 ms past the end mean the end."""
    path = write_wav(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    assert probe(path, 0.5, 1.01) == 8000


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_and_level(rate_hz: int) -> None:
    """A 1 kHz sine sampled at any rate becomes the same sine sampled at 16 kHz, but for the edges."""
    seconds = np.arange(rate_hz) / rate_hz
    out = resample(np.sin(2 * np.pi * 1000 * seconds).astype(np.float32), rate_hz)
    expected = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(out[200:-200], expected[200:-200], atol=2e-3)


@pytest.mark.parametrize("rate_hz", [7350, 8000, 44_100, 48_000])
def test_values_are_those_of_torchaudio(rate_hz: int) -> None:
    """resample() gives the values of torchaudio's Resample with the stated settings, called without our padding."""
    import torch
    import torchaudio

    wave = np.random.RandomState(0).standard_normal(rate_hz // 2).astype(np.float32)
    theirs = torchaudio.transforms.Resample(rate_hz, 16_000, "sinc_interp_hann", lowpass_filter_width=6, rolloff=0.99)
    np.testing.assert_allclose(resample(wave, rate_hz), theirs(torch.from_numpy(wave)).numpy(), atol=2e-6)


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 48_000])
def test_the_formula_and_torchaudio_agree(rate_hz: int) -> None:
    """The route for rates with huge kernels gives what torchaudio does, up to torchaudio's float32 phase."""
    wave = np.random.RandomState(1).standard_normal(rate_hz).astype(np.float32)
    np.testing.assert_allclose(resample_directly(wave, rate_hz), resample(wave, rate_hz), atol=5e-5)


def test_counts_stay_exact_past_float32() -> None:
    """torchaudio rounds lengths in float32, off from 2**24 samples on; ours are exact at 20 minutes and a sample."""
    n = 20 * 60 * 44_100 + 1
    out = resample(np.ones(n, np.float32), 44_100)
    assert len(out) == n_resampled(n, 44_100) == math.ceil(Fraction(n * 16_000, 44_100))


def test_the_resampler_is_named_with_its_version() -> None:
    """The cache key's part says method, width, roll-off and torchaudio's major.minor version."""
    release = ".".join(importlib.metadata.version("torchaudio").split(".")[:2])
    assert f"torchaudio-{release}/sinc_interp_hann/width6/rolloff0.99" == RESAMPLER
