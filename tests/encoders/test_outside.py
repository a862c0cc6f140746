"""Encoders that are not ours: modules with the HEAR API, and transformers models of other kinds."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import noise, shaken

from voxcache.errors import ConfigError, EncoderError
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.exactness import collect, compare_alone
from voxcache.extract.encoders.registry import fingerprint, load, resolve

HEAR = """
import torch

class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = 3
    timestamp_embedding_size = 2

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

def load_model(path=""):
    return Model()

def get_scene_embeddings(audio, model):
    return torch.stack([audio.mean(1), audio.std(1), torch.full((len(audio),), float(audio.shape[1]))], 1) * model.scale

def get_timestamp_embeddings(audio, model):
    frames = audio[:, : audio.shape[1] // 100 * 100].unflatten(1, (-1, 100))
    return torch.stack([frames.mean(2), frames.amax(2)], 2), torch.arange(frames.shape[1])[None] * 12.5
"""


@pytest.fixture
def hear_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with the HEAR API that can be imported; its encoder name."""
    (tmp_path / "made_hear.py").write_text(HEAR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "made_hear", raising=False)
    return "hear:made_hear"


def test_hear_scene_embeddings(hear_module: str) -> None:
    """A HEAR module is asked for one clip at a time and gives one vector a clip."""
    encoder = load(Request(name=hear_module))
    assert (encoder.card.dim, encoder.card.n_layers, encoder.batched) == (3, 1, False)
    clips = collect(encoder, [noise(16_000), noise(4_000, 1)])
    assert [clip[0][0, 2].item() for clip in clips] == [32_000.0, 8_000.0]
    assert compare_alone(encoder, [noise(16_000), noise(4_000, 1)]).worst == 0.0


def test_a_hear_module_of_another_rate_is_refused(hear_module: str, tmp_path: Path) -> None:
    """A module made for 48 kHz is refused when it is named, with both rates: 16 kHz sent up are half a spectrum."""
    (tmp_path / "made_hear.py").write_text(HEAR.replace("16000", "48000"))
    with pytest.raises(
        EncoderError, match=r"hear:made_hear: expected a module made for 16000 Hz, got one for 48000 Hz"
    ):
        resolve(Request(name=hear_module))


def test_hear_timestamps_are_averaged(hear_module: str) -> None:
    """With `output: timestamps` the vector is the mean over the module's timestamp embeddings."""
    encoder = load(Request(name=hear_module, options={"output": "timestamps"}))
    wave = noise(16_000)
    frames = wave.unflatten(0, (-1, 100))
    expected = torch.stack([frames.mean(1), frames.amax(1)], 1).mean(0)
    torch.testing.assert_close(collect(encoder, [wave])[0][0][0], expected)


def test_hear_weights_are_part_of_the_identity(hear_module: str) -> None:
    """The identity of a HEAR encoder follows the tensors of its model."""
    first = load(Request(name=hear_module)).weights_sha256
    source = sys.modules["made_hear"]
    source.Model.__init__.__globals__["torch"] = torch
    original = source.load_model

    def changed(path: str = "") -> Any:
        model = original(path)
        model.scale.data.fill_(3.0)
        return model

    source.load_model = changed
    assert load(Request(name=hear_module)).weights_sha256 != first


def test_hear_source_is_part_of_the_fingerprint(hear_module: str, tmp_path: Path) -> None:
    """Editing a HEAR module changes the fingerprint, so that what was remembered for the old one is not used."""
    before = fingerprint(Request(name=hear_module))
    assert fingerprint(Request(name=hear_module)) == before
    (tmp_path / "made_hear.py").write_text(HEAR.replace("audio.std(1)", "audio.amax(1)"))
    assert fingerprint(Request(name=hear_module)) != before


def test_hear_misuse_is_named(hear_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not there, one without the API and an unknown option are each named."""
    with pytest.raises(ConfigError, match="hear:no_such_module: expected a module that can be imported"):
        resolve(Request(name="hear:no_such_module"))
    monkeypatch.setitem(sys.modules, "half_hear", types.ModuleType("half_hear"))
    with pytest.raises(ConfigError, match="without load_model, get_scene_embeddings, get_timestamp_embeddings"):
        resolve(Request(name="hear:half_hear"))
    with pytest.raises(ConfigError, match="expected `output: scene` or `output: timestamps`"):
        resolve(Request(name=hear_module, options={"output": "both"}))


@pytest.fixture(scope="module")
def ast_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small audio spectrogram transformer and its extractor, saved; the model itself."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    folder = tmp_path_factory.mktemp("models") / "my-ast"
    config = ASTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=128,
        num_mel_bins=32,
    )
    model = shaken(ASTModel(config))
    model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=128, num_mel_bins=32).save_pretrained(folder)
    return folder, model


def ast_states(model: Any, wave: torch.Tensor) -> list[torch.Tensor]:
    """Return AST's states of a clip in its window of 128 frames: [token, feature] of each layer."""
    from transformers import ASTFeatureExtractor

    extractor = ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    with torch.no_grad():
        inputs = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
        out = model(**inputs, output_hidden_states=True)
    return [state[0] for state in (*out.hidden_states[:-1], out.last_hidden_state)]


def test_any_other_transformers_encoder(ast_folder: tuple[Path, Any]) -> None:
    """AST sees its window; each layer is the mean over the patches that begin in the clip, 8 of 12 in each of 2 bands."""
    folder, model = ast_folder
    encoder = load(Request(name=str(folder)))
    assert (encoder.card.dim, encoder.card.n_layers, encoder.batched) == (24, 3, False)
    wave = 0.1 * noise(12_000)  # 73 frames: patches begin at 0, 10, ..., 70
    own = [2 + band * 12 + patch for band in range(2) for patch in range(8)]
    expected = [state[own].mean(0, keepdim=True) for state in ast_states(model, wave)]
    torch.testing.assert_close(collect(encoder, [wave])[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("tokens", "position"), [("class", 0), ("distillation", 1)])
def test_special_tokens_are_kept_apart(ast_folder: tuple[Path, Any], tokens: str, position: int) -> None:
    """AST's class and distillation tokens are no part of the mean, and can be asked for by name; the key says so."""
    folder, model = ast_folder
    encoder = load(Request(name=str(folder), options={"tokens": tokens}))
    wave = 0.1 * noise(12_000)
    expected = [state[position][None] for state in ast_states(model, wave)]
    torch.testing.assert_close(collect(encoder, [wave])[0], expected, rtol=1e-5, atol=1e-6)
    assert encoder.preprocessing["tokens"] == tokens
    with pytest.raises(ConfigError, match="expected `tokens:` own, class, distillation, got"):
        load(Request(name=str(folder), options={"tokens": "all"}))


def test_other_encoders_need_their_extractor(ast_folder: tuple[Path, Any], tmp_path: Path) -> None:
    """A model of another kind without a feature extractor beside it is refused with the next step."""
    ast_folder[1].save_pretrained(tmp_path / "bare")
    request = Request(name=str(tmp_path / "bare"))
    card, entry = resolve(request)
    assert entry.check is not None
    with pytest.raises(EncoderError, match="expected a feature extractor beside the model"):
        entry.check(request, card)
