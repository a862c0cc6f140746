"""A corpus listed in a table, one row a clip: path, label or targets, and optionally clip, speaker, split, start_s, end_s.

Every other column is kept as metadata. All that is wrong is reported at once, with row numbers; audio files that are
missing or bad are not the manifest's fault and end in the ledger instead.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError, nearest
from ...store.schema import CORPUS_ARRAYS, node_name
from ...words import plural
from .base import Adapter, ClipSource, Column, CorpusConfig, CorpusScan, clip_id, id_problems, raise_all
from .folders import single_labels
from .tables import Table, read_table, without_missing

ROLES = ("path", "label", "clip", "speaker", "split", "start_s", "end_s")
"""Columns with a meaning; `columns: {label: emotion}` in the configuration renames one."""

_NAMED = {
    "label": Column("label", "class", "class of the clip"),
    "speaker": Column("speaker", "group", "who is heard"),
    "split": Column("split", "split", "part of the corpus, as published"),
}


@dataclass(frozen=True)
class _Reading:
    """A table with its columns by role, and the folder its paths start from."""

    table: Table
    base: Path
    source: dict[str, str]
    targets: tuple[str, ...]
    n_missing: tuple[tuple[str, int], ...] = ()
    """Columns in which words stand for missing values, and how many."""

    @property
    def meta(self) -> list[str]:
        used = {*self.source.values(), *self.targets}
        return [name for name in self.table.columns if name not in used and name]

    def cell(self, row: dict[str, str], role: str) -> str:
        return row[self.source[role]] if role in self.source else ""


def scan(name: str, config: CorpusConfig) -> CorpusScan:
    """Return the clips a manifest lists.

    Raises:
        ConfigError: every problem found: no path column, paths or ids that are empty, double or leave the corpus,
            bounds and targets that are no numbers.
    """
    found, problems, _ = examine(name, config)
    raise_all(problems)
    return found


def examine(name: str, config: CorpusConfig) -> tuple[CorpusScan, list[str], list[str]]:
    """Return the clips a manifest lists, every problem of its rows, and how messages name the row of each clip.

    Raises:
        ConfigError: it cannot be read as a table, or has not the columns that it should.
    """
    reading = _open(name, config)
    problems: list[str] = []
    clips = tuple(_clip(reading, index, problems) for index in range(len(reading.table.rows)))
    problems += _repeated(reading, clips)
    listed = [(i, clip.clip) for i, clip in enumerate(clips) if reading.cell(reading.table.rows[i], "path")]
    problems += id_problems((reading.table.where(i), name) for i, name in listed)
    columns = _columns(reading, problems)
    found = CorpusScan(name, "manifest", "not stated", "", "", columns, clips, tuple(_notes(reading, columns, clips)))
    return found, problems, [reading.table.where(index) for index in range(len(clips))]


def _open(name: str, config: CorpusConfig) -> _Reading:
    if config.manifest is None:
        raise ConfigError(f"corpus {name}: expected a manifest, got none. Add `manifest: path/to/table.csv`.")
    path = config.manifest.expanduser()
    table = read_table(path)
    problems = [
        f"columns of corpus {name}: expected one of {', '.join(ROLES)}, got {role!r}{nearest(role, ROLES)} Rename it."
        for role in config.columns
        if role not in ROLES
    ]
    source = {role: config.columns.get(role, role) for role in ROLES}
    for column in (*config.columns.values(), *config.targets):
        if column not in table.columns:
            problems.append(
                f"manifest {path.name}: expected a column {column!r}, got {', '.join(table.columns)}"
                f"{nearest(column, table.columns)} Correct the name."
            )
    if "path" not in config.columns and "path" not in table.columns:
        problems.append(
            f"manifest {path.name}: expected a column 'path', got {', '.join(table.columns)}. "
            f"Rename one, or say which it is with `columns: {{path: ...}}`."
        )
    raise_all(problems)
    present = {role: column for role, column in source.items() if column in table.columns}
    table, n_missing = without_missing(table, config.na, kept={present.get("path"), present.get("clip")})
    return _Reading(table, (config.root or path.parent).expanduser(), present, config.targets, n_missing)


def _clip(reading: _Reading, index: int, problems: list[str]) -> ClipSource:
    row, where = reading.table.rows[index], reading.table.where(index)
    written = reading.cell(row, "path").replace("\\", "/")
    if not written:
        problems.append(f"{where}: expected a path, got an empty cell. Fill it or delete the row.")
    if "\0" in written:
        problems.append(f"{where}: expected a path, got one with a zero byte. Write the table again as text.")
    start_s = _number(reading.cell(row, "start_s"), f"{where}: expected start_s in seconds", problems)
    end_s = _number(reading.cell(row, "end_s"), f"{where}: expected end_s in seconds", problems)
    if (start_s or 0) < 0 or (end_s is not None and end_s <= (start_s or 0)):
        problems.append(
            f"{where}: expected 0 <= start_s < end_s, got {start_s or 0:g} and {end_s}. Correct the bounds."
        )
    values: dict[str, str | float] = {
        role: unicodedata.normalize("NFC", reading.cell(row, role)) for role in _NAMED if role in reading.source
    }
    for target in reading.targets:
        number = _number(row[target], f"{where}: expected a number in {target}", problems)
        values[_column_name(target)] = math.nan if number is None else number
    values |= {_column_name(name): row[name] for name in reading.meta}
    name = reading.cell(row, "clip") if "clip" in reading.source else _default_id(reading, written, start_s, end_s)
    return ClipSource(clip_id(name) if name else "", str(reading.base / written), start_s, end_s, values)


def _number(text: str, expected: str, problems: list[str]) -> float | None:
    """Return the number, or None for an empty cell; adds a problem for anything else."""
    try:
        number = float(text) if text else None
    except ValueError:
        number = math.nan
    if number is not None and not math.isfinite(number):
        problems.append(f"{expected}, got {text!r}. Correct it or leave it empty.")
        return None
    return number


def _default_id(reading: _Reading, written: str, start_s: float | None, end_s: float | None) -> str:
    """Return the path below the corpus' folder, with the bounds of a part: "a/b.wav@1.5-2.0"."""
    if os.path.isabs(written):
        base = f"{os.path.abspath(reading.base)}/".replace("\\", "/")
        if os.path.normcase(written).startswith(os.path.normcase(base)):  # Windows writes one drive as c: and as C:
            written = written[len(base) :]
    if start_s is None and end_s is None:
        return written
    return f"{written}@{float(start_s or 0)!r}-{'end' if end_s is None else repr(float(end_s))}"


def _repeated(reading: _Reading, clips: Sequence[ClipSource]) -> list[str]:
    rows = defaultdict(list)
    for index, clip in enumerate(clips):
        if reading.cell(reading.table.rows[index], "path"):
            rows[os.path.normcase(os.path.normpath(clip.path)), clip.start_s or 0.0, clip.end_s].append(
                index + reading.table.first_row
            )
    return [
        f"{reading.table.path.name}, rows {', '.join(map(str, same))}: expected each clip once, got {Path(path).name} "
        f"with the same bounds. Delete all but one."
        for (path, *_), same in rows.items()
        if len(same) > 1
    ]


def _column_name(name: str) -> str:
    """Return a column's name as a store can hold it."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip("._+-") or "column"


def _columns(reading: _Reading, problems: list[str]) -> tuple[Column, ...]:
    named = [column for role, column in _NAMED.items() if role in reading.source]
    targets = [Column(_column_name(name), "target", name, "float") for name in reading.targets]
    columns = (*named, *targets, *(Column(_column_name(name), "meta", name) for name in reading.meta))
    where = f"manifest {reading.table.path.name}"
    stored = [f"{column.name}_" if column.name in CORPUS_ARRAYS else column.name for column in columns]
    twice = [name for name, count in Counter(name.casefold() for name in stored).items() if count > 1]
    problems += [f"{where}: two columns would both be {name!r}. Rename one." for name in twice]
    for column in columns:
        try:
            node_name("column", column.name)
        except ConfigError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
    return columns


def _notes(reading: _Reading, columns: Sequence[Column], clips: tuple[ClipSource, ...]) -> list[str]:
    notes = single_labels(clips)
    if reading.n_missing:
        columns_of = ", ".join(f"{column} {count}" for column, count in reading.n_missing)
        total = sum(count for _, count in reading.n_missing)
        notes.append(f"{plural(total, 'cell')} such as NA or nan count as missing ({columns_of}); `na: []` keeps them")
    scored = [column.name for column in columns if column.role in {"class", "target"}]
    if not scored:
        notes.append("no label and no targets: the clips can be embedded, but nothing can be trained on them")
    for name in scored:
        if lacking := sum(clip.values[name] == "" or clip.values[name] != clip.values[name] for clip in clips):
            notes.append(f"{plural(lacking, 'clip')} without {name}")
    return notes


MANIFEST = Adapter(
    name="manifest",
    summary="a CSV, TSV or Parquet table with one row a clip",
    scan=scan,
    options=frozenset({"manifest", "columns", "targets", "na"}),
)
