"""Audio-Mamba against its architecture written out plainly in float64, and against itself in other batches."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from voxcache.errors import CheckpointError, ConfigError, EncoderError
from voxcache.extract.encoders.audio_mamba import ENTRIES, FRAME
from voxcache.extract.encoders.audio_mamba_encoder import AudioMambaEncoder
from voxcache.extract.encoders.base import Request, Scalar
from voxcache.extract.encoders.exactness import TOLERANCE, collect, compare, compare_alone
from voxcache.extract.encoders.weights import state_sha256

State = Mapping[str, torch.Tensor]
TINY = "audio-mamba-tiny"
EPS = torch.finfo(torch.float32).eps


def load(name: str = TINY, *, weights: str = "random", seed: int = 0, **rest: object) -> AudioMambaEncoder:
    """An encoder as the registry would load it."""
    entry = ENTRIES[name]
    encoder = entry.load(Request(name=name, weights=weights, seed=seed, **rest), entry.card, "cpu")  # type: ignore[arg-type]
    assert isinstance(encoder, AudioMambaEncoder)
    return encoder


@pytest.fixture(scope="module")
def tiny() -> AudioMambaEncoder:
    """Audio-Mamba tiny with weights that have left their initial values, as trained ones have."""
    encoder = load()
    draw = torch.Generator().manual_seed(1)
    for parameter in encoder._model.parameters():
        parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    return encoder


def noise(n_samples: int, seed: int = 0) -> torch.Tensor:
    """Noise whose loudness changes, so that windows differ."""
    draw = torch.Generator().manual_seed(seed)
    swell = torch.linspace(0.3, 6.0, n_samples).sin()
    return 0.1 * swell * torch.randn(n_samples, generator=draw)


def hz_to_mel(hz: float) -> float:
    """HTK's mel scale."""
    return 2595 * math.log10(1 + hz / 700)


def reference_log_mel(wave: torch.Tensor) -> torch.Tensor:
    """HTK mel of a centred, reflected STFT with a periodic Hann window, in float64: [frame, mel]."""
    padded = torch.cat([wave[1:201].flip(0), wave, wave[-201:-1].flip(0)]).double()
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(400, dtype=torch.float64) / 400)
    frames = torch.stack([padded[i : i + 400] * window for i in range(0, len(padded) - 399, 160)])
    power = torch.fft.rfft(frames).abs() ** 2
    mels = torch.linspace(hz_to_mel(50), hz_to_mel(8000), 82, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = torch.linspace(0, 8000, 201, dtype=torch.float64)
    filters = [
        torch.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)).clamp(min=0)
        for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    return (power @ torch.stack(filters, 1) + EPS).log()


def reference_mixer(p: State, x: torch.Tensor) -> torch.Tensor:
    """Mamba's inner block on [window, token, dim], one token after the other."""
    inner, rank = p["D"].shape[0], p["dt_proj.weight"].shape[1]
    u, z = (x @ p["in_proj.weight"].T).split(inner, -1)
    past = torch.cat([u.new_zeros(len(u), 3, inner), u], 1)
    u = p["conv1d.bias"] + sum(past[:, k : k + u.shape[1]] * p["conv1d.weight"][:, 0, k] for k in range(4))
    u = u / (1 + torch.exp(-u))
    low, B, C = (u @ p["x_proj.weight"].T).split([rank, 24, 24], -1)  # noqa: N806
    step = torch.log1p(torch.exp(low @ p["dt_proj.weight"].T + p["dt_proj.bias"]))
    h, rows = torch.zeros(len(u), inner, 24, dtype=x.dtype), []
    for t in range(u.shape[1]):
        dt = step[:, t, :, None]
        h = torch.exp(-dt * p["A_log"].exp()) * h + dt * B[:, t, None] * u[:, t, :, None]
        rows.append((h @ C[:, t, :, None])[..., 0] + p["D"] * u[:, t])
    return (torch.stack(rows, 1) * z / (1 + torch.exp(-z))) @ p["out_proj.weight"].T


def reference_norm(p: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """Layer norm with its epsilon of 1e-6."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def reference_layers(state: State, wave: torch.Tensor) -> list[torch.Tensor]:
    """Every layer of one clip in float64 as [step, 5 x dim], padded, regrouped and cut as the release does."""
    p = {key: value.double() for key, value in state.items()}
    log = reference_log_mel(wave)
    mel = (log - log.mean()) / (log.std() + 1e-8)
    n_pad = 200 - len(mel) % 200  # a whole window too many where the frames fill the windows; it is cut again below
    windows = torch.cat([mel, mel.new_zeros(n_pad, 80)]).reshape(-1, 200, 80)
    kernel = p["patch_embed.proj.weight"][:, 0]  # [dim, 4 frames, 16 mels]
    tokens = [
        torch.einsum("wfm,dfm->wd", windows[:, 4 * step : 4 * step + 4, 16 * band : 16 * band + 16], kernel)
        for step in range(50)
        for band in range(5)
    ]
    patches = torch.stack(tokens, 1) + p["patch_embed.proj.bias"]
    x = torch.cat([p["cls_token"].expand(len(patches), -1, -1), patches], 1) + p["pos_embed"]
    layers = [x]
    for k in range(12):
        mixer = {key.split("mixer.")[1]: value for key, value in p.items() if key.startswith(f"blocks.{k}.mixer.")}
        x = x + reference_mixer(mixer, reference_norm(p, f"blocks.{k}.norm", x))
        layers.append(x)
    layers[-1] = reference_norm(p, "encoder_norm", x)
    n_cut = int(50 * n_pad / 200)
    return [released(layer[:, 1:])[:-n_cut] if n_cut else released(layer[:, 1:]) for layer in layers]


def released(tokens: torch.Tensor) -> torch.Tensor:
    """The release's regrouping: row k of a window is its tokens k, k + 50, k + 100, k + 150, k + 200."""
    rows = [torch.cat([window[k + 50 * j] for j in range(5)]) for window in tokens for k in range(50)]
    return torch.stack(rows)


@pytest.mark.parametrize(
    "n_samples", [4_000, 2 * 200 * 160 - 160, 10 * 200 * 160 + 12_345], ids=["short", "two windows exactly", "over ten"]
)
def test_equals_the_architecture(tiny: AudioMambaEncoder, n_samples: int) -> None:
    """Every layer is that of the published architecture, computed step by step in float64."""
    wave = noise(n_samples)
    errors = compare(collect(tiny, [wave]), [reference_layers(tiny._model.state_dict(), wave)])
    assert len(errors.frames) == tiny.card.n_layers == 13
    assert errors.worst <= TOLERANCE


@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(201, 80_000), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_any_batch_equals_alone(tiny: AudioMambaEncoder, lengths: list[int], seed: int) -> None:
    """Clips of any lengths in any order come out of one batch as they do alone, at every layer."""
    errors = compare_alone(tiny, [noise(n, seed + i) for i, n in enumerate(lengths)])
    assert errors.worst <= TOLERANCE


def test_batches_larger_than_a_part(tiny: AudioMambaEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many windows run at once changes nothing."""
    wave = noise(5 * 32_000)
    whole = collect(tiny, [wave])
    monkeypatch.setattr(tiny, "_windows_at_once", 2)
    assert compare(collect(tiny, [wave]), whole).worst <= TOLERANCE


def test_frame_rule_for_every_length() -> None:
    """The card's frame count is what the release's padding and cutting leaves, for every length up to 7 s."""
    for n_samples in range(FRAME.receptive_samples, 7 * 16_000):
        n_mel = n_samples // 160 + 1
        n_pad = 200 - n_mel % 200
        n_windows = (n_mel + n_pad) // 200
        assert FRAME.n_frames(n_samples) == 50 * n_windows - int(50 * n_pad / 200), n_samples


@pytest.mark.parametrize("n_samples", [201, 319, 320, 31_839, 31_840, 31_999, 32_000])
def test_frames_are_there(tiny: AudioMambaEncoder, n_samples: int) -> None:
    """As many frames come out as the card promises, around the edge of a window and for the shortest clip."""
    frames = collect(tiny, [noise(n_samples)])[0][-1]
    assert frames.shape == (FRAME.n_frames(n_samples), tiny.card.dim)
    assert frames.isfinite().all()


def test_layouts_hold_the_same_tokens(tiny: AudioMambaEncoder) -> None:
    """`time` gives the 5 bands of each time step; `released` the same bits, regrouped as the release does."""
    in_time = load(options={"layout": "time"})
    in_time._model = tiny._model
    wave = noise(200 * 160 * 2 - 160)
    for ours, theirs in zip(collect(tiny, [wave])[0], collect(in_time, [wave])[0], strict=True):
        tokens = theirs.reshape(2, 250, 192)  # two whole windows: nothing is cut
        assert torch.equal(ours, released(tokens))
    assert tiny.preprocessing["layout"] == "released"
    assert in_time.preprocessing["layout"] == "time"


def test_silence_is_finite(tiny: AudioMambaEncoder) -> None:
    """A silent clip, whose bins have no deviation, gives numbers."""
    assert all(layer.isfinite().all() for layer in collect(tiny, [torch.zeros(16_000)])[0])


@pytest.mark.parametrize("name", list(ENTRIES))
def test_published_sizes(name: str) -> None:
    """Parameters without the masked-prediction head, and feature lengths, are those of the paper's three sizes."""
    encoder = load(name)
    dim = encoder.card.dim // 5
    n_head = dim + dim * (dim + 1) + 64 * (dim + 1)  # mask token, two linear layers
    n_fixed = encoder._model.pos_embed.numel()
    n_parameters = sum(parameter.numel() for parameter in encoder._model.parameters())
    published = {"tiny": 4.8e6, "small": 17.9e6, "base": 69.3e6}[name.rpartition("-")[2]]
    assert n_parameters == encoder.card.n_parameters
    assert abs(n_parameters + n_head - n_fixed - published) < 0.06e6
    assert collect(encoder, [noise(8_000)])[0][0].shape == (
        FRAME.n_frames(8_000),
        {192: 960, 384: 1920, 768: 3840}[dim],
    )


def test_random_weights_follow_the_seed_alone() -> None:
    """The same seed gives the same weights whatever was drawn before, and leaves the global generator as it was."""
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = load(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert load(seed=3).weights_sha256 == first.weights_sha256
    assert load(seed=4).weights_sha256 != first.weights_sha256
    assert first.weights_origin == "random:seed=3"


def test_initialisation_is_mambas() -> None:
    """Rates start at 1 to 24, step sizes between 0.001 and 0.1, the skip at 1 (Gu & Dao 2023, section 3.6)."""
    mixer = load()._model.blocks[5].mixer
    assert torch.allclose(mixer.A_log.exp(), torch.arange(1.0, 25).expand(576, 24))
    steps = torch.nn.functional.softplus(mixer.dt_proj.bias)
    assert 0.001 * 0.999 < steps.min() < 0.002
    assert 0.05 < steps.max() < 0.1 * 1.001
    assert (mixer.D == 1).all()
    assert mixer.out_proj.weight.abs().max() <= (1 / 576) ** 0.5 / 12**0.5


def test_positions_are_two_dimensional() -> None:
    """Position of step s, band b: sin and cos of b over the first half of the features, of s over the second."""
    table = load()._model.pos_embed[0]
    frequency = [10_000 ** (-i / 48) for i in range(48)]
    for step, band in ((0, 0), (7, 3), (49, 4)):
        expected = [f(x * w) for x in (band, step) for f in (math.sin, math.cos) for w in frequency]
        assert torch.allclose(table[1 + 5 * step + band], torch.tensor(expected), atol=1e-5)
    assert not table[0].any()


def authors_file(path: Path, state: State, **changed: torch.Tensor | None) -> Path:
    """A checkpoint as the authors' training script writes it; `changed` replaces keys, None removes them."""
    head = {"mask_token": torch.zeros(1, 1, 192), "pred.0.weight": torch.zeros(192, 192), "pred.0.bias": torch.zeros(192),
            "pred.2.weight": torch.zeros(64, 192), "pred.2.bias": torch.zeros(64)}  # fmt: skip
    full = {**state, **head, **{key.replace("__", "."): value for key, value in changed.items()}}
    kept = {key: value for key, value in full.items() if value is not None}
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in kept.items()}, path)
    else:
        arguments = argparse.Namespace(config="configs.ssam_tiny_200_16x4", lr=1e-4)
        torch.save({"model": kept, "optimizer": {"state": {}}, "epoch": 99, "args": arguments}, path)
    return path


@pytest.mark.parametrize("name", ["checkpoint-99.pth", "tiny.safetensors"])
def test_loads_the_authors_checkpoint(tiny: AudioMambaEncoder, tmp_path: Path, name: str) -> None:
    """The authors' file, arguments and prediction head included, loads as it is; the hash is that of the encoder's part."""
    state = tiny._model.state_dict()
    loaded = load(weights=str(authors_file(tmp_path / name, state)))
    assert all(torch.equal(value, state[key]) for key, value in loaded._model.state_dict().items())
    assert loaded.weights_sha256 == state_sha256(state)
    assert loaded.weights_origin == f"local:{name}"


def test_refuses_what_does_not_fit(tiny: AudioMambaEncoder, tmp_path: Path) -> None:
    """Missing, left-over and resized tensors are named; nothing is loaded in part."""
    changes = {"encoder_norm__bias": None, "pred__4__weight": torch.zeros(1), "cls_token": torch.zeros(1, 1, 384)}
    file = authors_file(tmp_path / "odd.pth", tiny._model.state_dict(), **changes)
    with pytest.raises(CheckpointError) as caught:
        load(weights=str(file))
    assert "1 missing (encoder_norm.bias)" in str(caught.value)
    assert "1 left over (pred.4.weight)" in str(caught.value)
    assert "1 of another shape (cls_token)" in str(caught.value)


def test_weights_that_cannot_be_had(tmp_path: Path) -> None:
    """Without a file it says where the authors publish theirs; a path that is no file, and "none", are refused."""
    with pytest.raises(EncoderError, match=r"drive\.google\.com/.* pass its newest checkpoint"):
        load(weights="hub")
    with pytest.raises(CheckpointError, match="expected hub, random or a checkpoint file"):
        load(weights=str(tmp_path / "absent.pth"))
    with pytest.raises(EncoderError, match="It has weights to load"):
        load(weights="none")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layout": "tme"}, "got 'tme', did you mean 'time'"), ({"lay": "time"}, "option 'lay': expected layout")],
)
def test_refuses_options_it_does_not_have(options: dict[str, Scalar], message: str) -> None:
    """A misspelt option or value is named."""
    with pytest.raises(ConfigError, match=message):
        load(options=options)


def test_bfloat16_stays_close(tiny: AudioMambaEncoder) -> None:
    """In bfloat16 the pooled embedding is within 2 % of float32, and the scan's own parameters keep their bits."""
    half = load(dtype="bfloat16")
    half._model.load_state_dict(tiny._model.state_dict())
    assert half._model.blocks[0].mixer.A_log.dtype == torch.float32
    assert half._model.blocks[0].mixer.in_proj.weight.dtype == torch.bfloat16
    errors = compare(collect(half, [noise(40_000)]), collect(tiny, [noise(40_000)]))
    assert 1e-5 < max(errors.pooled) < 0.02
