"""transformers' encoders from published configurations: as they run here, as published, as trained."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import EncoderError
from .fitting import Blueprint

if TYPE_CHECKING:
    from transformers import PretrainedConfig

OFF: Mapping[str, float | bool] = {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0,
                                   "mask_feature_prob": 0.0}  # fmt: skip
"""SpecAugment and LayerDrop belong to training; at zero the mask vector is not even created, so it is not hashed."""

TRAINED: Mapping[str, float | bool] = {"apply_spec_augment": True, "mask_time_prob": 0.05}
"""With these the mask vector has its place, also where a configuration was fine-tuned without it."""


def to_config(config: Mapping[str, object], changes: Mapping[str, float | bool] = OFF) -> PretrainedConfig:
    """Turn a published configuration into transformers' own, by default with what belongs to training switched off."""
    from transformers import AutoConfig

    model_type = str(config["model_type"])
    rest = {key: value for key, value in config.items() if key != "model_type"}
    if model_type != "whisper":
        rest |= changes
    return AutoConfig.for_model(model_type, **rest)


def build(config: PretrainedConfig) -> Any:
    """Build the encoder of a configuration."""
    if config.model_type == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        encoder: Any = WhisperEncoder
        return encoder(config)
    from transformers import AutoModel

    return AutoModel.from_config(config)


def without_memory(config: PretrainedConfig) -> Any:
    """Build the encoder of a configuration with the shapes of its tensors only."""
    import torch
    from transformers import MODEL_MAPPING

    # imported first: a module that is imported below keeps its own constants without memory, such as torchaudio's
    mapping: Any = MODEL_MAPPING
    _ = mapping[type(config)]
    with contextlib.suppress(ImportError):
        importlib.import_module("torchaudio.compliance.kaldi")
    with torch.device("meta"):
        return build(config)


def blueprint_of(name: str, config: Mapping[str, object]) -> Blueprint:
    """Return the state of an encoder and the names it may have besides. Raises `EncoderError` where none can be built."""
    try:
        in_use = without_memory(to_config(config))
        others = [without_memory(to_config(config, changes)) for changes in ({}, TRAINED)]
    except Exception as error:  # whatever transformers makes of a configuration that it cannot take
        raise EncoderError(
            f"{name}: expected a configuration that transformers can build, got model type "
            f"{config.get('model_type')!r} with which it fails: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from error
    return Blueprint.of(in_use, others)
