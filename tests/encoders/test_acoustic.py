"""Log-mel, MFCC and openSMILE against formulas and programs that are not ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from tiny_models import noise

from voxcache.errors import EncoderError
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.exactness import TOLERANCE, collect, compare_alone, relative_error
from voxcache.extract.encoders.registry import load, resolve


def mel_by_hand(wave: np.ndarray) -> np.ndarray:
    """Return [frame, 40] log-mel energies from the formulas: Hann window, power spectrum, HTK triangles, 0-8000 Hz."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([wave[k : k + 400] for k in range(0, len(wave) - 399, 160)]).astype(np.float64)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
    hz = np.arange(201) * 40.0
    rising = (hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz[:, None]) / (edges[2:] - edges[1:-1])
    return np.log(power @ np.clip(np.minimum(rising, falling), 0, None) + np.finfo(np.float32).eps)


def test_logmel_equals_the_formulas() -> None:
    """Log-mel energies are those of the textbook formulas, in float64, to 1e-5."""
    wave = 0.1 * noise(12_345)
    ours = collect(load(Request(name="logmel")), [wave])[0][0]
    assert relative_error(ours, torch.from_numpy(mel_by_hand(wave.numpy()))) <= TOLERANCE


def test_mfcc_is_the_orthonormal_dct_of_logmel() -> None:
    """MFCC are the first 13 coefficients of SciPy's orthonormal DCT-II of the log-mel energies."""
    wave = 0.1 * noise(9_000)
    ours = collect(load(Request(name="mfcc")), [wave])[0][0]
    reference = dct(mel_by_hand(wave.numpy()), type=2, norm="ortho")[:, :13]
    assert relative_error(ours, torch.from_numpy(reference)) <= TOLERANCE


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 60_000), min_size=1, max_size=5), name=st.sampled_from(["logmel", "mfcc"]))
def test_spectral_features_do_not_depend_on_the_batch(lengths: list[int], name: str) -> None:
    """Clips of any lengths, down to one sample, have the same features alone and in a batch, and the frames promised."""
    encoder = load(Request(name=name))
    waves = [0.1 * noise(n, i) for i, n in enumerate(lengths)]
    assert compare_alone(encoder, waves).worst <= TOLERANCE
    counts = [len(layers[0]) for layers in collect(encoder, waves)]
    assert counts == [(max(n, 400) - 400) // 160 + 1 for n in lengths]


def test_eight_seconds_have_798_frames() -> None:
    """8 s at 16 kHz give 798 frames of 25 ms every 10 ms, as Kaldi's framing does."""
    assert resolve(Request(name="logmel"))[0].frame.n_frames(128_000) == 798


@pytest.mark.parametrize("name", ["logmel", "opensmile-egemaps"])
def test_computed_features_take_no_weights(name: str) -> None:
    """Asking for weights where nothing is learned is an error, not ignored."""
    pytest.importorskip("opensmile")
    with pytest.raises(EncoderError, match=rf"{name}, weights 'random': expected none"):
        load(Request(name=name, weights="random"))


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("opensmile-egemaps", 88),
        ("opensmile-compare", 6373),
        ("opensmile-egemaps-lld", 25),
        ("opensmile-compare-lld", 65),
    ],
)
def test_opensmile_equals_the_package(name: str, dim: int) -> None:
    """Features in a batch are what the opensmile package gives for each clip, in number and value."""
    opensmile = pytest.importorskip("opensmile")
    encoder = load(Request(name=name))
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02 if "egemaps" in name else opensmile.FeatureSet.ComParE_2016,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors
        if "lld" in name
        else opensmile.FeatureLevel.Functionals,
    )
    waves = [0.1 * noise(n, n) for n in (960, 16_001, 4_000, 1_119, 1_120)]
    for wave, layers in zip(waves, collect(encoder, waves), strict=True):
        reference = smile.process_signal(wave.numpy(), 16_000).to_numpy()
        assert layers[0].shape == reference.shape
        assert reference.shape[1] == dim
        np.testing.assert_array_equal(layers[0].numpy(), reference)


@pytest.mark.parametrize("name", ["opensmile-egemaps", "opensmile-egemaps-lld"])
@pytest.mark.parametrize("n_samples", [1, 400, 799, 800, 959])
def test_opensmile_on_very_short_clips_is_finite(name: str, n_samples: int) -> None:
    """Clips below openSMILE's shortest are followed by silence up to it, and give one vector of finite numbers."""
    pytest.importorskip("opensmile")
    layers = collect(load(Request(name=name)), [0.1 * noise(n_samples)])[0]
    assert len(layers[0]) == 1
    assert torch.isfinite(layers[0]).all()
