"""Weights for transformers models: hub, local folder, single file or a seed; whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError, EncoderError
from .base import Card, Request
from .config_json import read_json, shape_of
from .fingerprints import cached_commit
from .requests import refuse_options
from .speech_cards import conv_rule
from .weights import read_state, refuse_misfit, seeded, state_sha256

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NO_CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"
"""Without it transformers asks the hub, on the user's behalf, to convert checkpoints that are not safetensors."""

OFF: Mapping[str, float | bool] = {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0,
                                   "mask_feature_prob": 0.0}  # fmt: skip
"""SpecAugment and LayerDrop belong to training; at zero the mask vector is not even created, so it is not hashed."""

_CTC = ("lm_head.", "classifier.", "projector.", "layer_weights", "masked_spec_embed")
_PRETRAINING = ("quantizer.", "project_q.", "project_hid.", "final_proj.", "label_embs_concat",
                "label_embeddings_concat", "speaker_proj.")  # fmt: skip
_XVECTOR = ("tdnn.", "objective.")
HEADS: Mapping[str, tuple[str, ...]] = {
    "wav2vec2": (*_CTC, *_PRETRAINING, *_XVECTOR),
    "hubert": (*_CTC, "final_proj.", "label_embs_concat"),
    "wavlm": (*_CTC, *_PRETRAINING, *_XVECTOR),
    "unispeech": (*_CTC, *_PRETRAINING, "ctc_proj."),
    "unispeech-sat": (*_CTC, *_PRETRAINING, *_XVECTOR),
    "data2vec-audio": (*_CTC, "final_proj.", *_XVECTOR),
    "whisper": ("decoder.", "model.decoder.", "proj_out.", "classifier.", "projector.", "layer_weights"),
}
"""Per model type, the beginnings of names that a checkpoint may hold beside the encoder: training heads, decoders."""


@dataclass(frozen=True)
class Loaded:
    """A transformers model in evaluation mode, float32, on the CPU; the hash of its tensors; where they came from."""

    model: Any
    sha256: str
    origin: str
    normalise: bool | None = None
    """What the repository's own preprocessor_config.json says of the waveform; None where it says nothing."""


def load_transformers(
    request: Request,
    card: Card,
    config: Mapping[str, object],
    *,
    folder: str | None = None,
) -> Loaded:
    """Build a transformers encoder and give it the weights that were asked for.

    Args:
        config: the published architecture: used as it stands for random weights and single files; a repository or
            folder brings its own, which must agree with the card.
        folder: where an encoder outside the registry lives, if it is local.

    Raises:
        CheckpointError: keys missing, left over or of another shape.
        EncoderError: the weights cannot be had.
    """
    refuse_options(request)
    wanted = request.weights or card.weights
    if wanted == "random":
        return random_model(config, request.seed)
    if wanted == "none":
        raise EncoderError(f"{card.name}, weights 'none': expected hub, random or a path. It has weights to load.")
    if wanted == "hub":
        where = folder or card.source
        origin = f"local:{Path(folder).name}" if folder else f"hub:{card.source}"
        return _pretrained(where, request.revision or card.revision, card, origin)
    if Path(wanted).is_file():
        return _from_file(Path(wanted), card, config)
    if not Path(wanted).is_dir():
        raise CheckpointError(
            f"{card.name}, weights {wanted!r}: expected hub, random, a folder or a file, got a path that is not there. "
            f"Check `weights:`."
        )
    return _pretrained(wanted, None, card, f"local:{Path(wanted).name}")


def random_model(config: Mapping[str, object], seed: int) -> Loaded:
    """Build an architecture with weights drawn from `seed`, whatever else drew random numbers before."""
    with seeded(seed):
        model = build(to_config(config))
    return _loaded(model, f"random:seed={seed}")


def to_config(config: Mapping[str, object]) -> PretrainedConfig:
    """Turn a published configuration into transformers' own, with what belongs to training switched off."""
    from transformers import AutoConfig

    rest = {key: value for key, value in config.items() if key != "model_type"}
    return AutoConfig.for_model(str(config["model_type"]), **{**rest, **_off(str(config["model_type"]))})


def build(config: PretrainedConfig) -> Any:
    """Build the encoder of a configuration."""
    model_class = _model_class(config)
    return model_class(config) if config.model_type == "whisper" else model_class.from_config(config)


def _off(model_type: str) -> dict[str, Any]:
    return {} if model_type == "whisper" else dict(OFF)


def _model_class(config: PretrainedConfig) -> Any:
    if config.model_type == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder
    from transformers import AutoModel

    return AutoModel


def _pretrained(where: str, revision: str | None, card: Card, origin: str) -> Loaded:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(where, revision=revision)
        for key, value in _off(config.model_type).items():
            setattr(config, key, value)
        check_config(card, config)
        with _quietly():
            model, info = _model_class(config).from_pretrained(
                where, revision=revision, config=config, dtype="float32", output_loading_info=True,
                ignore_mismatched_sizes=True, **_renamed(config.model_type),
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{card.name}, weights {origin}: expected a transformers checkpoint, got none that can be read: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__} "
            f"Download it once where there is a network, or give `weights:` a local folder."
        ) from error
    refuse_misfit(
        f"{card.name} from {origin}",
        missing=info["missing_keys"],
        left_over=without_heads(info["unexpected_keys"], config.model_type),
        resized=[str(key[0]) if isinstance(key, tuple) else str(key) for key in info["mismatched_keys"]],
    )
    commit = None if Path(where).is_dir() else cached_commit(where, revision)
    extractor = read_json(where, "preprocessor_config.json", revision) or {}
    return _loaded(model, f"{origin}@{commit}" if commit else origin, extractor.get("do_normalize"))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' bars and key tables to itself: misfits become our own error."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ.setdefault(NO_CONVERSION, "1")
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _renamed(model_type: str) -> dict[str, Any]:
    """Whisper checkpoints hold a decoder too, so their encoder stands one or two levels down."""
    return {"key_mapping": {r"^(model\.)?encoder\.": ""}} if model_type == "whisper" else {}


def without_heads(keys: Sequence[str], model_type: str) -> list[str]:
    """Return the keys that are not one of a family's known heads (`HEADS`)."""
    known = HEADS.get(model_type, ())
    prefix = re.compile(rf"^{re.escape(model_type.replace('-', '_'))}\.")
    return [key for key in keys if not prefix.sub("", key).startswith(known)]


def _from_file(file: Path, card: Card, config: Mapping[str, object]) -> Loaded:
    model_type = str(config["model_type"])
    model = random_model(config, 0).model
    state = _as_named_here(read_state(file), model)
    own = model.state_dict()
    refuse_misfit(
        f"{card.name} from file {file.name}",
        missing=own.keys() - state.keys(),
        left_over=without_heads(sorted(state.keys() - own.keys()), model_type),
        resized=[key for key in own.keys() & state.keys() if own[key].shape != state[key].shape],
    )
    model.load_state_dict({key: state[key] for key in own})
    return _loaded(model, f"local:{file.name}")


def _as_named_here(state: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Drop the prefix of the class a file was saved from, and take weight norm by its present names."""
    prefix = "(model\\.)?encoder" if model.config.model_type == "whisper" else re.escape(model.base_model_prefix)
    renamed = {re.sub(rf"^{prefix}\.", "", key): value for key, value in state.items()}
    weight_norm = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    for old, new in weight_norm.items():
        renamed = {re.sub(rf"\b{old}$", new, key): value for key, value in renamed.items()}
    return renamed


def check_config(card: Card, config: PretrainedConfig) -> None:
    """Refuse a configuration whose layers have another number, size or rate than the card promised to the store."""
    found = config.to_dict()
    dim, n_layers = shape_of(found)
    if card.frame.kind == "conv" and conv_rule(found) != card.frame:
        raise CheckpointError(
            f"{card.name}: expected convolutions of kernels {card.frame.kernels} and strides {card.frame.strides}, got "
            f"{found['conv_kernel']} and {found['conv_stride']}. Use the folder's path or hub id as the encoder's name."
        )
    if (dim, n_layers) != (card.dim, card.n_layers):
        raise CheckpointError(
            f"{card.name}: expected a checkpoint with {card.n_layers} layers of {card.dim}, got {n_layers} of {dim}. "
            f"Use the folder's path or hub id as the encoder's name: its facts are then read from its config.json."
        )


def _loaded(model: Any, origin: str, normalise: object = None) -> Loaded:
    model.eval()
    model.requires_grad_(False)
    return Loaded(model, state_sha256(model.state_dict()), origin, normalise if isinstance(normalise, bool) else None)
