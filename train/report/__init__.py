"""The report: report.html (one file, nothing loaded from elsewhere), report.md, tables.tex and table.csv in the results folder."""

from .baseline import baseline
from .contamination import contamination
from .writing import write

__all__ = ["baseline", "contamination", "write"]
