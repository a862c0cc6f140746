"""Writing the files of the report, unless they already show exactly this."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...store.files import move
from ..grid import Plan
from ..intervals import Estimate
from ..maps import methods
from ..published import published_of
from ..results import Results
from ..scores import score_text
from ..sheets import latex
from ..tables import interval_text

if TYPE_CHECKING:
    from ...store import Store

VERSION = 6
HTML, MARKDOWN, CSV, LATEX = "report.html", "report.md", "table.csv", "tables.tex"
_TEMPLATES = (
    "report.html.j2",
    "corpus.html.j2",
    "across.html.j2",
    "published.html.j2",
    "report.css",
    "report.md.j2",
    "tables.tex.j2",
)


def write(plan: Plan, store: Store, results: Results, *, quiet: bool) -> Path:
    """Write the files and return the path of the HTML file."""
    key = _key(plan, results)
    paths = [results.folder / name for name in (HTML, MARKDOWN, CSV, LATEX)]
    if results.get_meta("report") == key and all(path.exists() for path in paths):
        return paths[0]
    from ..console import progress
    from .context import context
    from .flat import flat

    with progress(quiet=quiet) as tell:
        shown = context(plan, store, results, tell)
    _replace(paths[0], render("report.html.j2", shown, escape=True))
    _replace(paths[1], render("report.md.j2", shown, escape=False))
    _replace(paths[2], flat(plan, shown["reported"]))
    _replace(paths[3], render("tables.tex.j2", shown, escape=False))
    results.put_meta("report", key)
    return paths[0]


def _key(plan: Plan, results: Results) -> str:
    """Return a hash of all that the files show: experiments, notes, what is known of encoders, figures, templates."""
    done = results.done(experiment.key for experiment in plan.experiments)
    digest = hashlib.sha256(f"{VERSION}\0{methods()}\0{plan.training!r}\0{plan.notes!r}".encode())
    for experiment in plan.experiments:
        digest.update(f"{experiment.key}\0{experiment.key in done}\0{experiment.text}\n".encode())
    for corpus in plan.corpora:
        digest.update(repr((corpus.name, sorted(corpus.about.items(), key=str), corpus.clips.used_text)).encode())
        digest.update(repr((corpus.split.text, corpus.notes, corpus.encoders)).encode())
    digest.update(repr((published_of(plan.config.published), plan.config.shown)).encode())
    for name in _TEMPLATES:
        digest.update(_template(name).encode())
    return digest.hexdigest()


def _template(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def render(template: str, context: dict[str, Any], *, escape: bool) -> str:
    """Return a template filled in; `escape` for HTML."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["score"] = lambda value, metric: score_text(metric, value)
    environment.filters["signed"] = signed
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["interval"] = interval_text
    environment.filters["between"] = between
    environment.filters["p"] = lambda value: "–" if isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
    environment.filters["latex"] = latex
    environment.filters["pipe"] = lambda text: str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return environment.get_template(template).render(context)


def signed(value: float, metric: str) -> str:
    """Return a difference of scores with its sign, in the unit of the metric."""
    if isnan(value):
        return "–"
    text = score_text(metric, value)
    return text if text.startswith("-") else f"+{text}"


def between(estimate: Estimate, metric: str) -> str:
    """Return the interval of a difference, or why there is none."""
    return f"{signed(estimate.low, metric)} to {signed(estimate.high, metric)}" if estimate.known else estimate.why


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    move(partial, path)
