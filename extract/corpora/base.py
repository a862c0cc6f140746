"""What a corpus is to stage 1: clips with their audio, labels and groups, and where it comes from. Imports nothing heavy."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...errors import ConfigError
from ...store.missing import NA
from ...store.schema import MAX_ID, Role

Kind = Literal["string", "float"]

MAX_PROBLEMS = 50
"""Problems named one by one; a manifest written for another program has one a row."""


class CorpusConfig(BaseModel):
    """One entry of `corpora:` in pipeline.yaml. What is left out has the adapter's own default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter: str | None = Field(None, description="who reads it; default: manifest where one is given, else folders")
    root: Path | None = Field(None, description="the folder with the corpus")
    manifest: Path | None = Field(None, description="a CSV, TSV or Parquet file with one row a clip")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="manifest: its own names for path, label, clip, speaker, split, start_s, end_s",
    )
    targets: tuple[str, ...] = Field((), description="manifest: columns with continuous targets")
    na: tuple[str, ...] = Field(
        NA, description="manifest: words that stand for a missing value beside the empty cell; [] keeps them as labels"
    )
    extensions: tuple[str, ...] = Field((), description="folders: file endings taken for audio, such as .wav")
    subset: str | None = Field(
        None, description="a part of a published corpus, such as non-speech; see docs/corpora.md"
    )
    n_speakers: int | None = Field(None, ge=2, le=99, description="synthetic: speakers")
    clips_per_class_per_speaker: int | None = Field(None, ge=1, le=999, description="synthetic: clips of each")
    seed: int | None = Field(None, ge=0, lt=2**32, description="synthetic: what everything is drawn from")
    licence: str | None = Field(None, description="of the audio; travels with the store")
    citation: str | None = Field(None, description="of the corpus; travels with the store")
    homepage: str | None = Field(None, description="of the corpus; travels with the store")
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, description="for adapters of plug-ins")


@dataclass(frozen=True, slots=True)
class ClipSource:
    """One clip and where its audio is.

    Attributes:
        clip: stable id, a relative posix path or what the manifest says; no absolute path.
        file: the audio file, kept as text: of a million `Path`s each takes three times as much memory.
        start_s: where the clip begins in the file, or None for its beginning.
        end_s: where it ends, or None for the end of the file.
        values: one value a column; what is unknown is left out, "" or NaN.
    """

    clip: str
    file: str
    start_s: float | None
    end_s: float | None
    values: Mapping[str, str | float]

    @property
    def path(self) -> Path:
        """The audio file."""
        return Path(self.file)


@dataclass(frozen=True)
class Column:
    """What a label column means. `role` "group" is what no two folds may share, such as a speaker."""

    name: str
    role: Role
    description: str = ""
    kind: Kind = "string"


@dataclass(frozen=True)
class CorpusScan:
    """A corpus as found on disk. `notes` says what a reader should know: counts against published ones, files left out."""

    name: str
    adapter: str
    licence: str
    citation: str
    homepage: str
    columns: tuple[Column, ...]
    clips: tuple[ClipSource, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class About:
    """Where a corpus comes from and what may be done with it."""

    licence: str = "not stated"
    citation: str = ""
    homepage: str = ""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Reads one kind of corpus.

    Attributes:
        summary: one line for listings.
        scan: called as scan(name, config); raises `ConfigError` with all that is wrong.
        options: the fields of `CorpusConfig` it understands besides root and the three of `About`.
    """

    name: str
    summary: str
    scan: Callable[[str, CorpusConfig], CorpusScan]
    options: frozenset[str] = frozenset()
    about: About = About()


def clip_id(path: str) -> str:
    """Return a relative path as a clip id: forward slashes, no "." parts, Unicode NFC."""
    return unicodedata.normalize("NFC", posixpath.normpath(path.replace("\\", "/")))


def id_problems(ids: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence for each (where, id) that could not be a path inside a folder on every system."""
    problems, seen = [], defaultdict(list)
    for where, name in ids:
        if reason := _unusable(name):
            problems.append(
                f"{where}: expected a clip id inside the corpus, got {name[:200]!r}, which {reason}. "
                "Rename it, or give it another name in a column clip."
            )
        seen[name.casefold()].append((where, name))
    for group in seen.values():
        if len(group) > 1:
            same = "the same" if len({name for _, name in group}) == 1 else "a clip id that differs only in case"
            places = " and ".join(where for where, _ in group[:3])
            problems.append(f"{places}: expected different clip ids, got {same}: {group[0][1]!r}. Rename one.")
    return problems


def _unusable(name: str) -> str | None:
    parts = name.split("/")
    if not name or name == ".":
        return "is empty"
    if len(name) > MAX_ID:
        return f"is longer than {MAX_ID} characters"
    if name.startswith("/") or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "is an absolute path"
    if ".." in parts:
        return "leaves its folder"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        return "has a control character"
    return None


def raise_all(problems: list[str]) -> None:
    """Raise `ConfigError` if there are problems; the first `MAX_PROBLEMS` are named."""
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], f"... and {len(problems) - MAX_PROBLEMS} more problems."]
    if problems:
        raise ConfigError(problems)
