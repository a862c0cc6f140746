"""Tables with a header, from CSV, TSV and Parquet, as rows of text."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import ConfigError
from ...store.missing import mended


@dataclass(frozen=True)
class Table:
    """Columns in order, and rows as text; "" where there is nothing. `first_row` is what its readers call row one."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    first_row: int = 2

    def where(self, index: int) -> str:
        """Return how messages name the row at `index`."""
        return f"{self.path.name}, row {index + self.first_row}"


def read_table(path: Path) -> Table:
    """Read a table by its ending: .parquet, else delimited text whose separator is found in the header line.

    Raises:
        ConfigError: no such file, not readable as such a table, no rows, or a column that occurs twice.
    """
    if not path.is_file():
        raise ConfigError(f"table {path}: expected a file, found none. Correct the path.")
    try:
        table = _read_parquet(path) if path.suffix.lower() in {".parquet", ".pq"} else _read_text(path)
    except (UnicodeDecodeError, csv.Error, ValueError, OSError) as error:
        raise ConfigError(
            f"table {path.name}: expected UTF-8 text or Parquet, got an error: {error}. Save it again as such."
        ) from error
    if twice := [name for name, count in Counter(table.columns).items() if count > 1]:
        raise ConfigError(f"table {path.name}: expected each column once, got {', '.join(twice)} twice. Rename one.")
    if not table.rows:
        raise ConfigError(f"table {path.name}: expected one row a clip, got no rows. Add some.")
    return table


def without_missing(
    table: Table, na: Collection[str], *, kept: Collection[str | None] = ()
) -> tuple[Table, tuple[tuple[str, int], ...]]:
    """Return a table with "" for what is missing (see `store.missing`), and how many cells of each column said so by a word.

    Args:
        kept: columns whose words mean what they say, such as paths.
    """
    columns = {name: [row[name] for row in table.rows] for name in table.columns if name not in kept}
    found = {name: mended(cells, na) for name, cells in columns.items()}
    rows = tuple(row | {name: found[name][0][i] for name in found} for i, row in enumerate(table.rows))
    return replace(table, rows=rows), tuple((name, count) for name, (_, count) in found.items() if count)


def _read_text(path: Path) -> Table:
    text = path.read_text("utf-8-sig")
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",\t;", key=header.count), strict=True)
    columns = tuple(name.strip() for name in next(reader, []))
    rows = []
    for cells in filter(None, reader):
        if len(cells) > len(columns):
            raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the header {len(columns)}")
        padded = [*(cell.strip() for cell in cells), *[""] * (len(columns) - len(cells))]
        rows.append(dict(zip(columns, padded, strict=True)))
    return Table(path, columns, tuple(rows))


def _read_parquet(path: Path) -> Table:
    from pyarrow import ArrowException, parquet

    try:
        content = parquet.read_table(path)
    except ArrowException as error:
        raise ValueError(str(error)) from error
    rows = tuple({str(name): _text(value) for name, value in row.items()} for row in content.to_pylist())
    return Table(path, tuple(content.column_names), rows, first_row=1)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)
