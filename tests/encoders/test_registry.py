"""Names: what the registry holds, what else a name may be, and that planning costs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_config

from voxcache.errors import ConfigError, EncoderError, UnknownName
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.checkpoints import build, to_config
from voxcache.extract.encoders.registry import ENCODERS, fingerprint, load, resolve

PROMISED = [
    "logmel",
    "mfcc",
    "opensmile-egemaps",
    "opensmile-compare",
    "opensmile-egemaps-lld",
    "opensmile-compare-lld",
    "wav2vec2-base",
    "wav2vec2-large",
    "wav2vec2-large-lv60",
    "mms-300m",
    "mms-1b",
    "wav2vec2-as",
    "voc2vec",
    "voc2vec-as",
    "voc2vec-ls",
    "wav2vec2-mini",
    "hubert-base",
    "hubert-large",
    "hubert-as",
    "voc2vec-hubert-ls",
    "wavlm-base",
    "wavlm-base-plus",
    "wavlm-large",
    "unispeech-sat-base",
    "unispeech-sat-base-plus",
    "unispeech-sat-large",
    "data2vec-audio-base",
    "data2vec-audio-large",
    "whisper-tiny",
    "whisper-base",
    "whisper-small",
    "whisper-medium",
    "whisper-large",
    "whisper-large-v2",
    "whisper-large-v3",
]

PUBLISHED_MILLIONS = {
    "wav2vec2-base": 95.04,
    "wav2vec2-large": 317.38,
    "wav2vec2-large-lv60": 317.38,
    "mms-300m": 317,
    "mms-1b": 965,
    "hubert-base": 94.68,
    "hubert-large": 316.61,
    "wavlm-base": 94.70,
    "wavlm-base-plus": 94.70,
    "wavlm-large": 316.62,
    "unispeech-sat-base": 94.68,
    "unispeech-sat-base-plus": 94.68,
    "unispeech-sat-large": 316.61,
    "data2vec-audio-base": 93.75,
    "data2vec-audio-large": 314.27,
}
"""SUPERB's leaderboard (fairseq checkpoints, training heads included), and for MMS its paper, section 3."""

WHISPER_MILLIONS = {"tiny": 39, "base": 74, "small": 244, "medium": 769, "large": 1550}
"""Table 1 of Whisper's paper, encoder and decoder."""


def test_every_promised_name_is_there() -> None:
    """The registry holds every name of the documentation's table."""
    assert set(PROMISED) <= set(ENCODERS)


@pytest.mark.parametrize("name", [name for name in PROMISED if ENCODERS.get(name).config.get("model_type")])
def test_architecture_has_the_parameters_of_its_card(name: str) -> None:
    """Built from its configuration, without memory, a model has exactly the parameters that its card states."""
    entry = ENCODERS.get(name)
    with torch.device("meta"):
        model = build(to_config(entry.config))
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.card.n_parameters


@pytest.mark.parametrize("name", list(PUBLISHED_MILLIONS))
def test_parameters_are_the_published_ones(name: str) -> None:
    """The parameter count is the published one to 1 %, the difference being training heads."""
    assert ENCODERS.get(name).card.n_parameters == pytest.approx(1e6 * PUBLISHED_MILLIONS[name], rel=0.01)


@pytest.mark.parametrize("size", list(WHISPER_MILLIONS))
def test_whisper_has_the_published_size(size: str) -> None:
    """Encoder and decoder built from the configuration have the parameters of Whisper's table 1, which rounds up."""
    from transformers import WhisperModel

    with torch.device("meta"):
        model = WhisperModel(to_config(ENCODERS.get(f"whisper-{size}").config))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6 * WHISPER_MILLIONS[size], rel=0.035)


@pytest.mark.parametrize("name", PROMISED)
def test_cards_are_complete(name: str) -> None:
    """Every card says where its weights come from, under what licence, from which corpora and whom to cite."""
    card = ENCODERS.get(name).card
    assert card.name == name
    assert card.citation
    assert card.licence != "unknown"
    assert card.pretraining or card.weights != "hub"
    assert card.revision is None or len(card.revision) == 40


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    """Names, cards and fingerprints, a local folder's included, are had in a process that never imports torch."""
    build(to_config(tiny_config("hubert, group norm"))).save_pretrained(tmp_path / "mine")
    script = f"""
import sys
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.registry import ENCODERS, fingerprint, resolve
for name in list(ENCODERS): resolve(Request(name=name)); fingerprint(Request(name=name))
assert resolve(Request(name={str(tmp_path / "mine")!r}))[0].dim == 32
fingerprint(Request(name={str(tmp_path / "mine")!r}))
heavy = {{"torch", "transformers", "torchaudio", "opensmile"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("wrong", ["wavlm-bass", "hubert_base"])
def test_unknown_name_says_the_nearest(wrong: str) -> None:
    """A misspelt name is an error with the nearest known one."""
    with pytest.raises(UnknownName, match=r"did you mean '(wavlm-base|hubert-base)'\?"):
        resolve(Request(name=wrong))


def test_folder_that_is_not_there_or_holds_no_model(tmp_path: Path) -> None:
    """A path without a folder, and a folder without a model, are each named with the next step."""
    with pytest.raises(ConfigError, match=r"no such folder"):
        resolve(Request(name=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"no config\.json with a `model_type`.*save_pretrained"):
        resolve(Request(name=str(tmp_path)))


def test_adapters_are_refused(tmp_path: Path) -> None:
    """A model whose adapter shortens its output is refused rather than given wrong frame counts."""
    config = to_config({**tiny_config("wav2vec2, group norm"), "add_adapter": True})
    config.save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="with an adapter"):
        resolve(Request(name=str(tmp_path)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Request(name="wav2vec2-mini"), Request(name="wav2vec2-mini", seed=1)),
        (Request(name="hubert-base", weights="random"), Request(name="hubert-base")),
        (Request(name="hubert-base"), Request(name="hubert-base", revision="main")),
        (Request(name="hubert-base", weights="random"), Request(name="hubert-large", weights="random")),
    ],
)
def test_fingerprints_tell_weights_apart(one: Request, other: Request) -> None:
    """Seed, origin, revision and architecture each change the fingerprint; precision does not."""
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(Request(name=one.name, weights=one.weights, dtype="bfloat16"))


def test_mini_is_random_by_default() -> None:
    """wav2vec2-mini needs no download and says that its weights are random."""
    card, _ = resolve(Request(name="wav2vec2-mini"))
    assert card.weights == "random"
    assert load(Request(name="wav2vec2-mini")).weights_origin == "random:seed=0"


@pytest.mark.parametrize("name", ["logmel", "wav2vec2-mini"])
def test_unknown_options_are_refused(name: str) -> None:
    """An option that an encoder does not have is an error that names it, never ignored."""
    with pytest.raises(ConfigError, match=f"{name}, options: expected none, got layout"):
        load(Request(name=name, options={"layout": "time"}))
