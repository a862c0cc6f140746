"""Asking a kept head about new audio files: embed them as the store was embedded, then let the head say.

head = voxcache.load_head("heads/cries--wavlm-base--fcn")
for said in head.predict(["a.wav", "b.wav"]):
    print(said.file, said.label, said.values)
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import AudioError, ConfigError, KeyMismatch, VoxcacheError
from .store.keys import differences
from .train.saving import SavedHead, load_saved

if TYPE_CHECKING:
    from .extract.config import ExtractConfig
    from .extract.jobs import Loaded
    from .extract.plan import EncoderPlan
    from .train.models import Vectors

BLOCK_FILES = 128
"""Files decoded and embedded together."""


@dataclass(frozen=True)
class Prediction:
    """What a head says of one file.

    Attributes:
        label: the most probable class; "" where targets are predicted or the file could not be used.
        values: probability of each class, or each predicted target; empty where the file could not be used.
        error: why it could not be used.
        note: what else to know, such as that it was padded.
    """

    file: str
    label: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    note: str = ""


@dataclass
class Head:
    """A kept head with the encoders it needs, which are loaded when first asked.

    Attributes:
        requests: how to build an encoder, by its name in the store, in place of what the head remembers.
    """

    saved: SavedHead
    device: str = "auto"
    requests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where it predicts targets."""
        return self.saved.classes

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the continuous targets; none where it predicts classes."""
        return self.saved.targets

    def predict(self, files: Sequence[str | Path]) -> list[Prediction]:
        """Return what the head says of each file, in order; a file that cannot be used is named, not raised.

        Raises:
            KeyMismatch: an encoder is not the one that the head was fitted on.
        """
        return list(self.stream(files))

    def stream(self, files: Sequence[str | Path]) -> Iterator[Prediction]:
        """Yield predictions block by block."""
        encoders = self._encoders
        for start in range(0, len(files), BLOCK_FILES):
            yield from self._block([Path(file) for file in files[start : start + BLOCK_FILES]], encoders)

    def _block(self, files: Sequence[Path], encoders: Sequence[_Encoder]) -> Iterator[Prediction]:
        from .extract.audio import foreseen, load

        waves: list[np.ndarray | AudioError] = []
        for file in files:
            try:
                with foreseen(file):
                    waves.append(load(file, None, None))
            except AudioError as error:
                waves.append(error)
        embedded = [encoder.embed(waves) for encoder in encoders]
        errors = [next((one.errors[i] for one in embedded if one.errors[i]), "") for i in range(len(files))]
        good = [index for index, error in enumerate(errors) if not error]
        said = self.saved.predict_vectors([one.of(good) for one in embedded]) if good else np.zeros((0, 0))
        rows = dict(zip(good, said, strict=True))
        for index, file in enumerate(files):
            if index not in rows:
                yield Prediction(str(file), error=errors[index])
                continue
            note = "; ".join(dict.fromkeys(one.notes[index] for one in embedded if one.notes[index]))
            yield self._told(file, rows[index], note)

    def _told(self, file: Path, said: np.ndarray, note: str) -> Prediction:
        names = self.classes or self.targets
        values = {name: float(value) for name, value in zip(names, said, strict=True)}
        return Prediction(str(file), self.classes[int(said.argmax())] if self.classes else "", values, note=note)

    @cached_property
    def _encoders(self) -> list[_Encoder]:
        from .extract.jobs import Loaded
        from .extract.progress import Reporter

        loaded = Loaded(self.device, Reporter(quiet=True))
        return [_Encoder(item, loaded, self.requests.get(item["encoder"])) for item in self.saved.about["inputs"]]


def load_head(path: str | Path, *, device: str = "auto", **requests: Mapping[str, Any]) -> Head:
    """Return the head that `voxcache train --save` kept in the folder `path`.

    Raises:
        SchemaError: there is none, or it holds what is not safe to load.
    """
    return Head(load_saved(path), device, requests)


@dataclass(frozen=True)
class _Embedded:
    """One encoder's input for every file of a block, and what happened to each."""

    values: Vectors
    errors: list[str]
    notes: list[str]

    def of(self, good: Sequence[int]) -> Vectors:
        """Return the input of some files."""
        if isinstance(self.values, np.ndarray):
            return self.values[list(good)]
        return [self.values[i] for i in good]


class _Encoder:
    """One encoder as the head needs it."""

    def __init__(self, item: Mapping[str, Any], loaded: Loaded, request: Mapping[str, Any] | None) -> None:
        from .extract.config import ExtractConfig

        self.item, self.loaded = item, loaded
        key = item["key"]
        windows = (
            {"max_s": key["window_samples"] / 16_000, "overlap_s": key["overlap_s"]} if "window_samples" in key else {}
        )
        self.settings: ExtractConfig = ExtractConfig(frames_dtype=item["frames_dtype"], **windows)
        self.plan = self._plan(dict(request or item["request"]))
        found = differences(key, self.plan.key(loaded.identity(self.plan), self.settings))
        if found:
            told = "; ".join(found).replace(" in the store", " when the head was fitted")
            raise KeyMismatch(
                f"encoder {item['encoder']!r}: not the one that the head was fitted on ({told}). Nothing was predicted. Name "
                f"a pipeline whose `encoders:` asks for that one (`--pipeline`), or fit the head again."
            )

    def _plan(self, request: dict[str, Any]) -> EncoderPlan:
        from .extract.config import EncoderConfig
        from .extract.plan import plan_encoder

        given = {name: value for name, value in request.items() if value is not None and name not in ("frames", "as")}
        return plan_encoder(EncoderConfig.model_validate({**given, "as": self.item["encoder"]}))

    def embed(self, waves: Sequence[np.ndarray | AudioError]) -> _Embedded:
        """Return the input that the head takes of this encoder."""
        from .extract.embed import Cutting
        from .store.schema import OK, Products

        layer, statistics = self.item["layer"], self.item["statistics"]
        frames = (int(layer),) if statistics == "frames" else ()
        data = self.loaded.embed(
            self.plan,
            waves,
            cutting=Cutting(self.settings.max_s, self.settings.overlap_s),
            products=Products(statistics == "mean+std", frames, self.settings.frames_dtype),
        )
        ok = data.status == OK
        reasons = [str(reason) for reason in data.reason]
        errors = ["" if good else reason for good, reason in zip(ok, reasons, strict=True)]
        notes = [reason if good else "" for good, reason in zip(ok, reasons, strict=True)]
        if frames:
            empty = np.empty((0, self.item["dim"]), dtype=np.float32)
            return _Embedded([empty if one is None else one for one in data.frames[int(layer)]], errors, notes)
        picked = self.item["layers"] if layer == "weighted" else int(layer)
        values = data.pooled[:, picked]
        if data.pooled_std is not None:
            values = np.concatenate([values, data.pooled_std[:, picked]], axis=-1)
        return _Embedded(np.asarray(values, dtype=np.float32), errors, notes)


def audio_files(named: Sequence[str]) -> list[Path]:
    """Return the files that names, folders (searched whole, for the suffixes of audio) and patterns stand for, each once.

    Raises:
        ConfigError: a name that stands for nothing.
    """
    from .extract.corpora.files import AUDIO_EXTENSIONS

    found: dict[Path, None] = {}
    problems = []
    for name in named:
        path = Path(name).expanduser()
        if path.is_dir():
            audio = (file for file in path.rglob("*") if file.suffix.lower() in AUDIO_EXTENSIONS)
            matched = sorted(file for file in audio if file.is_file())
        else:
            matched = [path] if path.exists() else sorted(Path(file) for file in glob.glob(name, recursive=True))
        if not matched:
            problems.append(
                f"{name}: expected an audio file, a folder with some, or a pattern, got nothing. Check the path."
            )
        found.update(dict.fromkeys(matched))
    if problems:
        raise ConfigError(problems)
    return list(found)


def require_some(said: Sequence[Prediction]) -> None:
    """Raise `VoxcacheError` unless something could be said of one file at least."""
    if said and all(one.error for one in said):
        raise VoxcacheError(f"none of {len(said)} files can be used: {said[0].error}. Check the files.")
