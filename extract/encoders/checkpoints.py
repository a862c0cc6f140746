"""Weights for transformers models: hub, local folder, single file or a seed; whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError, ConfigError, EncoderError
from .architectures import blueprint_of, build, to_config
from .base import SAMPLE_RATE_HZ, Card, Request
from .config_json import read_json, shape_of
from .fingerprints import cached_commit
from .fitting import Blueprint, Fit, fit
from .languages import OPTION, adapter_file, language_of
from .speech_cards import conv_rule
from .tensors import Tensors, fetched_files, local_files, tensors_in
from .weights import refuse_misfit, seeded, state_sha256

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["Checkpoint", "Loaded", "build", "check_transformers", "load_transformers", "random_model", "to_config"]


@dataclass(frozen=True)
class Loaded:
    """A transformers model in evaluation mode, float32, on the CPU; the hash of its tensors; where they came from.

    Attributes:
        normalise: what the repository's own preprocessor_config.json says of the waveform; None where it says nothing.
        ignored: parts of the checkpoint outside of the encoder, and the tensors in each.
        language: of the adapters, where the encoder has some.
    """

    model: Any
    sha256: str
    origin: str
    normalise: bool | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)
    language: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they were found: a repository or folder with its own configuration, or one file.

    Attributes:
        where: folder or hub id; None for a file.
        config: the published architecture.
    """

    where: str | None
    revision: str | None
    config: Mapping[str, object]
    origin: str
    tensors: Tensors

    def blueprint(self, card: Card) -> tuple[Blueprint, Fit]:
        """Return what the configuration builds and how the tensors go into it. Raises `CheckpointError`."""
        blueprint = blueprint_of(card.name, self.config)
        check_config(card, blueprint.model.config)
        where = f"{card.name} from {self.origin}"
        return blueprint, fit(where, self.tensors.shapes, blueprint)


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
    language = language_of(request, config, folder)
    if _is_random(request, card):
        return random_model(config, request.seed, language)
    checkpoint = _find(request, card, config, folder, fetch=True)
    assert checkpoint is not None
    return _read(checkpoint, card, language_of(request, checkpoint.config, checkpoint.where))


def check_transformers(
    request: Request, card: Card, config: Mapping[str, object], *, folder: str | None = None
) -> Checkpoint | None:
    """Raise what `load_transformers` would, reading no values; what is not on this machine yet is None."""
    language_of(request, config, folder)
    if _is_random(request, card):
        return None
    checkpoint = _find(request, card, config, folder, fetch=False)
    if checkpoint is not None:
        checkpoint.blueprint(card)
        check_extractor(card, checkpoint)
    return checkpoint


def _is_random(request: Request, card: Card) -> bool:
    if (request.weights or card.weights) != "random":
        return False
    if request.options:
        raise ConfigError(f"{card.name}, options: random weights speak no language. Leave `{OPTION}:` out.")
    return True


def check_extractor(card: Card, checkpoint: Checkpoint) -> Mapping[str, object]:
    """Return the preprocessor_config.json beside a checkpoint. Raises `EncoderError` for what would be ignored of it."""
    if checkpoint.where is None:
        return {}
    extractor = read_json(checkpoint.where, "preprocessor_config.json", checkpoint.revision) or {}
    refuse_rate(card.name, extractor, checkpoint.config)
    if not isinstance(extractor.get("do_normalize"), bool | None):
        raise EncoderError(
            f"{card.name}, preprocessor_config.json: expected `do_normalize` true or false, got "
            f"{extractor['do_normalize']!r}. Correct it there."
        )
    return extractor


def refuse_rate(name: str, *facts: Mapping[str, object]) -> None:
    """Raise `EncoderError` where a configuration is for audio of another rate than all clips are brought to."""
    for rate in (held["sampling_rate"] for held in facts if held.get("sampling_rate") is not None):
        if rate != SAMPLE_RATE_HZ:
            raise EncoderError(
                f"{name}: expected a model made for {SAMPLE_RATE_HZ} Hz, got one for {rate} Hz. Clips are brought to "
                f"{SAMPLE_RATE_HZ} Hz before any encoder; fed to this one they would lack what it was trained on."
            )


def random_model(config: Mapping[str, object], seed: int, language: str | None = None) -> Loaded:
    """Build an architecture with weights drawn from `seed`, whatever else drew random numbers before."""
    with seeded(seed):
        model = build(to_config(config))
    return _loaded(model, f"random:seed={seed}", language=language)


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


def _find(
    request: Request, card: Card, config: Mapping[str, object], folder: str | None, *, fetch: bool
) -> Checkpoint | None:
    wanted = request.weights or card.weights
    if wanted == "none":
        raise EncoderError(f"{card.name}, weights 'none': expected hub, random or a path. It has weights to load.")
    if wanted == "hub" and folder is None:
        return _on_hub(request, card, fetch=fetch)
    place = Path(folder if wanted == "hub" and folder is not None else wanted)
    if place.is_file():
        if request.options:
            raise ConfigError(
                f"{card.name}, options: `{OPTION}:` needs a folder or hub id, which holds adapters of several languages; "
                f"{place.name} is one file. Name the folder, or leave the option out."
            )
        return Checkpoint(None, None, config, f"local:{place.name}", tensors_in([place]))
    if not place.is_dir():
        raise CheckpointError(
            f"{card.name}, weights {wanted!r}: expected hub, random, a folder or a file, got a path that is not there. "
            f"Check `weights:`."
        )
    held = read_json(str(place), "config.json", None)
    if held is None or "model_type" not in held:
        raise CheckpointError(
            f"{card.name}, weights {wanted!r}: expected a folder with a config.json that names its `model_type`, got "
            f"none. Save the model there with `save_pretrained`, or name the file itself."
        )
    return _with_adapter(request, str(place), None, held, f"local:{place.name}", local_files(str(place), None) or [])


def _on_hub(request: Request, card: Card, *, fetch: bool) -> Checkpoint | None:
    where, revision = card.source, request.revision or card.revision
    files = local_files(where, revision)
    if files is None and not fetch:
        return None
    origin = f"hub:{where}"
    try:
        held = read_json(where, "config.json", revision) or {}
        files = files or fetched_files(where, revision)
    except (EncoderError, OSError) as error:
        raise EncoderError(
            f"{card.name}, weights {origin}: expected a transformers checkpoint, got none that can be read: "
            f"{str(error).splitlines()[0]} Download it once where there is a network, or give `weights:` a local folder."
        ) from error
    commit = cached_commit(where, revision)
    return _with_adapter(request, where, revision, held, f"{origin}@{commit}" if commit else origin, files)


def _with_adapter(
    request: Request, where: str, revision: str | None, held: Mapping[str, object], origin: str, files: list[Path]
) -> Checkpoint:
    language = request.options.get("target_lang")
    tensors = tensors_in(files)
    if language is not None:
        adapter = adapter_file(where, revision, str(language))
        spoken = tensors_in([adapter])
        adapted = sorted(name for name in tensors.shapes if ".adapter_layer." in name)
        lost = [name for name in adapted if name not in spoken.shapes]
        if lost or not adapted:
            what = f"none for {lost[0]}" if lost else "a checkpoint whose blocks have none"
            raise CheckpointError(f"{adapter}: expected an adapter for every block, got {what}. Choose another file.")
        tensors = tensors_in([*files, adapter])
    return Checkpoint(where, revision, held, origin, tensors)


def _read(checkpoint: Checkpoint, card: Card, language: str | None) -> Loaded:
    blueprint, fitted = checkpoint.blueprint(card)
    extractor = check_extractor(card, checkpoint)
    read = checkpoint.tensors.read(fitted.source.values())
    state = {name[len(fitted.prefix) :]: tensor for name, tensor in read.items()}
    with quietly():
        model, info = type(blueprint.model).from_pretrained(
            None, config=blueprint.model.config, state_dict=state, dtype="float32", output_loading_info=True
        )
    refuse_misfit(
        f"{card.name} from {checkpoint.origin}",
        missing=info["missing_keys"],
        left_over=info["unexpected_keys"],
        resized=[str(key) for key in info["mismatched_keys"]],
    )
    return _loaded(
        model, checkpoint.origin, normalise=extractor.get("do_normalize"), ignored=fitted.ignored, language=language
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' bars and key tables to itself: misfits become our own error."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _loaded(
    model: Any,
    origin: str,
    *,
    normalise: object = None,
    ignored: Mapping[str, int] | None = None,
    language: str | None = None,
) -> Loaded:
    model.eval()
    model.requires_grad_(False)
    said = normalise if isinstance(normalise, bool) else None
    return Loaded(model, state_sha256(model.state_dict()), origin, said, ignored or {}, language)
