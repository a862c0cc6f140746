"""The recomputation: zarr for embeddings and labels, scikit-learn for heads and scores, scipy and formulas for the rest.

Nothing of voxcache is imported here.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from scipy import stats
from sklearn import metrics
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CLASS_METRICS = ("accuracy", "uar", "macro_f1")
TARGET_METRICS = ("spearman", "pearson", "ccc", "mae")
Heads = dict[str, object]


@dataclass(frozen=True)
class Clips:
    """The clips that every encoder has embedded and that have a label or all targets, in order of their ids.

    Attributes:
        y: str [clip], or float64 [clip, target].
        fold: the fold that tests a clip, or "train", "dev", "unused", str [clip].
        vectors: last layer of each encoder, float64 [clip, feature].
    """

    ids: np.ndarray
    y: np.ndarray
    speaker: np.ndarray
    fold: np.ndarray
    vectors: dict[str, np.ndarray]
    n_total: int
    n_unlabelled: int
    n_failed: int

    @property
    def folds(self) -> list[str]:
        """Folds that test something."""
        return sorted(set(self.fold) - {"train", "dev", "unused"})

    def parts(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield fold, training clips and tested clips, bool [clip]; dev clips are neither."""
        for fold in self.folds:
            test = self.fold == fold
            yield fold, ~test & ~np.isin(self.fold, ["dev", "unused"]), test


def read_clips(store: Path, corpus: str, folds: Path, target: tuple[str, ...]) -> Clips:
    """Read a corpus with plain zarr, and its folds from the file that `voxcache folds` writes."""
    group = zarr.open_group(store, mode="r")[corpus]
    ids = np.array([str(name) for name in group["clip"][:]])
    if len(target) == 1 and group[target[0]].dtype.kind != "f":
        y = np.array([str(value) for value in group[target[0]][:]])
        given = y != ""
    else:
        y = np.stack([group[name][:] for name in target], axis=1)
        given = np.isfinite(y).all(1)
    encoders = [name for name, _ in group.groups()]
    embedded = np.all([group[name]["status"][:] == 1 for name in encoders], axis=0)
    rows = np.flatnonzero(given & embedded)
    rows = rows[np.argsort(ids[rows])]
    with folds.open(encoding="utf-8") as file:
        fold_of = {line["clip"]: line["fold"] for line in csv.DictReader(file)}
    return Clips(
        ids[rows],
        y[rows],
        np.array([str(name) for name in group["speaker"][:]])[rows],
        np.array([fold_of[name] for name in ids[rows]]),
        {name: group[name]["pooled"][rows, -1].astype(np.float64) for name in encoders},
        len(ids),
        int((~given).sum()),
        int((given & ~embedded).sum()),
    )


def class_scores(y: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Return scores of classes by scikit-learn: over the classes that are there, macro-F1 also over those that are said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "accuracy": metrics.accuracy_score(y, said),
            "uar": metrics.recall_score(y, said, labels=np.unique(y), average="macro"),
            "macro_f1": metrics.f1_score(y, said, average="macro", zero_division=0),
        }


def target_scores(y: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Return scores of one continuous target: scipy's correlations, Lin's concordance by its formula, mean absolute error."""
    constant = np.ptp(y) == 0 or np.ptp(said) == 0
    apart = y.var() + said.var() + (y.mean() - said.mean()) ** 2
    return {
        "spearman": 0.0 if constant else float(stats.spearmanr(y, said).statistic),
        "pearson": 0.0 if constant else float(stats.pearsonr(y, said).statistic),
        "ccc": float(2 * np.mean((y - y.mean()) * (said - said.mean())) / apart),
        "mae": float(np.mean(np.abs(y - said))),
    }


def scores(y: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Return scores of classes, or of continuous targets the mean over them."""
    if y.ndim == 1:
        return class_scores(y, said)
    each = [target_scores(y[:, i], said[:, i]) for i in range(y.shape[1])]
    return {name: float(np.mean([one[name] for one in each])) for name in TARGET_METRICS}


def heads(clips: Clips) -> Heads:
    """Return the heads that scikit-learn has, as it has them."""
    if clips.y.ndim == 1:
        return {"logreg": LogisticRegression(max_iter=1000), "knn": KNeighborsClassifier(5)}
    return {"ridge": Ridge(), "knn": KNeighborsRegressor(5)}


def refitted(clips: Clips, encoder: str, head: object) -> np.ndarray:
    """Return what a head says of every tested clip, trained anew in every fold; "" or NaN where nothing was tested."""
    x = clips.vectors[encoder].astype(np.float32)
    said = np.full(clips.y.shape, "" if clips.y.ndim == 1 else np.nan, dtype=clips.y.dtype)
    for _, train, test in clips.parts():
        fitted = make_pipeline(StandardScaler(), head).fit(x[train], clips.y[train])
        answer = fitted.predict(x[test])
        said[test] = (
            answer if clips.y.ndim == 1 else answer.astype(np.float32)
        )  # what results keep; equal values stay so
    return said


def kept(results: Path, encoder: str, head: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield seed, ids and what a network said of them, from the SQLite file alone; classes by name, or numbers."""
    db = sqlite3.connect(results / "results.sqlite")
    query = (
        "SELECT seed, p.clip, p.probability, c.classes, c.content FROM experiments e JOIN predictions p "
        "ON p.experiment = e.id JOIN clips c ON c.id = e.clips WHERE e.label = ? AND e.encoders = ? ORDER BY seed"
    )
    for seed, clip, said, names, content in db.execute(query, (head, json.dumps([encoder]))):
        held, listed = json.loads(zlib.decompress(content)), json.loads(names)
        outputs = np.frombuffer(said, "<f4").reshape(-1, len(listed))
        ids = np.array(held["clip"])[np.frombuffer(clip, "<i4")]
        classes = isinstance(held["y"][0], int)
        yield seed, ids, np.array(listed)[outputs.argmax(1)] if classes else outputs.astype(np.float64)
    db.close()


def by_fold(clips: Clips, ids: np.ndarray, said: np.ndarray) -> list[dict[str, float]]:
    """Return the scores of each fold, in order."""
    row = {name: index for index, name in enumerate(clips.ids)}
    rows = np.array([row[name] for name in ids])
    found = []
    for fold in clips.folds:
        mine = clips.fold[rows] == fold
        found.append(scores(clips.y[rows[mine]], said[mine]))
    return found


def majority(clips: Clips) -> np.ndarray:
    """Return the most frequent class, or the mean, of each fold's training clips, for every clip that it tests."""
    said = clips.y.copy()
    for _, train, test in clips.parts():
        y = clips.y[train]
        if y.ndim == 1:
            said[test] = DummyClassifier(strategy="most_frequent").fit(y, y).predict(y[:1])[0]
        else:
            said[test] = y.mean(0)
    return said


def pooled(clips: Clips, metric: str, said: np.ndarray, kept: np.ndarray) -> float:
    """Return a score of all tested clips together, of those that are `kept`, bool [clip] each.

    A class that loses all its clips keeps its recall and F1. Correlations and errors of targets are means over folds, each with
    the weight of the speakers it has left; folds of fewer than five clips have no correlation.
    """
    tested = np.isin(clips.fold, clips.folds)
    mine = tested & kept
    if metric == "accuracy":
        return float(metrics.accuracy_score(clips.y[mine], said[mine]))
    if clips.y.ndim == 1:
        one = metrics.recall_score if metric == "uar" else metrics.f1_score
        of = [name for name in np.unique(clips.y) if metric == "macro_f1" or name in clips.y[tested]]
        values = []
        for name in of:
            rows = mine if name in clips.y[mine] else tested
            if name in clips.y[rows] or name in said[rows]:
                values.append(one(clips.y[rows], said[rows], labels=[name], average="macro", zero_division=0))
        return float(np.mean(values))
    sizes = {fold: int(np.sum(clips.fold == fold)) for fold in clips.folds}
    counted = [fold for fold in clips.folds if metric == "mae" or sizes[fold] >= 5 or max(sizes.values()) < 5]
    weights, values = [], []
    for fold in counted:
        rows = mine & (clips.fold == fold)
        if rows.any():
            weights.append(len(set(clips.speaker[rows])))
            values.append(
                np.mean([target_scores(clips.y[rows, i], said[rows, i])[metric] for i in range(clips.y.shape[1])])
            )
    return float(np.average(values, weights=weights))


def share(clips: Clips, metric: str) -> np.ndarray:
    """Return the weight of each tested clip in a pooled score, float64 [test]."""
    tested = np.isin(clips.fold, clips.folds)
    y, fold, speaker = clips.y[tested], clips.fold[tested], clips.speaker[tested]
    if metric == "accuracy":
        return np.full(len(fold), 1 / len(fold))
    if y.ndim == 1:
        return np.array([1 / (len(set(y)) * np.sum(y == name)) for name in y])
    sizes = {name: int(np.sum(fold == name)) for name in clips.folds}
    long = {name: metric == "mae" or sizes[name] >= 5 or max(sizes.values()) < 5 for name in clips.folds}
    speakers = {name: len(set(speaker[fold == name])) * long[name] for name in clips.folds}
    return np.array([speakers[name] / (sum(speakers.values()) * sizes[name]) for name in fold])


def shared_speakers(clips: Clips) -> int:
    """Return how many tested clips have a clip of their speaker among those trained on or watched."""
    return sum(
        any(
            clips.speaker[other] == clips.speaker[clip]
            for other in np.flatnonzero((clips.fold != fold) & (clips.fold != "unused"))
        )
        for fold in clips.folds
        for clip in np.flatnonzero(clips.fold == fold)
    )
