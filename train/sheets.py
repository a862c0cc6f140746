"""A plain table as CSV, JSON, Markdown or LaTeX (booktabs). Everything in it is escaped for where it goes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Format = Literal["csv", "json", "md", "tex"]
Value = str | int | float | None


_NUMBER = re.compile(r"-?[\d.]+(e-?\d+)?( ± [\d.]+)?")


@dataclass(frozen=True)
class Sheet:
    """Columns, rows of values, and a caption: one sentence without markup."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: str = ""

    @property
    def shown(self) -> list[list[str]]:
        """What people read, a list a row."""
        return [["" if value is None else str(value) for value in row] for row in self.rows]

    def is_number(self, column: int) -> bool:
        """Return whether a column is set flush right."""
        cells = [row[column] for row in self.shown if row[column]]
        return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def to_csv(sheet: Sheet) -> str:
    """Return the raw values: numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows(["" if value is None else value for value in row] for row in sheet.rows)
    return out.getvalue()


def to_json(sheet: Sheet) -> str:
    """Return the raw values, an object a row."""
    rows = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def to_markdown(sheet: Sheet) -> str:
    """Return a pipe table of what is shown."""
    lines = [sheet.columns, ["---:" if sheet.is_number(i) else "---" for i in range(len(sheet.columns))]]
    body = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in sheet.shown]
    text = "".join(f"| {' | '.join(line)} |\n" for line in [*lines, *body])
    return f"{sheet.caption}\n\n{text}" if sheet.caption else text


def to_latex(sheet: Sheet) -> str:
    """Return a table for \\usepackage{booktabs}."""
    align = "".join("r" if sheet.is_number(i) else "l" for i in range(len(sheet.columns)))
    return latex_table(
        align,
        [[latex(name) for name in sheet.columns]],
        [[latex(c) for c in row] for row in sheet.shown],
        sheet.caption,
    )


def latex_table(
    align: str, head: Sequence[Sequence[str]], body: Sequence[Sequence[str]], caption: str, note: str = ""
) -> str:
    """Return a LaTeX table of cells that are escaped already; `caption` and `note` are not yet."""
    lines = ["\\begin{table}[t]", "\\centering"]
    lines += [f"\\caption{{{latex(caption)}}}"] if caption else []
    lines += [f"\\begin{{tabular}}{{{align}}}", "\\toprule"]
    lines += [f"{' & '.join(row)} \\\\" for row in head]
    lines += ["\\midrule", *(f"{' & '.join(row)} \\\\" for row in body), "\\bottomrule", "\\end{tabular}"]
    lines += [f"\\\\[2pt] \\footnotesize {latex(note)}"] if note else []
    return "\n".join([*lines, "\\end{table}", ""])


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
_LATEX |= {
    "…": r"\ldots{}",
    "†": r"$^{\dagger}$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "ρ": r"$\rho$",
    "–": "--",
    "−": "$-$",
    "≥": r"$\geq$",
}
_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " "}
_SPECIAL = re.compile("|".join(re.escape(letter) for letter in _LATEX))


def latex(text: str) -> str:
    """Return text with all that LaTeX would take for markup escaped."""
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], text)


WRITERS: dict[Format, Callable[[Sheet], str]] = {
    "csv": to_csv,
    "json": to_json,
    "md": to_markdown,
    "tex": to_latex,
}
