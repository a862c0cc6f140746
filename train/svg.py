"""Figures as SVG text with the page's own colours, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

SIZE = 320
_HUES = 8
_SHAPES = ("circle", "square", "triangle", "diamond")


def scatter(xy: np.ndarray, y: np.ndarray, classes: Sequence[str], *, title: str) -> str:
    """Return a map of points [point, 2] coloured by class; past eight classes the shape changes too."""
    low, high = xy.min(0), xy.max(0)
    places = 8 + (xy - low) / np.maximum(high - low, 1e-12) * (SIZE - 16)
    marks = [
        f'<g class="c{index % _HUES}"><title>{escape(name)}</title>'
        + "".join(_mark(index // _HUES, a, SIZE - b) for a, b in places[y == index])
        + "</g>"
        for index, name in enumerate(classes)
    ]
    return f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{escape(title)}">{"".join(marks)}</svg>'


def legend(classes: Sequence[str]) -> str:
    """Return the classes with their marks, as one line of HTML."""
    items = [
        f'<span><svg class="key" viewBox="0 0 12 12"><g class="c{index % _HUES}">{_mark(index // _HUES, 6, 6, 4)}</g></svg>'
        f"{escape(name)}</span>"
        for index, name in enumerate(classes)
    ]
    return f'<p class="legend">{"".join(items)}</p>'


def _mark(shape: int, x: float, y: float, r: float = 3.0) -> str:
    kind = _SHAPES[shape % len(_SHAPES)]
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"/>'
    corners = {
        "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "triangle": ((0, -r), (r, r), (-r, r)),
        "diamond": ((0, -r), (r, 0), (0, r), (-r, 0)),
    }[kind]
    return f'<polygon points="{" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners)}"/>'
