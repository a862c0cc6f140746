"""Figures as SVG text with the page's own colours (classes c0 to c7 fill, k0 to k7 draw), so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

SIZE = 320
HUES = 8
_LONGEST = 64
"""Characters of a name that stand beside a figure."""
_SHAPES = ("circle", "square", "triangle", "diamond")


def scatter(xy: np.ndarray, y: np.ndarray, classes: Sequence[str], *, title: str) -> str:
    """Return a map of points [point, 2] coloured by class; past eight classes the shape changes too.

    Points of class -1 are drawn faintly, below all others.
    """
    low, high = xy.min(0), xy.max(0)
    places = 8 + (xy - low) / np.maximum(high - low, 1e-12) * (SIZE - 16)
    places[:, 1] = SIZE - places[:, 1]
    parts = [f'<path class="rest" d="{_dots(places[y < 0])}"/>'] if np.any(y < 0) else []
    for index, name in enumerate(classes):
        if np.any(y == index):
            parts.append(f"<g><title>{escape(name)}</title>{_marks(index, places[y == index])}</g>")
    return _svg(SIZE, SIZE, title, "".join(parts))


def legend(classes: Sequence[str], rest: str = "") -> str:
    """Return the classes with their marks, as one line of HTML; `rest` is what the faint points are."""
    middle = np.array([[6.0, 6.0]])
    items = [(_marks(index, middle, 4.0), name) for index, name in enumerate(classes)]
    items += [(f'<path class="rest" d="{_dots(middle)}"/>', rest)] if rest else []
    spans = (
        f'<span><svg class="key" viewBox="0 0 12 12" aria-hidden="true">{mark}</svg>{escape(name)}</span>'
        for mark, name in items
    )
    return f'<p class="legend">{"".join(spans)}</p>'


def _marks(index: int, places: np.ndarray, r: float = 3.2) -> str:
    hue, shape = index % HUES, _SHAPES[index // HUES % len(_SHAPES)]
    if shape == "circle":
        return f'<path class="dot k{hue}" d="{_dots(places)}"/>'
    corners = {
        "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "triangle": ((0, -r), (r, r), (-r, r)),
        "diamond": ((0, -r), (r, 0), (0, r), (-r, 0)),
    }[shape]
    outline = "".join("M" + " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners) + "z" for x, y in places)
    return f'<path class="c{hue}" d="{outline}"/>'


def _dots(places: np.ndarray) -> str:
    """Return one path of points: lines of no length with round ends, a fifth of the bytes of as many circles."""
    return "".join(f"M{x:.1f},{y:.1f}h0" for x, y in places)


def _svg(width: int, height: int, title: str, body: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'


@dataclass(frozen=True)
class Axes:
    """The box of a figure and its scales: what lies between `x` and `y` is drawn inside."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int
    left: int = 44
    bottom: int = 34
    top: int = 10
    right: int = 10

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is drawn."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0] or 1)
        up = (y - self.y[0]) / (self.y[1] - self.y[0] or 1)
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.top - self.bottom),
        )

    def frame(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str, y_name: str) -> str:
        """Return grid lines, their numbers, and the names of the axes."""
        parts = []
        for value in y_ticks:
            (x0, y), (x1, _) = self.at(self.x[0], value), self.at(self.x[1], value)
            parts.append(f'<path class="grid" d="M{x0:.1f},{y:.1f}H{x1:.1f}"/>')
            parts.append(f'<text x="{x0 - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in x_ticks:
            x, y = self.at(value, self.y[0])
            parts.append(f'<text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle">{value:g}</text>')
        middle_x = self.at((self.x[0] + self.x[1]) / 2, self.y[0])[0]
        parts.append(f'<text x="{middle_x:.1f}" y="{self.height - 4}" text-anchor="middle">{escape(x_name)}</text>')
        middle_y = self.at(self.x[0], (self.y[0] + self.y[1]) / 2)[1]
        turned = f'transform="rotate(-90 11 {middle_y:.1f})"'
        parts.append(f'<text x="11" y="{middle_y:.1f}" text-anchor="middle" {turned}>{escape(y_name)}</text>')
        return "".join(parts)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two, at most about `most`."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(round(index * step, 10)) + 0.0 for index in np.arange(first, np.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Line:
    """A named line: x, y and the interval around each y, all [point]."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def lines(found: Sequence[Line], *, title: str, x_name: str, y_name: str) -> str:
    """Return lines with their points and intervals."""
    x = [value for line in found for value in line.x]
    y = [value for line in found for values in (line.low, line.high) for value in values]
    spread = max(y) - min(y) or 1.0
    axes = Axes((min(x), max(x)), (min(y) - spread * 0.03, max(y) + spread * 0.03), 640, 300)
    whole = [tick for tick in ticks(min(x), max(x), 12) if tick == int(tick)]
    parts = [axes.frame(whole, ticks(*axes.y), x_name, y_name)]
    for index, line in enumerate(found):
        hue = index % HUES
        points = [axes.at(*place) for place in zip(line.x, line.y, strict=True)]
        bars = "".join(
            f"M{axes.at(a, low)[0]:.1f},{axes.at(a, low)[1]:.1f}V{axes.at(a, high)[1]:.1f}"
            for a, low, high in zip(line.x, line.low, line.high, strict=True)
        )
        path = "M" + " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dash = f' stroke-dasharray="{(0, 6, 2, 9)[index // HUES % 4]} 3"' if index >= HUES else ""
        parts.append(f'<g><title>{escape(line.name)}</title><path class="bar k{hue}" d="{bars}"/>')
        parts.append(f'<path class="line k{hue}" d="{path}"{dash}/>{_marks(index, np.array(points))}</g>')
    return _svg(axes.width, axes.height, title, "".join(parts))


@dataclass(frozen=True)
class Mark:
    """A score with its interval: on which line, of which series."""

    row: int
    series: int
    value: float
    low: float
    high: float


def dots(
    rows: Sequence[str], series: Sequence[str], marks: Sequence[Mark], *, title: str, x_name: str, chance: float | None
) -> str:
    """Return a line a row with a mark and its interval a series, one below the other; `chance` is drawn as an upright line."""
    step = 9.0 * len(series) + 7
    ends = [value for mark in marks for value in (mark.low, mark.high)] + ([] if chance is None else [chance])
    margin = 0.03 * (max(ends) - min(ends) or 1.0)
    shown = [_shortened(name) for name in rows]
    left = 20 + round(6.4 * max(map(len, shown)))
    span = (min(ends) - margin, max(ends) + margin)
    axes = Axes(span, (0.0, 1.0), max(640, left + 400), round(step * len(rows)) + 52, left=left)
    top, upright = axes.top, ticks(*axes.x)
    parts = [axes.frame(upright, (), x_name, "")]
    for value, kind in [(value, "grid") for value in upright] + ([] if chance is None else [(chance, "same")]):
        x, bottom = axes.at(value, 0.0)
        parts.append(f'<path class="{kind}" d="M{x:.1f},{top}V{bottom:.1f}"/>')
    for index, name in enumerate(rows):
        text = f'<text x="{left - 8}" y="{top + step * (index + 0.5) + 4:.1f}" text-anchor="end">{escape(shown[index])}'
        parts.append(f"{text}<title>{escape(name)}</title></text>")
    for mark in marks:
        y = top + step * mark.row + 3.5 + 9.0 * (mark.series + 0.5)
        (x, _), (x0, _), (x1, _) = (axes.at(value, 0.0) for value in (mark.value, mark.low, mark.high))
        hue = mark.series % HUES
        parts.append(
            f"<g><title>{escape(f'{rows[mark.row]}, {series[mark.series]}: {mark.value:.3g}')}</title>"
            f'<path class="bar k{hue}" d="M{x0:.1f},{y:.1f}H{x1:.1f}"/>{_marks(mark.series, np.array([[x, y]]))}</g>'
        )
    return _svg(axes.width, axes.height, title, "".join(parts))


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def columns(
    at: Sequence[int],
    mean: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    title: str,
    x_name: str,
) -> str:
    """Return upright columns at ascending whole numbers, with their spread."""
    axes = Axes((at[0] - 0.5, at[-1] + 0.5), (0.0, max(high) * 1.05 or 1.0), SIZE, 180)
    parts = [axes.frame([t for t in ticks(at[0], at[-1], 8) if t == int(t)], ticks(*axes.y, 4), x_name, "weight")]
    width = 0.7 * (axes.at(1, 0)[0] - axes.at(0, 0)[0])
    for place, value, least, most in zip(at, mean, low, high, strict=True):
        (x, y), (_, y0) = axes.at(place, value), axes.at(place, 0)
        parts.append(
            f'<rect class="c0" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{y0 - y:.1f}"/>'
        )
        parts.append(
            f'<path class="whisker" d="M{x:.1f},{axes.at(place, least)[1]:.1f}V{axes.at(place, most)[1]:.1f}"/>'
        )
    return _svg(axes.width, axes.height, title, "".join(parts))


def against(true: np.ndarray, said: np.ndarray, *, title: str) -> str:
    """Return predictions over truth, float [clip] each, with the line on which both are the same."""
    span = (float(min(true.min(), said.min())), float(max(true.max(), said.max())))
    axes = Axes(span, span, SIZE, 300)
    (x0, y0), (x1, y1) = axes.at(span[0], span[0]), axes.at(span[1], span[1])
    places = np.array([axes.at(a, b) for a, b in zip(true, said, strict=True)])
    body = axes.frame(ticks(*span), ticks(*span), "true", "predicted")
    size = " small" if len(true) > 300 else ""
    body += (
        f'<path class="same" d="M{x0:.1f},{y0:.1f}L{x1:.1f},{y1:.1f}"/><path class="dot{size} k0" d="{_dots(places)}"/>'
    )
    return _svg(axes.width, axes.height, title, body)
