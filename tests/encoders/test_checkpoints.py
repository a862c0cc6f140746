"""Weights: read whole or refused, named by content, random ones reproducible."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import noise, shaken, tiny_config

from voxcache.errors import CheckpointError, EncoderError
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.checkpoints import build, to_config
from voxcache.extract.encoders.exactness import collect, compare
from voxcache.extract.encoders.registry import fingerprint, load, resolve
from voxcache.extract.encoders.weights import read_state, seeded, state_sha256


def save(folder: Path, architecture: str, *, normalise: bool | None = None) -> Any:
    """Save a small model as transformers does; returns it."""
    model = shaken(build(to_config(tiny_config(architecture))))
    model.save_pretrained(folder)
    if normalise is not None:
        extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": normalise}
        (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return model


def edit(folder: Path, change: Any) -> None:
    """Apply `change` to the tensors of a saved model."""
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "architecture",
    ["wav2vec2, group norm", "hubert, layer norm, stable", "wavlm, group norm", "unispeech-sat, group norm",
     "data2vec, stacked positional convolutions"],
)  # fmt: skip
def test_a_saved_folder_loads_with_its_own_facts(tmp_path: Path, architecture: str) -> None:
    """A folder from save_pretrained runs with dimension, depth and normalisation read from its JSON files."""
    model = save(tmp_path / "mine", architecture, normalise=False)
    encoder = load(Request(name=str(tmp_path / "mine")))
    card = encoder.card
    assert (card.name, card.source, card.dim, card.n_layers, card.normalise) == ("mine", "local:mine", 32, 4, False)
    assert encoder.weights_origin == "local:mine"
    wave = noise(5_000)
    with torch.no_grad():
        last = model(wave[None]).last_hidden_state[0]
    torch.testing.assert_close(collect(encoder, [wave])[0][-1], last, rtol=1e-4, atol=1e-5)


def test_training_heads_are_dropped(tmp_path: Path) -> None:
    """A pre-training checkpoint, with quantizer and projections under a prefix, gives the encoder's weights alone."""
    from transformers import Wav2Vec2ForPreTraining

    config = to_config({**tiny_config("wav2vec2, group norm"), "codevector_dim": 16, "proj_codevector_dim": 16})
    whole = shaken(Wav2Vec2ForPreTraining(config))
    whole.save_pretrained(tmp_path / "pretraining")
    whole.wav2vec2.save_pretrained(tmp_path / "bare")
    hashes = [load(Request(name=str(tmp_path / name))).weights_sha256 for name in ("pretraining", "bare")]
    assert hashes[0] == hashes[1]


def test_whisper_encoder_from_a_whole_model(tmp_path: Path) -> None:
    """From a checkpoint with a decoder, the encoder's tensors are taken as they are."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
    small = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 48, "vocab_size": 99}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    whole = shaken(WhisperForConditionalGeneration(WhisperConfig(**sizes, **small, **tokens)))
    whole.save_pretrained(tmp_path / "whole")
    expected = state_sha256(whole.model.encoder.state_dict())
    assert load(Request(name=str(tmp_path / "whole"))).weights_sha256 == expected
    edit(tmp_path / "whole", lambda state: state.pop("model.encoder.layers.1.fc1.bias"))
    with pytest.raises(CheckpointError, match=r"1 missing \(layers\.1\.fc1\.bias\)"):
        load(Request(name=str(tmp_path / "whole")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.layers.2.attention.k_proj.bias"), r"1 missing \(encoder\.layers\.2\.attention\.k_proj\.bias\)"),
        (lambda s: s.update({"encoder.layers.9.oops": torch.ones(2)}), r"1 left over \(encoder\.layers\.9\.oops\)"),
        (lambda s: s.update({"encoder.layer_norm.bias": torch.ones(5)}), r"1 of another shape \(encoder\.layer_norm\.bias"),
    ],
)  # fmt: skip
def test_misfits_are_refused_by_key(tmp_path: Path, change: Any, message: str) -> None:
    """A checkpoint with a key missing, left over or of another shape is refused, and the key named."""
    save(tmp_path / "mine", "hubert, group norm")
    edit(tmp_path / "mine", change)
    with pytest.raises(CheckpointError, match=message):
        load(Request(name=str(tmp_path / "mine")))


def test_another_size_under_a_registry_name_is_refused(tmp_path: Path) -> None:
    """Weights of 32 dimensions offered as hubert-base are refused with both sizes."""
    save(tmp_path / "mine", "hubert, group norm")
    with pytest.raises(CheckpointError, match="13 layers of 768, got 4 of 32"):
        load(Request(name="hubert-base", weights=str(tmp_path / "mine")))


def test_another_frame_rate_under_a_registry_name_is_refused(tmp_path: Path) -> None:
    """Weights with other strides, which give other frame counts, are refused with both."""
    small = {"num_hidden_layers": 4, "hidden_size": 128, "conv_stride": [5, 2, 2, 2, 2, 2, 1]}
    build(to_config({**tiny_config("wav2vec2, group norm"), **small})).save_pretrained(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"strides \(5, 2, 2, 2, 2, 2, 2\), got .* and \[5, 2, 2, 2, 2, 2, 1\]"):
        load(Request(name="wav2vec2-mini", weights=str(tmp_path / "mine")))


def test_single_files_fit_or_are_refused(tmp_path: Path) -> None:
    """A file of tensors, safetensors or torch, saved under a prefix, loads into the published architecture."""
    made = load(Request(name="wav2vec2-mini", seed=3))
    state = {f"wav2vec2.{name}": tensor for name, tensor in build_mini(3).state_dict().items()}
    save_file(state, tmp_path / "mini.safetensors")
    torch.save({"model": state}, tmp_path / "mini.pt")
    for file in ("mini.safetensors", "mini.pt"):
        encoder = load(Request(name="wav2vec2-mini", weights=str(tmp_path / file)))
        assert (encoder.weights_sha256, encoder.weights_origin) == (made.weights_sha256, f"local:{file}")
    del state["wav2vec2.encoder.layer_norm.bias"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(CheckpointError, match=r"wav2vec2-mini from local:short\.safetensors.*1 missing"):
        load(Request(name="wav2vec2-mini", weights=str(tmp_path / "short.safetensors")))


def build_mini(seed: int) -> Any:
    """Build wav2vec2-mini as its loader does."""
    with seeded(seed):
        return build(to_config(resolve(Request(name="wav2vec2-mini"))[1].config))


class Evil:
    """What a pickle can carry: a call made on loading."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle with a call in it is refused unread."""
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"model": Evil()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pt: expected a safetensors file"):
        read_state(tmp_path / "evil.pt")
    assert "never run" not in capsys.readouterr().out


def test_random_weights_follow_from_the_seed_alone() -> None:
    """The same seed gives the same weights whatever was drawn before, another seed others, and nobody else's draws move."""
    torch.manual_seed(1)
    first = load(Request(name="wav2vec2-mini", seed=7))
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    torch.rand(99)
    assert load(Request(name="wav2vec2-mini", seed=7)).weights_sha256 == first.weights_sha256
    assert load(Request(name="wav2vec2-mini", seed=8)).weights_sha256 != first.weights_sha256
    assert first.weights_origin == "random:seed=7"


def test_hash_sees_name_type_shape_and_bytes() -> None:
    """The hash of tensors changes with any of name, type, shape or one value, and not with their order."""
    base = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    assert state_sha256(base) == state_sha256(dict(reversed(base.items())))
    others = [
        {"c": base["a"], "b": base["b"]},
        {"a": base["a"].half(), "b": base["b"]},
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"].index_fill(0, torch.tensor(0), 1e-30), "b": base["b"]},
    ]
    assert len({state_sha256(state) for state in [base, *others]}) == 5


def test_hub_cache_is_used_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in the Hugging Face cache loads without a network, and its commit stands in origin and fingerprint."""
    commit = "c" * 40
    repository = tmp_path / "models--someone--mine"
    save(repository / "snapshots" / commit, "wavlm, group norm", normalise=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    request = Request(name="someone/mine")
    encoder = load(request)
    assert encoder.weights_origin == f"hub:someone/mine@{commit}"
    assert (encoder.card.source, encoder.card.normalise) == ("someone/mine", True)
    assert fingerprint(request)["weights"] == {"kind": "hub", "id": "someone/mine", "revision": None, "commit": commit}


def test_what_is_not_in_the_cache_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, a model that is not cached is an error with the next step, by registry name and by hub id."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match=r"someone/other.*not in the Hugging Face cache.*hf download someone/other"):
        load(Request(name="someone/other"))
    with pytest.raises(EncoderError, match=r"hubert-base, weights hub:facebook/hubert-base-ls960.*local folder"):
        load(Request(name="hubert-base"))


def test_missing_path_is_named() -> None:
    """A path that is not there is an error that says so."""
    with pytest.raises(CheckpointError, match=r"weights '/nowhere/x\.pt': expected hub, random, a folder or a file"):
        load(Request(name="hubert-base", weights="/nowhere/x.pt"))


def test_changed_file_changes_the_fingerprint(tmp_path: Path) -> None:
    """The fingerprint of a local folder follows the sizes and times of its files, without their content being read."""
    save(tmp_path / "mine", "hubert, group norm")
    request = Request(name=str(tmp_path / "mine"))
    before = fingerprint(request)
    assert fingerprint(request) == before
    edit(tmp_path / "mine", lambda state: state.update({"encoder.layer_norm.bias": torch.full((32,), 2.0)}))
    assert fingerprint(request) != before


def test_half_precision_keeps_the_weights_hash(tmp_path: Path) -> None:
    """The hash names the checkpoint, so it is the same whatever precision the encoder runs in."""
    whole = load(Request(name="wav2vec2-mini"))
    half = load(Request(name="wav2vec2-mini", dtype="bfloat16"))
    assert half.weights_sha256 == whole.weights_sha256
    assert 0 < max(compare(collect(half, [noise(9_000)]), collect(whole, [noise(9_000)])).pooled) < 5e-2
