"""Numbers as people say them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def duration(seconds: float) -> str:
    """Return seconds as people say them: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """Return bytes as people say them: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def plural(count: int, noun: str) -> str:
    """Return "1 clip" or "2 clips"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and how many more there are: "a, b and 3 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


_FILE = re.compile(r"[^:\n]*\.\w{1,5}: ")
_MOST_NAMED = 3


def together(pairs: Iterable[tuple[object, object]]) -> dict[str, list[str]]:
    """Return (clip, reason) pairs by reason, most clips first: those that differ only in the file and in numbers are one.

    A number that is not the same in all of them is shown as "…".
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for clip, reason in pairs:
        text = _FILE.sub("", str(reason), count=1).removesuffix(".") if _FILE.match(str(reason)) else str(reason)
        found.setdefault(re.sub(r"\d+", "…", text), []).append((str(clip), text))
    kinds = sorted(found.items(), key=lambda kind: -len(kind[1]))
    return {
        same.pop() if len(same := {text for _, text in members}) == 1 else kind: [clip for clip, _ in members]
        for kind, members in kinds
    }


def with_names(reason: str, clips: Sequence[str]) -> str:
    """Return a reason with the first of its clips: "got an empty file (a.wav, b.wav, c.wav, …)"."""
    more = ", …" if len(clips) > _MOST_NAMED else ""
    return f"{reason} ({', '.join(clips[:_MOST_NAMED])}{more})"
