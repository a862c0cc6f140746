"""What counts as missing in a table, in every reader: an empty cell, and the words by which pandas and others write one."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

NA = ("nan", "NaN", "NA", "N/A", "None", "null")
"""Words that stand for a missing value, beside the empty cell, unless a corpus says otherwise (`na: []`)."""

_WHOLE = re.compile(r"-?\d+\.0")


def mended(cells: Sequence[str], na: Collection[str] = NA) -> tuple[list[str], int]:
    """Return a column with "" for what is missing, and how many of its cells said so by a word.

    Whole numbers beside missing ones are written without a fraction: a table program that has no missing whole number makes
    1.0 of them, which is another class than 1.
    """
    words = sum(cell in na for cell in cells)
    found = ["" if cell in na else cell for cell in cells]
    given = [cell for cell in found if cell]
    if len(given) < len(found) and given and all(map(_WHOLE.fullmatch, given)):
        found = [cell.removesuffix(".0") for cell in found]
    return found, words
