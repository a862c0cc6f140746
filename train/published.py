"""Figures of a paper, to stand beside ours. They are data (recipes/published/*.csv) and never enter a score of ours."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ..errors import ConfigError, nearest
from .scores import METRIC_NAMES

COLUMNS = ("corpus", "encoders", "architecture", "target", "metric", "mean", "std")
MEAN = "mean over corpora"
"""Stands in place of a corpus where a paper gives no more than the mean over all of its corpora."""


@dataclass(frozen=True)
class Figure:
    """One published number: of classes a part of 1, as ours; `std` None where none is given; `target` "" for classes."""

    corpus: str
    encoders: frozenset[str]
    architecture: str
    target: str
    metric: str
    mean: float
    std: float | None


def published_of(name: str | None) -> tuple[Figure, ...]:
    """Return the figures of a recipe (reno, voc2vec, emotion-share) or of a CSV file with COLUMNS.

    Raises:
        ConfigError: no such recipe or file, or a row that is none.
    """
    if name is None:
        return ()
    path = Path(name)
    if path.suffix == ".csv":
        if not path.is_file():
            raise ConfigError(
                f"train.published: {name}: no such file. Name a recipe ({', '.join(known())}) or a CSV file."
            )
        return _read(path.read_text(encoding="utf-8"), name)
    if name not in known():
        raise ConfigError(
            f"train.published: {name!r} is unknown{nearest(name, known())} Known: {', '.join(known())}; or a CSV file."
        )
    return _shipped(name)


def known() -> list[str]:
    """Return the recipes whose figures come with the package."""
    folder = files(__package__.partition(".")[0]) / "recipes" / "published"
    return sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv"))


@cache
def _shipped(name: str) -> tuple[Figure, ...]:
    file = files(__package__.partition(".")[0]) / "recipes" / "published" / f"{name}.csv"
    return _read(file.read_text(encoding="utf-8"), f"{name}.csv")


def _read(text: str, name: str) -> tuple[Figure, ...]:
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ConfigError(
            f"{name}: expected the columns {', '.join(COLUMNS)}, got {reader.fieldnames}. Correct its header."
        )
    figures, problems = [], []
    for line, row in enumerate(reader, start=2):
        try:
            figures.append(_figure(row))
        except (ValueError, TypeError) as error:
            problems.append(f"{name}, row {line}: {error}. Write numbers with a point, and a known metric.")
    if problems:
        raise ConfigError(problems)
    return tuple(figures)


def _figure(row: dict[str, str]) -> Figure:
    if row["metric"] not in METRIC_NAMES:
        raise ValueError(f"expected a metric among {', '.join(METRIC_NAMES)}, got {row['metric']!r}")
    encoders = frozenset(part.strip() for part in row["encoders"].split("+"))
    std = float(row["std"]) if row["std"] else None
    return Figure(row["corpus"], encoders, row["architecture"], row["target"], row["metric"], float(row["mean"]), std)


class Published:
    """Figures by what they are of. Encoders with random weights are looked up under the name without -random."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.figures = published_of(name)
        self._by = {(f.corpus, f.encoders, f.architecture, f.target, f.metric): f for f in self.figures}

    def get(
        self, corpus: str, encoders: Iterable[str], architecture: str, metric: str, target: str = ""
    ) -> Figure | None:
        """Return a figure, or None where the paper gives none."""
        names = frozenset(encoder.removesuffix("-random") for encoder in encoders)
        return self._by.get((corpus, names, architecture, target, metric))

    def mean(
        self,
        corpora: Iterable[str],
        encoders: Sequence[str],
        architecture: str,
        metric: str,
        targets: Sequence[str] = ("",),
    ) -> Figure | None:
        """Return the mean over corpora and continuous targets, with the standard deviation over corpora; None if one is missing.

        Where the paper prints it for all of its corpora and these are asked for, as printed.
        """
        corpora = tuple(corpora)
        printed = self.get(MEAN, encoders, architecture, metric)
        if printed is not None and set(corpora) == {figure.corpus for figure in self.figures} - {MEAN}:
            return printed
        found = [self.get(corpus, encoders, architecture, metric, target) for corpus in corpora for target in targets]
        means = [figure.mean for figure in found if figure is not None]
        if not means or len(means) < len(found):
            return None
        std = statistics.pstdev(means) if len(corpora) > 1 else None
        return Figure(MEAN, frozenset(encoders), architecture, "", metric, statistics.fmean(means), std)

    def baseline(self, corpus: str) -> str | None:
        """Return the name of the paper's baseline on a corpus: the system that it gives figures of and no architecture."""
        return next((" + ".join(f.encoders) for f in self.figures if f.corpus == corpus and not f.architecture), None)

    def architectures(self, metric: str) -> list[str]:
        """Return the architectures that have a figure of a metric."""
        return list(dict.fromkeys(f.architecture for f in self.figures if f.metric == metric and f.architecture))
