"""Small checkpoints with made weights, in the shapes in which people publish them: a folder each, from `save_pretrained`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as T
from safetensors.torch import load_file
from tiny_models import shaken
from torch import nn

from voxcache.extract.encoders.weights import seeded

SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
}  # fmt: skip
CONV: dict[str, Any] = {
    **SIZES, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 20,
}  # fmt: skip
PRETRAINING = {"num_codevectors_per_group": 8, "codevector_dim": 16, "proj_codevector_dim": 16}
XVECTOR = {"tdnn_dim": (16,) * 4 + (24,), "xvector_output_dim": 16}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
WHISPER: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip

Make = Callable[[], Any]
Extractor = Callable[[], Any]


class _EmotionHead(nn.Module):
    """A regression head with names of its own, as a laboratory publishes it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, 3)


class _Emotion(T.Wav2Vec2PreTrainedModel):  # type: ignore[misc]
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wav2vec2 = T.Wav2Vec2Model(config)
        self.classifier = _EmotionHead(config)
        self.post_init()


def _w2v2(kind: str, **changes: Any) -> Make:
    return lambda: getattr(T, f"Wav2Vec2{kind}")(T.Wav2Vec2Config(**{**CONV, **changes}))


def _family(family: str, kind: str, **changes: Any) -> Make:
    return lambda: getattr(T, family + kind)(getattr(T, f"{family}Config")(**{**CONV, **changes}))


def _plain(family: str, **settings: Any) -> Make:
    return lambda: getattr(T, f"{family}Model")(getattr(T, f"{family}Config")(**settings))


def _waveform() -> Any:
    return T.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)


SPEECH: Mapping[str, Make] = {
    "w2v2-pretraining": _w2v2("ForPreTraining", **PRETRAINING),
    "w2v2-ctc": _w2v2("ForCTC"),
    "w2v2-seqcls-wls": _w2v2("ForSequenceClassification", use_weighted_layer_sum=True),
    "w2v2-xvector": _w2v2("ForXVector", **XVECTOR),
    "w2v2-framecls": _w2v2("ForAudioFrameClassification"),
    "w2v2-legacy-bin": _w2v2("ForPreTraining", **PRETRAINING),
    "w2v2-half": _w2v2("Model"),
    "w2v2-shards": _w2v2("ForCTC"),
    "w2v2-stable": _w2v2("ForCTC", **STABLE),
    "w2v2-adapterattn": _w2v2("ForCTC", adapter_attn_dim=8, **STABLE),
    "w2v2-audeering": lambda: _Emotion(T.Wav2Vec2Config(**{**CONV, **STABLE})),
    "hubert-ctc": _family("Hubert", "ForCTC"),
    "hubert-seqcls": _family("Hubert", "ForSequenceClassification", use_weighted_layer_sum=True),
    "hubert-bn": _family("Hubert", "Model", conv_pos_batch_norm=True),
    "wavlm-ctc": _family("WavLM", "ForCTC"),
    "wavlm-xvector": _family("WavLM", "ForXVector", **XVECTOR),
    "unisat-pre": _family("UniSpeechSat", "ForPreTraining", **PRETRAINING),
    "unisat-xvector": _family("UniSpeechSat", "ForXVector", **XVECTOR),
    "unispeech-pre": _family("UniSpeech", "ForPreTraining", **PRETRAINING),
    "d2v-ctc": _family("Data2VecAudio", "ForCTC", num_conv_pos_embeddings=5),
    "d2v-xvector": _family("Data2VecAudio", "ForXVector", num_conv_pos_embeddings=5, **XVECTOR),
}
"""Those that run in batches, with frames; what comes out of each is its base model on the clip alone."""

WHISPERS: Mapping[str, Make] = {
    "whisper-gen": lambda: T.WhisperForConditionalGeneration(T.WhisperConfig(**WHISPER)),
    "whisper-cls": lambda: T.WhisperForAudioClassification(T.WhisperConfig(**WHISPER)),
}

OTHERS: Mapping[str, tuple[Make, Extractor]] = {
    "ast": (_plain("AST", **SIZES), lambda: T.ASTFeatureExtractor()),
    "ast-cls": (lambda: T.ASTForAudioClassification(T.ASTConfig(**SIZES)), lambda: T.ASTFeatureExtractor()),
    "w2v-bert": (_plain("Wav2Vec2Bert", **SIZES), lambda: T.SeamlessM4TFeatureExtractor()),
    "w2v2-conformer": (_plain("Wav2Vec2Conformer", **CONV), _waveform),
    "sew": (_plain("SEW", **{k: v for k, v in CONV.items() if k != "conv_dim"}), _waveform),
    "sew-d": (_plain("SEWD", **SIZES), _waveform),
    "qwen2-audio-encoder": (
        lambda: T.Qwen2AudioEncoder(
            T.Qwen2AudioEncoderConfig(d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48)
        ),
        lambda: T.WhisperFeatureExtractor(feature_size=128, return_attention_mask=True),
    ),
    "parakeet": (
        lambda: T.ParakeetEncoder(T.ParakeetEncoderConfig(**SIZES)),
        lambda: T.ParakeetFeatureExtractor(),
    ),
}
"""Those that run one clip at a time, through their own feature extractor."""

REFUSED: Mapping[str, tuple[str, str]] = {
    "moonshine": ("MoonshineConfig", "the encoder of moonshine, before its decoder"),
    "speecht5": ("SpeechT5Config", "the encoder of speecht5, before its decoder"),
    "s2t": ("Speech2TextConfig", "the encoder of speech_to_text, before its decoder"),
    "clap": ("ClapConfig", "clap_audio_model .`audio_config`"),
    "omniasr": ("OmniASRConfig", "omniasr_audio .`audio_config`"),
    "qwen2-audio": ("Qwen2AudioConfig", "qwen2_audio_encoder .`audio_config`"),
    "qwen3-asr": ("Qwen3ASRConfig", "`audio_config`"),
    "voxtral": ("VoxtralConfig", "voxtral_encoder .`audio_config`"),
    "parakeet-ctc": ("ParakeetCTCConfig", "parakeet_encoder .`encoder_config`"),
    "canary": ("CanaryConfig", "`encoder_config`"),
    "pe-audio": ("PeAudioConfig", "`audio_config`"),
    "granite-speech": ("GraniteSpeechConfig", "granite_speech_encoder .`encoder_config`"),
}
"""Models that hold an encoder among other things: their configuration, and how the refusal names what is inside."""


def make(name: str, folder: Path) -> Path:
    """Save one of SPEECH, WHISPERS and OTHERS under its name in `folder`; returns where."""
    where = folder / name
    with seeded(0):
        if name in OTHERS:
            model, extractor = OTHERS[name][0](), OTHERS[name][1]()
        else:
            model = (SPEECH | WHISPERS)[name]()
            extractor = T.WhisperFeatureExtractor() if name in WHISPERS else _waveform()
    model = shaken(model)
    model = model.half() if name == "w2v2-half" else model
    model.save_pretrained(where, **({"max_shard_size": "20KB"} if name == "w2v2-shards" else {}))
    extractor.save_pretrained(where)
    if name in ("w2v2-legacy-bin", "hubert-seqcls", "wavlm-xvector"):
        _as_of_old(where)
    return where


def make_refused(name: str, folder: Path) -> Path:
    """Write the configuration of one of REFUSED, as published; returns where."""
    where = folder / name
    getattr(T, REFUSED[name][0])().save_pretrained(where)
    return where


def add_language(where: Path, language: str) -> None:
    """Write adapters of one more language beside a checkpoint that has some, with values of their own."""
    from safetensors.torch import save_file

    state = {name: tensor for name, tensor in load_file(where / "model.safetensors").items() if "adapter_layer" in name}
    other = {
        name: tensor + 0.1 * torch.arange(tensor.numel()).reshape(tensor.shape).sin() for name, tensor in state.items()
    }
    head = {"lm_head.weight": torch.zeros(7, 32), "lm_head.bias": torch.zeros(7)}
    save_file({**other, **head}, where / f"adapter.{language}.safetensors")


def _as_of_old(where: Path) -> None:
    """Turn a folder into what transformers wrote before safetensors: a torch file, weight norm by its old names."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = load_file(where / "model.safetensors")
    for new, old in names.items():
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    torch.save(state, where / "pytorch_model.bin")
    (where / "model.safetensors").unlink()


def facts_of(where: Path) -> dict[str, Any]:
    """Return a folder's config.json."""
    content: dict[str, Any] = json.loads((where / "config.json").read_text())
    return content
