"""emotion2vec against funasr's implementation on the clip alone, and against itself in other batches."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxcache.errors import CheckpointError, ConfigError, EncoderError
from voxcache.extract.embed import Cutting, embed, prepare
from voxcache.extract.encoders import emotion2vec_model
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.emotion2vec import BASE, ENTRIES, LARGE, Shape
from voxcache.extract.encoders.emotion2vec_encoder import Emotion2vecEncoder, load_emotion2vec
from voxcache.extract.encoders.emotion2vec_model import Emotion2vec, slopes
from voxcache.extract.encoders.exactness import TOLERANCE, collect, compare, compare_alone
from voxcache.store.schema import Products

State = Mapping[str, torch.Tensor]
SMALL = Shape(dim=48, n_heads=12, n_prenet=2, n_main=3, n_channels=32)
SHAPES = {"12 heads": SMALL, "4 heads": replace(SMALL, n_heads=4, dim=32)}


def load(shape: Shape, *, weights: str = "random", **rest: Any) -> Emotion2vecEncoder:
    """An encoder of the true architecture at another size, as the registry would load it."""
    card = replace(ENTRIES["emotion2vec-base"].card, dim=shape.dim, n_layers=1 + shape.n_prenet + shape.n_main)
    request = Request(name=card.name, weights=weights, **rest)
    return load_emotion2vec(request, card, "cpu", shape=shape, file="emotion2vec_base.pt")


def moved(shape: Shape) -> Emotion2vecEncoder:
    """The same with every parameter away from its initial value, as trained ones are; one head's ALiBi below zero."""
    encoder = load(shape)
    draw = torch.Generator().manual_seed(1)
    for parameter in encoder._model.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    encoder._model.audio.alibi_scale[0, 0, :3, 0, 0] = torch.tensor([-0.5, 0.3, 2.0])
    return encoder


@pytest.fixture(scope="module", params=list(SHAPES))
def small(request: pytest.FixtureRequest) -> Emotion2vecEncoder:
    """A small model."""
    return moved(SHAPES[request.param])


def shape_of(encoder: Emotion2vecEncoder) -> Shape:
    """The shape a small model was built with."""
    return next(shape for shape in SHAPES.values() if shape.dim == encoder.card.dim)


def noise(n_samples: int, seed: int = 0, loudness: float = 0.1) -> torch.Tensor:
    """Noise off its zero line."""
    return loudness * (0.2 + torch.randn(n_samples, generator=torch.Generator().manual_seed(seed)))


def funasr_model(shape: Shape) -> Any:
    """funasr's model of the same shape, every other setting as in its template for emotion2vec_base; or skip."""
    reference = pytest.importorskip("funasr.models.emotion2vec.model", exc_type=ImportError)
    spec = f"[({shape.n_channels}, 10, 5)] + [({shape.n_channels}, 3, 2)] * 4 + [({shape.n_channels}, 2, 2)] * 2"
    audio = {
        "type": "AUDIO", "prenet_depth": shape.n_prenet, "prenet_layerdrop": 0.05, "prenet_dropout": 0.1,
        "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "num_extra_tokens": shape.n_extra,
        "init_extra_token_zero": True, "local_grad_mult": 1.0, "use_alibi_encoder": True, "alibi_scale": 1.0,
        "learned_alibi": False, "learned_alibi_scale": True, "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False, "num_alibi_heads": shape.n_heads, "model_depth": shape.n_main,
        "extractor_mode": "layer_norm", "feature_encoder_spec": spec, "conv_pos_width": 95, "conv_pos_groups": 16,
        "conv_pos_depth": 5, "conv_pos_pre_ln": False,
        "decoder": {"decoder_dim": 32, "decoder_groups": 16, "decoder_kernel": 7, "decoder_layers": 4,
                    "input_dropout": 0.1, "add_positions_masked": False, "add_positions_all": False,
                    "decoder_residual": True, "projection_layers": 1, "projection_ratio": 2.0},
    }  # fmt: skip
    config = {
        "depth": shape.n_main, "num_heads": shape.n_heads, "embed_dim": shape.dim, "mlp_ratio": 4.0, "norm_eps": 1e-5,
        "norm_affine": True, "encoder_dropout": 0.1, "post_mlp_drop": 0.1, "attention_dropout": 0.1,
        "activation_dropout": 0.0, "dropout_input": 0.0, "layerdrop": 0.05, "layer_norm_first": False,
        "end_of_block_targets": False, "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "normalize": True,
        "modalities": {"audio": audio},
    }  # fmt: skip
    return reference.Emotion2vec(model_conf=config, vocab_size=9).eval()


def with_weights(model: Any, state: State) -> Any:
    """Give funasr's model our weights; only its decoder and classifier keep their own."""
    missing, unexpected = model.load_state_dict(dict(state), strict=False)
    assert not unexpected
    assert all(key.startswith(("modality_encoders.AUDIO.decoder.", "proj.")) for key in missing)
    return model


@torch.no_grad()
def reference_layers(model: Any, wave: torch.Tensor, n_padding: int = 0) -> list[torch.Tensor]:
    """Every layer as funasr computes it, extra tokens dropped: [frame, dim]; with padding and its mask if asked for."""
    blocks = [*model.modality_encoders["AUDIO"].context_encoder.blocks, *model.blocks]
    heard: list[torch.Tensor] = []
    hooks = [blocks[0].register_forward_pre_hook(lambda _block, inputs: heard.append(inputs[0]))]
    hooks += [block.register_forward_hook(lambda _block, _inputs, out: heard.append(out[0])) for block in blocks]
    source = torch.nn.functional.layer_norm(wave, wave.shape)
    source = torch.nn.functional.pad(source, (0, n_padding))[None]
    mask = (torch.arange(source.shape[1]) >= len(wave))[None] if n_padding else None
    last = model.extract_features(source, padding_mask=mask)["x"][0]
    for hook in hooks:
        hook.remove()
    layers = [states[0, 10:] for states in heard]
    assert torch.equal(layers[-1], last)
    n_frames = ENTRIES["emotion2vec-base"].card.frame.n_frames(len(wave))
    return [layer[:n_frames] for layer in layers]


@pytest.mark.parametrize(("n_samples", "loudness"), [(400, 0.1), (719, 1e-3), (16_000, 1e-3), (33_333, 0.5)])
def test_alone_equals_funasr(small: Emotion2vecEncoder, n_samples: int, loudness: float) -> None:
    """Every layer of a clip run alone, loud or so quiet that the epsilon matters, is that of funasr's implementation."""
    model = with_weights(funasr_model(shape_of(small)), small._model.state_dict())
    wave = noise(n_samples, loudness=loudness)
    ours = collect(small, [torch.from_numpy(prepare(small, wave.numpy()))])
    errors = compare(ours, [reference_layers(model, wave)])
    assert len(errors.frames) == small.card.n_layers
    assert errors.worst <= TOLERANCE


@pytest.mark.full_size
@pytest.mark.parametrize(("name", "shape"), [("emotion2vec-base", BASE), ("emotion2vec-plus-large", LARGE)])
def test_full_size_equals_funasr(name: str, shape: Shape) -> None:
    """The published sizes with random weights: every layer is that of funasr's implementation."""
    encoder = ENTRIES[name].load(Request(name=name, weights="random"), ENTRIES[name].card, "cpu")
    assert isinstance(encoder, Emotion2vecEncoder)
    model = with_weights(funasr_model(shape), encoder._model.state_dict())
    wave = noise(24_000)
    ours = collect(encoder, [torch.from_numpy(prepare(encoder, wave.numpy()))])
    assert compare(ours, [reference_layers(model, wave)]).worst <= TOLERANCE


def test_a_long_clip_is_standardised_whole(small: Emotion2vecEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip that runs in windows is standardised over all its samples first, as the release does it."""
    wave = torch.cat([noise(33_000, loudness=1e-3), noise(33_000, seed=1, loudness=0.5)])
    cutting = Cutting(max_s=1.0, overlap_s=0.2, budget_samples=10**6)
    ours = embed(small, [wave.numpy()], cutting=cutting, products=Products()).pooled
    whole = torch.nn.functional.layer_norm(wave, wave.shape).numpy()
    monkeypatch.setattr(small, "card", replace(small.card, normalise=False))
    expected = embed(small, [whole], cutting=cutting, products=Products()).pooled
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(400, 240_000), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_any_batch_equals_alone(small: Emotion2vecEncoder, lengths: list[int], seed: int) -> None:
    """Clips of any lengths in any order come out of one batch as they do alone, at every layer."""
    errors = compare_alone(small, [noise(n, seed + i) for i, n in enumerate(lengths)])
    assert errors.worst <= TOLERANCE


def test_clips_of_one_length_equal_alone(small: Emotion2vecEncoder) -> None:
    """A batch without padding, which takes another way through attention, gives the same."""
    assert compare_alone(small, [noise(9_000, seed) for seed in range(3)]).worst <= TOLERANCE


def test_without_zeroing_padding_moves_it(small: Emotion2vecEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, the stacked positional convolutions carry padding into a clip's frames: the tests above can fail."""
    monkeypatch.setattr(emotion2vec_model, "_past", lambda _n_frames, _features: None)
    assert compare_alone(small, [noise(8_000), noise(32_000)]).worst > 1e-3


def test_funasr_itself_is_moved_by_padding(small: Emotion2vecEncoder) -> None:
    """The reference, padded and told so by its mask, is off by far more than the tolerance."""
    model = with_weights(funasr_model(shape_of(small)), small._model.state_dict())
    wave = noise(8_000)
    padded = reference_layers(model, wave, n_padding=24_000)
    assert compare([padded], [reference_layers(model, wave)]).worst > 1e-3


@pytest.mark.parametrize("name", list(ENTRIES))
def test_published_sizes(name: str) -> None:
    """Parameters have the names, number and shapes of the published checkpoints (183 tensors without the classifier)."""
    card = ENTRIES[name].card
    with torch.device("meta"):
        model = Emotion2vec(LARGE if name.endswith("large") else BASE)
    state, audio = model.state_dict(), "modality_encoders.AUDIO"
    dim = {"emotion2vec-plus-large": 1024}.get(name, 768)
    assert card.dim == dim
    assert card.n_layers == 13
    assert card.n_parameters == sum(tensor.numel() for tensor in state.values())
    assert len(state) == 183
    assert state[f"{audio}.alibi_scale"].shape == (1, 1, dim // 64, 1, 1)
    assert state[f"{audio}.extra_tokens"].shape == (1, 10, dim)
    assert state[f"{audio}.local_encoder.conv_layers.6.0.weight"].shape == (512, 512, 2)
    assert state[f"{audio}.local_encoder.conv_layers.6.2.1.bias"].shape == (512,)
    assert state[f"{audio}.project_features.2.weight"].shape == (dim, 512)
    assert state[f"{audio}.relative_positional_encoder.5.0.weight"].shape == (dim, dim // 16, 19)
    assert state[f"{audio}.context_encoder.blocks.3.mlp.fc1.weight"].shape == (4 * dim, dim)
    assert state["blocks.7.attn.qkv.weight"].shape == (3 * dim, dim)


def test_slopes_of_eight_heads() -> None:
    """ALiBi's slopes for 8 heads are 1/2 to 1/256 (Press et al. 2022, section 3)."""
    assert torch.equal(slopes(8), 0.5 ** torch.arange(1, 9))


class Anything:
    """Stands in checkpoints for the configuration classes of the training framework."""


def spring(file: str) -> None:
    """What the trap does when it is unpickled by the book."""
    Path(file).touch()


class Trap:
    """Names a function to be run by whoever unpickles it."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, (self.file,)


def authors_file(path: Path, state: State, *, prefix: str = "", trap: Path | None = None) -> Path:
    """A checkpoint as fairseq writes it: decoder, teacher and classifier, options and optimizer beside the tensors."""
    leftovers = {"modality_encoders.AUDIO.decoder.blocks.0.0.weight": torch.zeros(2), "_ema.x": torch.zeros(2)}
    model = {f"{prefix}{key}": value for key, value in {**state, **leftovers}.items()}
    content: dict[str, object] = {
        "args": argparse.Namespace(lr=0.1),
        "cfg": Anything(),
        "extra_state": {"trap": Trap(trap)} if trap else {},
        "model": {**model, "proj.weight": torch.zeros(9, 48), "proj.bias": torch.zeros(9)},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }
    torch.save(content, path)
    return path


@pytest.mark.parametrize("prefix", ["", "d2v_model."], ids=["base", "plus"])
def test_loads_the_authors_checkpoint(tmp_path: Path, prefix: str) -> None:
    """The authors' files load as they are, pre-trained or fine-tuned, and nothing in them is run."""
    state, trap = moved(SMALL)._model.state_dict(), tmp_path / "trap"
    file = authors_file(tmp_path / "model.pt", state, prefix=prefix, trap=trap)
    loaded = load(SMALL, weights=str(file))
    assert not trap.exists()
    assert all(torch.equal(value, state[key]) for key, value in loaded._model.state_dict().items())
    assert loaded.weights_origin == "local:model.pt"
    torch.load(file, weights_only=False)
    assert trap.exists(), "the trap works"


def test_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """Missing and left-over tensors are named; another size is refused by shape."""
    state = dict(load(SMALL)._model.state_dict())
    state["blocks.7.norm1.weight"] = state.pop("blocks.0.norm1.weight")
    with pytest.raises(CheckpointError) as caught:
        load(SMALL, weights=str(authors_file(tmp_path / "model.pt", state)))
    assert "1 missing (blocks.0.norm1.weight)" in str(caught.value)
    assert "1 left over (blocks.7.norm1.weight)" in str(caught.value)
    with pytest.raises(CheckpointError, match="of another shape"):
        load(SHAPES["4 heads"], weights=str(authors_file(tmp_path / "model.pt", load(SMALL)._model.state_dict())))


def test_weights_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the card's repository is asked for at the revision wanted, and its commit is the origin."""
    file = authors_file(tmp_path / "model.pt", load(SMALL)._model.state_dict())
    asked: list[tuple[object, ...]] = []

    def fake(repository: str, name: str, *, revision: str | None) -> str:
        """Fakes huggingface_hub's download: the file is there."""
        asked.append((repository, name, revision))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake)
    loaded = load(SMALL, weights="hub", revision="abc")
    assert asked == [("emotion2vec/emotion2vec_base", "emotion2vec_base.pt", "abc")]
    assert loaded.weights_origin == f"hub:emotion2vec/emotion2vec_base@{tmp_path.name}"


def test_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline and not in the cache, it says which file to get."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match=r"expected emotion2vec_base\.pt in that repository or in the local cache"):
        load(SMALL, weights="hub")


def test_refuses_options() -> None:
    """It has no options."""
    with pytest.raises(ConfigError, match="options: expected none, got layout"):
        load(SMALL, options={"layout": "time"})


def test_bfloat16_stays_close(small: Emotion2vecEncoder) -> None:
    """In bfloat16, in a padded batch, pooled embeddings stay within 5 % of float32."""
    half = load(shape_of(small), dtype="bfloat16")
    half._model.load_state_dict(small._model.state_dict())
    waves = [noise(16_000), noise(5_000)]
    assert 1e-5 < max(compare(collect(half, waves), collect(small, waves)).pooled) < 0.05
