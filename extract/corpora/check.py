"""Everything that is wrong or odd about a corpus before a night is spent on it: files, labels, bounds, names, all at once."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError, nearest
from ...words import plural
from . import scan_corpus
from .base import ClipSource, CorpusConfig, CorpusScan
from .manifest import ROLES, examine

MAX_NAMED = 5
Probe = Callable[[Sequence[ClipSource]], Sequence[str | None]]
"""Told the clips, says for each why its audio cannot be used, or None."""


@dataclass(frozen=True)
class Checked:
    """What was found: `problems` stop extraction or cost clips, `remarks` are for someone to look at."""

    corpus: str
    n_clips: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def check_corpus(name: str, config: CorpusConfig, probe: Probe | None = None) -> Checked:
    """Look at a corpus as extraction would, and go on where that would stop.

    Args:
        probe: reads the audio of the clips; without it only the presence of the files is looked at.
    """
    places: list[str] = []
    try:
        if config.adapter in (None, "manifest") and config.manifest is not None:
            scan, found, places = examine(name, config)
        else:
            scan, found = scan_corpus(name, config), []
    except ConfigError as error:
        return Checked(name, 0, error.problems, ())
    places = places or [f"clip {clip.clip}" for clip in scan.clips]
    found += _missing(scan, places)
    if probe is not None:
        reasons = probe(scan.clips)
        found += [f"{where}: {reason}" for where, reason in zip(places, reasons, strict=True) if reason]
    return Checked(name, len(scan.clips), tuple(dict.fromkeys(found)), (*_remarks(scan), *scan.notes))


def _missing(scan: CorpusScan, places: Sequence[str]) -> Iterator[str]:
    seen: dict[str, str | None] = {}
    for clip, where in zip(scan.clips, places, strict=True):
        if clip.file not in seen:
            seen[clip.file] = _file_problem(clip.path)
        if seen[clip.file]:
            yield f"{where}: expected an audio file at {clip.file[:200]}, got {seen[clip.file]}. Correct the path."


def _file_problem(path: Path) -> str | None:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        return "nothing" if isinstance(error, FileNotFoundError) else str(error).split(":")[0]
    if not path.is_file():
        return "a folder" if path.is_dir() else "something that is no file"
    return None if found.st_size else "an empty file"


def _remarks(scan: CorpusScan) -> Iterator[str]:
    for column in scan.columns:
        if column.role in {"class", "group", "split"}:
            counts = Counter(str(clip.values.get(column.name, "")) for clip in scan.clips)
            yield from _alike(column.name, counts)
        if column.role == "class":
            yield from _classes(column.name, counts)
        if column.role == "group" and len({*counts} - {""}) == 1:
            yield f"{column.name}: one {column.name} only, so that no fold can be without it"
        if column.role == "meta" and scan.adapter == "manifest":
            close = nearest(column.name.casefold(), ROLES)
            if close != "." and column.name not in ROLES:
                yield f"column {column.description or column.name!r} is kept as metadata{close}"


def _alike(name: str, counts: Counter[str]) -> Iterator[str]:
    """Yield a sentence for values that a reader would take for one: other case, spaces or dashes, letters that look alike."""
    groups = defaultdict(list)
    for value in counts:
        plain = unicodedata.normalize("NFKC", value).casefold()
        groups["".join(c for c in plain if c.isalnum())].append(value)
    for key, values in groups.items():
        if key and len(values) > 1:
            listed = " and ".join(f"{value!r} ({counts[value]})" for value in sorted(values))
            yield f"{name}: {listed} differ only in case, spaces or punctuation"


def _classes(name: str, counts: Counter[str]) -> Iterator[str]:
    classes = {value: n for value, n in counts.items() if value}
    if len(classes) == 1:
        yield f"{name}: one class only, {next(iter(classes))!r}: nothing to tell apart"
    if classes and max(classes.values()) > 20 * min(classes.values()):
        few = sorted(classes, key=lambda value: classes[value])[:MAX_NAMED]
        rarest = ", ".join(f"{value!r} ({classes[value]})" for value in few)
        yield f"{name}: the largest class has {plural(max(classes.values()), 'clip')}, the smallest {rarest}"
