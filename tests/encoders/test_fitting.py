"""The rule by which a checkpoint fits, and that it is applied when a run is planned, before any value is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import voxcache
from published import add_language, make
from safetensors.torch import load_file, save_file
from tiny_models import tiny_config

from voxcache.errors import CheckpointError, ConfigError, EncoderError
from voxcache.extract.config import EncoderConfig
from voxcache.extract.encoders.against import check_against_transformers
from voxcache.extract.encoders.architectures import blueprint_of, build, to_config
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.fitting import fit
from voxcache.extract.encoders.registry import load
from voxcache.extract.encoders.tensors import local_files, tensors_in
from voxcache.extract.plan import plan_encoder

PINNED = {
    "wav2vec2, group norm": "cd25051eb0b7572c41d36016b2772be3d14c1b9de48ddc33186ef0fa2a9c95c3",
    "hubert, layer norm, stable": "9a0d076a861a683fb906c13bae1a7230e17913b64940a0695b8a5a503b6b2398",
    "wavlm, group norm": "882cf0962deadc3d0dac927ef5b29c2b0062bf256a5dda619b1263f1365df995",
    "unispeech-sat, group norm": "143f42d13cf4cd78dc5a9a07c7a0183e720ae12b1c84749307134afecf143e59",
    "data2vec, stacked positional convolutions": "ec74660d69152803c8514659151ddced187a1ffc75ba60f4d01e769c2035d0b8",
    "whisper": "27667d2ffc707c5e8bb079d2b7c7c64cce6f3b7984f3b1d81ad0aa80e8856cd7",
}
"""Hashes of the checkpoints that `pinned` saves, from the release before the rule."""

WHISPER = {
    "model_type": "whisper", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48,
}  # fmt: skip


def pinned(folder: Path, architecture: str) -> None:
    """Save a model whose values follow from their places, exactly in every build of torch."""
    config = WHISPER if architecture == "whisper" else tiny_config(architecture)
    model = build(to_config(config))
    for tensor in model.state_dict().values():
        tensor.copy_((torch.arange(tensor.numel()) % 97).reshape(tensor.shape) / 64)
    model.save_pretrained(folder)
    if architecture == "whisper":
        state = load_file(folder / "model.safetensors")
        named = {f"model.encoder.{name}": tensor for name, tensor in state.items()}
        save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("architecture", PINNED)
def test_hashes_of_weights_stay_what_they_were(tmp_path: Path, architecture: str) -> None:
    """The content hash of a checkpoint is that of the release before, so that stores made then keep their keys."""
    pinned(tmp_path / "mine", architecture)
    assert load(Request(name=str(tmp_path / "mine"))).weights_sha256 == PINNED[architecture]


def edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Apply `change` to the tensors of a saved checkpoint."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def planned(folder: Path, **settings: Any) -> object:
    """Plan an encoder as a run does."""
    return plan_encoder(EncoderConfig(name=str(folder), store_as="mine", **settings))


def rewritten(folder: Path, file: str, **changes: object) -> None:
    """Change entries of a JSON file; None removes one."""
    content = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize("name", ["w2v2-xvector", "ast-cls", "whisper-gen"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, inside: state.pop(inside), "1 missing"),
        (lambda state, inside: state.update({inside + "_more": torch.ones(3)}), "1 left over"),
        (lambda state, inside: state.update({inside: torch.ones(3)}), "1 of another shape"),
    ],
)
def test_what_does_not_fit_is_refused_when_planned(tmp_path: Path, name: str, change: Any, message: str) -> None:
    """In every family a tensor missing, misshapen or left over inside the encoder is refused in planning."""
    folder = make(name, tmp_path)
    planned(folder)
    names = [key for key in load_file(folder / "model.safetensors") if "decoder" not in key]
    inside = next(key for key in names if "layers.0." in key or "layer.0." in key)
    edited(folder, lambda state: change(state, inside))
    with pytest.raises(CheckpointError, match=message):
        planned(folder)


def test_any_head_is_ignored_and_named(tmp_path: Path) -> None:
    """Tensors outside of the encoder's prefix are nobody's business, whatever they are called; even like a part of it."""
    folder = make("w2v2-ctc", tmp_path)
    before = load(Request(name=str(folder)))
    edited(folder, lambda state: state.update({"encoder.layer_norm.weight": torch.ones(5), "mood.a.b": torch.ones(2)}))
    after = load(Request(name=str(folder)))
    assert after.weights_sha256 == before.weights_sha256
    assert dict(after.ignored) == {"encoder": 1, "lm_head": 2, "mood": 1}


def test_two_encoders_in_a_checkpoint_are_refused() -> None:
    """Where two prefixes hold the whole encoder, as with a teacher beside its student, neither is chosen in silence."""
    blueprint = blueprint_of("mine", tiny_config("wav2vec2, group norm"))
    student = {f"student.{name}": shape for name, shape in blueprint.needed.items()}
    assert fit("mine", student, blueprint).prefix == "student."
    teacher = {f"teacher.model.{name}": shape for name, shape in blueprint.needed.items()}
    with pytest.raises(CheckpointError, match=r"got 2, under 'student\.' and 'teacher\.model\.'"):
        fit("mine", {**student, **teacher}, blueprint)


def test_what_training_alone_needs_has_its_place(tmp_path: Path) -> None:
    """With the mask vector, and without it, an encoder is the same and has the same hash."""
    folder = make("w2v-bert", tmp_path)
    assert "masked_spec_embed" in load_file(folder / "model.safetensors")
    first = load(Request(name=str(folder)))
    edited(folder, lambda state: state.pop("masked_spec_embed"))
    assert load(Request(name=str(folder))).weights_sha256 == first.weights_sha256


def test_planning_reads_no_values(tmp_path: Path) -> None:
    """Names and shapes come from the head of a safetensors file: one whose values are cut off is planned all the same."""
    folder = make("w2v2-ctc", tmp_path)
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: 8 + int.from_bytes(data[:8], "little")] + b"\0" * 8)
    planned(folder)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        load(Request(name=str(folder)))


def test_only_the_encoder_s_tensors_are_read(tmp_path: Path) -> None:
    """Of a checkpoint with a decoder, only the encoder's tensors are looked up."""
    folder = make("whisper-gen", tmp_path)
    tensors = tensors_in(local_files(str(folder), None) or [])
    fitted = fit("mine", tensors.shapes, blueprint_of("mine", json.loads((folder / "config.json").read_text())))
    assert fitted.prefix == "model.encoder."
    assert all(name.startswith("model.encoder.") for name in fitted.source.values())


@pytest.mark.parametrize(
    ("name", "file", "changes", "message"),
    [
        ("w2v2-ctc", "preprocessor_config.json", {"sampling_rate": 8000}, "made for 16000 Hz, got one for 8000 Hz"),
        ("w2v2-ctc", "preprocessor_config.json", {"do_normalize": "yes"}, "`do_normalize` true or false, got 'yes'"),
        ("w2v2-ctc", "config.json", {"hidden_act": "no such"}, "with which it fails"),
        ("whisper-gen", "preprocessor_config.json", {"feature_size": 128}, "feature_size 128 and not 80"),
        ("whisper-gen", "preprocessor_config.json", {"chunk_length": 10}, "chunk_length 10 and not 30"),
        ("ast", "preprocessor_config.json", {"max_length": 512}, "`max_length` 1024 .* as in config.json, got 512"),
        ("ast", "preprocessor_config.json", {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "which fails"),
        ("sew", "preprocessor_config.json", {"sampling_rate": 24000}, "got one for 24000 Hz"),
        (
            "w2v2-conformer",
            "preprocessor_config.json",
            {"feature_extractor_type": "Nothing"},
            "expected a feature extractor",
        ),
    ],
)
def test_what_stands_in_a_json_file_is_refused_when_planned(
    tmp_path: Path, name: str, file: str, changes: dict[str, object], message: str
) -> None:
    """What a configuration or feature extractor says that cannot be done is an error of planning, with the value in it."""
    folder = make(name, tmp_path)
    planned(folder)
    rewritten(folder, file, **changes)
    with pytest.raises(EncoderError, match=message):
        planned(folder)


def test_a_dry_run_names_every_misfit(tmp_path: Path) -> None:
    """`extract --dry-run` refuses checkpoints that do not fit, all at once, and writes no store."""
    names = ["w2v2-ctc", "sew"]
    for name in names:
        edited(make(name, tmp_path), lambda state: state.pop(next(key for key in state if "layers.1." in key)))
    encoders = [{"name": str(tmp_path / name), "as": name} for name in names]
    pipeline = {"store": "s.zarr", "corpora": {"made": {"adapter": "synthetic", "n_speakers": 2}}, "encoders": encoders}
    (tmp_path / "p.yaml").write_text(json.dumps(pipeline))
    done = voxcache("extract", "p.yaml", "--dry-run", cwd=tmp_path, code=1)
    assert all(f"{name} from local:{name}: expected a checkpoint" in done.stderr for name in names)
    assert not (tmp_path / "s.zarr").exists()


def test_languages_that_are_not_there_are_refused_when_planned(tmp_path: Path) -> None:
    """A language without adapters, adapters that lack a block, and a language for an encoder without adapters are refused."""
    folder = make("w2v2-adapterattn", tmp_path)
    add_language(folder, "fra")
    planned(folder, options={"target_lang": "fra"})
    with pytest.raises(CheckpointError, match=r"target_lang 'deu': expected adapter\.deu\.safetensors"):
        planned(folder, options={"target_lang": "deu"})
    with pytest.raises(ConfigError, match="expected `target_lang:` with a language"):
        planned(folder, options={"language": "fra"})
    file = folder / "adapter.fra.safetensors"
    state = load_file(file)
    state.pop(next(name for name in state if "layers.1." in name))
    save_file(state, file)
    with pytest.raises(CheckpointError, match="expected an adapter for every block, got none for"):
        planned(folder, options={"target_lang": "fra"})
    with pytest.raises(ConfigError, match="options: expected none, got target_lang"):
        planned(make("w2v2-ctc", tmp_path), options={"target_lang": "fra"})


def test_a_checkpoint_is_compared_with_transformers(tmp_path: Path) -> None:
    """`encoders --check FOLDER` reports every layer within 1e-5, what was ignored, and versions."""
    folder = make("w2v2-stable", tmp_path)
    report = json.loads(voxcache("encoders", "--check", str(folder), "--json", cwd=tmp_path).stdout)
    assert report["agrees"] is True
    assert len(report["frames"]) == len(report["pooled"]) == 3
    assert max(report["frames"] + report["pooled"]) < 1e-5
    assert (report["name"], report["missing"], report["ignored_tensors"]) == ("w2v2-stable", [], {"lm_head": 2})
    assert set(report["versions"]) == {"voxcache", "torch", "transformers", "python"}


@pytest.mark.parametrize("name", ["sew", "ast", "whisper-cls"])
def test_every_family_is_compared_with_transformers(tmp_path: Path, name: str) -> None:
    """Models of other kinds and Whisper are compared through their own extractor, on the clip's own vectors."""
    assert check_against_transformers(str(make(name, tmp_path))).agrees


def test_a_checkpoint_that_transformers_reads_otherwise_differs(tmp_path: Path) -> None:
    """Under a prefix that transformers does not know, it makes weights up; the report says which, and that both differ."""
    folder = make("w2v2-ctc", tmp_path)
    state = load_file(folder / "model.safetensors")
    renamed = {name.replace("wav2vec2.", "student."): tensor for name, tensor in state.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    found = check_against_transformers(str(folder))
    assert not found.agrees
    assert "encoder.layer_norm.weight" in found.missing
    assert "w2v2-ctc DIFFERS from transformers" in str(found)
    with pytest.raises(ConfigError, match="logmel, --check: expected a transformers model"):
        check_against_transformers("logmel")
