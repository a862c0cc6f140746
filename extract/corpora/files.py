"""Audio files below a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError
from ...words import plural
from .base import CorpusConfig, clip_id

AUDIO_EXTENSIONS = frozenset(
    {
        *(".wav", ".wave", ".flac", ".aiff", ".aif", ".aifc", ".au", ".sph", ".w64", ".rf64", ".caf"),
        *(".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".amr", ".3gp", ".3gpp", ".mp4", ".webm", ".mkv"),
        *(".mov", ".avi"),
    }
)


@dataclass(frozen=True)
class Listing:
    """Paths of the audio files below a folder, by id, in order of id; `ignored` counts the other files by ending."""

    files: dict[str, str]
    ignored: Counter[str]

    @property
    def notes(self) -> list[str]:
        """A sentence on the files left out, or nothing."""
        if not self.ignored:
            return []
        counts = sorted(self.ignored.items(), key=lambda item: (-item[1], item[0] or "~"))
        kinds = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in counts[:5])
        return [f"ignored {plural(self.ignored.total(), 'file')} not audio by their ending ({kinds})"]


def corpus_root(name: str, config: CorpusConfig) -> Path:
    """Return the folder the configuration names. Raises `ConfigError` if there is none."""
    if config.root is None:
        raise ConfigError(f"root of corpus {name}: expected a folder, got none. Add `root: path/to/corpus`.")
    root = config.root.expanduser()
    if not root.is_dir():
        got = "a file" if root.exists() else "a path that does not exist"
        raise ConfigError(f"root of corpus {name}, {root}: expected a folder, got {got}. Correct `root:`.")
    return root


def list_audio(root: Path, extensions: Collection[str] = AUDIO_EXTENSIONS) -> Listing:
    """Return the audio files below `root`, leaving out hidden files and folders."""
    files: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        below = Path(folder).relative_to(root).as_posix()
        for name in sorted(names):
            if name.startswith("."):
                continue
            ending = os.path.splitext(name)[1].lower()
            if ending in extensions:
                files[clip_id(f"{below}/{name}")] = os.path.join(folder, name)
            else:
                ignored[ending] += 1
    return Listing(dict(sorted(files.items())), ignored)
