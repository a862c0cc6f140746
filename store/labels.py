"""Label columns from a table: joined to the clips of a corpus by id, any number of times; embeddings are not touched."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError, nearest
from .backend import writer_lock
from .missing import NA, mended
from .read import Corpus, open_store
from .schema import CORPUS_ARRAYS, Role, node_name
from .write import ColumnData, create_store, register_clips

MAX_LISTED = 5


@dataclass(frozen=True)
class Labelled:
    """What a table changed. `unknown` are ids of the table that the corpus lacks, `unlabelled` clips the table lacks.

    `n_missing` counts cells in which a word such as NA stands for a missing value.
    """

    columns: tuple[str, ...]
    matched: int
    unknown: tuple[str, ...]
    unlabelled: tuple[str, ...]
    n_missing: int = 0


def label(
    path: str | Path,
    corpus: str,
    table: str | Path,
    *,
    id_column: str = "clip",
    roles: Mapping[str, Role] | None = None,
    na: Collection[str] = NA,
) -> Labelled:
    """Write columns of a CSV file into a corpus. Clips the file lists get its values, also empty ones; others keep theirs.

    Args:
        id_column: the column that holds clip ids.
        roles: the columns to take and what each is; without it all are taken: known ones keep their role, new ones are
            "meta". A "target" holds numbers.
        na: words that stand for a missing value.

    Raises:
        ConfigError: every problem of the file at once; nothing is written.
        StoreBusy: another process is writing to the store.
    """
    ids, given = read_table(table, id_column)
    found = {name: mended(column, na) for name, column in given.items()}
    cells = {name: column for name, (column, _) in found.items()}
    open_store(path).corpus(corpus)  # create_store would make a store where there is none
    with writer_lock(Path(path)):
        store = create_store(path)
        held = store.corpus(corpus)
        ids = _slashed(held, ids)
        chosen = _roles(held, cells, roles, table)
        rows = _join(held, ids, table)
        columns = [_column(held, name, role, cells[name], rows) for name, role in chosen.items()]
        _require_numbers(columns, ids, table)
        register_clips(
            store,
            corpus,
            clip=[str(clip) for clip in held.clip],
            sha256=[str(sha) for sha in held.sha256],
            n_samples=[int(n) for n in held.n_samples],
            columns=[column.data for column in columns],
        )
    listed = set(ids)
    return Labelled(
        tuple(chosen),
        sum(row is not None for row in rows),
        tuple(clip for clip, row in zip(ids, rows, strict=True) if row is None),
        tuple(str(clip) for clip in held.clip[held.listing.used] if _nfc(str(clip)) not in listed),
        sum(found[name][1] for name in chosen),
    )


def read_table(table: str | Path, id_column: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the ids of a CSV file and its other columns by name. Raises `ConfigError` where it is not a plain table."""
    try:
        with Path(table).open(newline="", encoding="utf-8-sig") as file:
            header, *lines = [line for line in csv.reader(file) if line] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{table}: expected a CSV file in UTF-8, got {error}. Check the path and the file."
        ) from error
    if id_column not in header:
        raise ConfigError(
            f"{table}: expected a column {id_column!r} of clip ids, got {', '.join(header) or 'an empty file'}. Name it "
            f"with --id."
        )
    problems = [
        f"{table}, data row {number}: expected {len(header)} cells, got {len(line)}."
        for number, line in enumerate(lines, 1)
        if len(line) != len(header)
    ]
    problems += [f"{table}: column {name!r} stands twice." for name in sorted(set(header)) if header.count(name) > 1]
    if problems:
        raise ConfigError(problems)
    cells = {name: [_nfc(line[i].strip()) for line in lines] for i, name in enumerate(header)}
    ids = cells.pop(id_column)
    return ids, cells


def _roles(
    corpus: Corpus, cells: Mapping[str, Sequence[str]], roles: Mapping[str, Role] | None, table: str | Path
) -> dict[str, Role]:
    if roles:
        chosen = dict(roles)
    else:
        known = corpus.columns
        chosen = {name: known[name].role if name in known else "meta" for name in cells}
    problems = [
        f"{table}: column {name!r}: not there{nearest(name, cells)} It holds: {', '.join(cells)}."
        for name in chosen
        if name not in cells
    ]
    problems += [
        f"{table}: column {name!r}: {corpus.path} has something else of that name. Rename the column."
        for name in chosen
        if name in CORPUS_ARRAYS or name in corpus.encoders or node_name("column", name) != name
    ]
    if not chosen:
        problems.append(f"{table}: expected columns beside the ids, got none. Nothing was written.")
    if problems:
        raise ConfigError(problems)
    return chosen


def _slashed(corpus: Corpus, ids: Sequence[str]) -> list[str]:
    """Return ids as the corpus has them: tables of Windows may write `a\\b.wav` for `a/b.wav`."""
    known = {_nfc(str(clip)) for clip in corpus.clip}
    return [clip if clip in known else clip.replace("\\", "/") for clip in ids]


def _join(corpus: Corpus, ids: Sequence[str], table: str | Path) -> list[int | None]:
    twice = sorted(clip for clip, count in Counter(ids).items() if count > 1)
    if twice:
        raise ConfigError(f"{table}: expected each clip once, got {_few(twice)} more than once. Nothing was written.")
    row_of = {_nfc(str(clip)): row for row, clip in enumerate(corpus.clip)}
    rows = [row_of.get(clip) for clip in ids]
    if all(row is None for row in rows):
        raise ConfigError(
            f"{table}: expected ids of {corpus.path} such as {_few(list(row_of))}, got {_few(ids) or 'none'}. Nothing was "
            f"written."
        )
    return rows


@dataclass(frozen=True)
class _Column:
    data: ColumnData
    wrong: tuple[int, ...]


def _column(corpus: Corpus, name: str, role: Role, cells: Sequence[str], rows: Sequence[int | None]) -> _Column:
    """Return a whole column, the present values overlaid with the table's, and which cells are not what it takes."""
    held = corpus.columns.get(name)
    number = role == "target" or (role == "meta" and held is not None and held.values.dtype.kind == "f")
    empty: float | str = np.nan if number else ""
    values: np.ndarray = np.full(corpus.n_clips, empty, dtype=np.float64 if number else object)
    if held is not None and (held.values.dtype.kind == "f") == number:
        values[:] = held.values
    wrong = []
    for i, (cell, row) in enumerate(zip(cells, rows, strict=True)):
        parsed = _number(cell) if number else cell
        if parsed is None:
            wrong.append(i)
        elif row is not None:
            values[row] = parsed
    description = held.description if held is not None else ""
    return _Column(ColumnData(name, role, values, description), tuple(wrong))


def _number(cell: str) -> float | None:
    try:
        value = float(cell) if cell else float("nan")
    except ValueError:
        return None
    return None if np.isinf(value) else value


def _require_numbers(columns: Sequence[_Column], ids: Sequence[str], table: str | Path) -> None:
    problems = [
        f"{table}: column {column.data.name!r}: expected a number or nothing for each clip, got something else for "
        f"{_few([ids[i] for i in column.wrong])}. Nothing was written."
        for column in columns
        if column.wrong
    ]
    if problems:
        raise ConfigError(problems)


def _nfc(text: str) -> str:
    """Return text in the one Unicode form of ids and labels: an é typed on another system may be two characters."""
    return unicodedata.normalize("NFC", text)


def _few(names: Sequence[str]) -> str:
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
