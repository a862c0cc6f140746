"""A corpus the package makes itself: vocal bursts of six classes by speakers with their own pitch and vocal tract.

For demonstrations and tests without data: the same options give the same bytes every time (another build of NumPy may
round a sample differently). What is scored on it says that a pipeline works, and nothing about people.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import RandomState

from ...store.files import move
from ..audio.identity import cache_dir
from . import bursts
from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan

RECIPE_VERSION = 1
"""Changes whenever the same options would give other bytes."""

INDEX = "index.json"
COLUMNS = (
    Column("label", "class", "kind of vocal burst"),
    Column("speaker", "group", "made voice"),
    Column("intensity", "target", "vocal effort, 0 to 1", "float"),
)


@dataclass(frozen=True)
class Plan:
    """What is made: every speaker gives every class the same number of clips."""

    n_speakers: int = 8
    clips_per_class_per_speaker: int = 5
    seed: int = 0

    def clips(self) -> Iterator[tuple[str, int, int]]:
        """Yield (class, speaker index, take) of every clip."""
        for label in bursts.RECIPES:
            for index in range(self.n_speakers):
                for take in range(self.clips_per_class_per_speaker):
                    yield label, index, take

    @property
    def folder_name(self) -> str:
        """A folder name that differs wherever the bytes would."""
        return f"synthetic-{RECIPE_VERSION}-{self.n_speakers}x{self.clips_per_class_per_speaker}-seed{self.seed}"


def scan(name: str, config: CorpusConfig) -> CorpusScan:
    """Return the corpus, writing below `config.root` (default: the user's cache) whatever is absent or different."""
    given = {field: getattr(config, field) for field in Plan.__dataclass_fields__}
    plan = Plan(**{field: value for field, value in given.items() if value is not None})
    root = config.root.expanduser() if config.root else cache_dir() / plan.folder_name
    intensities = make(root, plan)
    clips = tuple(
        ClipSource(
            clip, str(root / clip), None, None, {"label": label, "speaker": speaker, "intensity": intensities[clip]}
        )
        for clip, label, speaker in (_identity(plan, *key) for key in plan.clips())
    )
    about = SYNTHETIC.about
    notes = ("made by the package from formulas: scores say that the pipeline works, nothing about people",)
    return CorpusScan(name, "synthetic", about.licence, about.citation, about.homepage, COLUMNS, clips, notes)


def make(root: Path, plan: Plan) -> dict[str, float]:
    """Make the clips that are absent or different below `root`; return the intensity of each.

    An index beside them keeps the hash of every file, so that a second call only hashes.
    """
    index = _read_index(root, plan)
    made = dict(index)
    for key in plan.clips():
        clip = _identity(plan, *key)[0]
        known = index.get(clip)
        if known and _sha256(root / clip) == known[0]:
            continue
        data, intensity = _render(plan, *key)
        _write(root / clip, data)
        made[clip] = (hashlib.sha256(data).hexdigest(), intensity)
    if made != index:
        content = {"plan": plan.folder_name, "clips": made}
        _write(root / INDEX, json.dumps(content, indent=1).encode())
    return {clip: intensity for clip, (_, intensity) in made.items()}


def _identity(plan: Plan, label: str, index: int, take: int) -> tuple[str, str, str]:
    speaker = bursts.speaker(index, plan.seed).name
    return f"{label}/{speaker}_{label}_{take + 1:03}.wav", label, speaker


def _render(plan: Plan, label: str, index: int, take: int) -> tuple[bytes, float]:
    """Return the bytes of a 16-bit WAV file, and the clip's intensity."""
    # RandomState, not Generator: its streams are frozen across versions of NumPy (NEP 19).
    random = RandomState([plan.seed, 2, index, list(bursts.RECIPES).index(label), take])
    samples, intensity = bursts.burst(label, bursts.speaker(index, plan.seed), random)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(bursts.RATE_HZ)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue(), round(intensity, 6)


def _read_index(root: Path, plan: Plan) -> dict[str, tuple[str, float]]:
    try:
        content = json.loads((root / INDEX).read_text(encoding="utf-8"))
        if content["plan"] == plan.folder_name:
            return {clip: (str(sha256), float(intensity)) for clip, (sha256, intensity) in content["clips"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent or damaged: everything is made again
    return {}


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Put the file in place whole, so that several processes may make the same corpus at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    move(part, path)


SYNTHETIC = Adapter(
    name="synthetic",
    summary="vocal bursts of 6 classes that the package makes itself",
    scan=scan,
    options=frozenset(Plan.__dataclass_fields__),
    about=About(licence="CC0-1.0", citation="Made by voxcache from formulas; nobody was recorded.", homepage=""),
)
