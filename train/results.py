"""Where results are kept: one SQLite file, `results.sqlite`, in the results folder. docs/stage2.md describes its tables.

Every experiment is one transaction, written when it is finished: what is there is whole, whenever the run was stopped.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from .compare import Scored
from .convergence import convergence
from .grid import CorpusPlan, Experiment
from .intervals import Predictions
from .records import (
    FOLD_COLUMNS,
    INSERT,
    Context,
    Features,
    Outcome,
    Row,
    by_metric,
    fold_values,
    target_values,
    values_of,
)
from .scores import METRICS
from .seeding import draw
from .targets import TARGET_METRICS, Regressed

SCHEMA = 3
FILE = "results.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clips (
  id TEXT PRIMARY KEY, corpus TEXT NOT NULL, n INTEGER NOT NULL, classes TEXT NOT NULL, content BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS splits (
  id TEXT PRIMARY KEY, clips TEXT NOT NULL REFERENCES clips(id), text TEXT NOT NULL, config TEXT NOT NULL,
  n_folds INTEGER NOT NULL, grouped INTEGER NOT NULL, fold BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS experiments (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, slot TEXT NOT NULL, corpus TEXT NOT NULL, encoders TEXT NOT NULL,
  input TEXT NOT NULL, kind TEXT NOT NULL, architecture TEXT NOT NULL, label TEXT NOT NULL, options TEXT NOT NULL,
  target TEXT NOT NULL, training TEXT NOT NULL, seed INTEGER NOT NULL, clips TEXT NOT NULL REFERENCES clips(id),
  split TEXT NOT NULL REFERENCES splits(id), n_used INTEGER NOT NULL, n_total INTEGER NOT NULL,
  accuracy REAL, uar REAL, macro_f1 REAL,
  n_parameters INTEGER, train_s REAL NOT NULL, device TEXT NOT NULL, store TEXT NOT NULL, versions TEXT NOT NULL,
  code INTEGER NOT NULL, finished TEXT NOT NULL, cell TEXT
);
CREATE INDEX IF NOT EXISTS experiments_slot ON experiments (slot);
CREATE TABLE IF NOT EXISTS folds (
  experiment INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE, fold INTEGER NOT NULL,
  n_train INTEGER NOT NULL, n_inner INTEGER NOT NULL, n_test INTEGER NOT NULL,
  accuracy REAL, uar REAL, macro_f1 REAL, best_epoch INTEGER, n_epochs INTEGER,
  layer_weights TEXT, chosen TEXT, PRIMARY KEY (experiment, fold)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS target_scores (
  experiment INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE, fold INTEGER NOT NULL, target TEXT NOT NULL,
  spearman REAL NOT NULL, pearson REAL NOT NULL, ccc REAL NOT NULL, mae REAL NOT NULL,
  PRIMARY KEY (experiment, fold, target)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (
  experiment INTEGER PRIMARY KEY REFERENCES experiments(id) ON DELETE CASCADE,
  clip BLOB NOT NULL, fold BLOB NOT NULL, probability BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS features (
  experiment INTEGER PRIMARY KEY REFERENCES experiments(id) ON DELETE CASCADE,
  fold INTEGER NOT NULL, clip BLOB NOT NULL, n_features INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS maps (key TEXT PRIMARY KEY, clip BLOB NOT NULL, xy BLOB NOT NULL) WITHOUT ROWID;
"""


class Results:
    """The results file of one folder. Only the process that made it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        self.scored: dict[str, Scored] = {}  # by key, while the file is open: every table and the report ask for them
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA foreign_keys=ON")
            found = self._schema()
        except sqlite3.Error as error:
            raise StoreError(
                f"results {self.path}: expected a SQLite file of voxcache that can be written, got: {error}. "
                f"Name another `results:` folder."
            ) from error
        if found != str(SCHEMA):
            self._bring_up()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def done(self, keys: Iterable[str]) -> set[str]:
        """Return those of `keys` that are finished."""
        return {row[0] for row in self._in("SELECT key FROM experiments WHERE key IN", keys)}

    def stale(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """Return the experiments whose cell has a result, but one made from something else."""
        have = self.done(experiment.key for experiment in experiments)
        slots = {
            row[0] for row in self._in("SELECT slot FROM experiments WHERE slot IN", {e.slot for e in experiments})
        }
        return [e for e in experiments if e.key not in have and e.slot in slots]

    def save(self, experiment: Experiment, corpus: CorpusPlan, outcome: Outcome, context: Context) -> None:
        """Write one finished experiment, whole or not at all."""
        with self._transaction():
            self._save_corpus(corpus)
            row = self._db.execute(INSERT, values_of(experiment, corpus, outcome, context))
            number = row.lastrowid
            self._db.executemany(
                f"INSERT INTO folds ({FOLD_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                [fold_values(number, fold, corpus) for fold in outcome.folds],
            )
            self._db.executemany(
                "INSERT INTO target_scores VALUES (?,?,?,?,?,?,?)",
                [(number, *values) for fold in outcome.folds for values in target_values(fold, corpus)],
            )
            clip = np.concatenate([fold.test for fold in outcome.folds]).astype("<i4")
            of = np.concatenate([np.full(len(fold.test), fold.fold) for fold in outcome.folds]).astype("<i2")
            outputs = np.concatenate([fold.outputs for fold in outcome.folds]).astype("<f4")
            self._db.execute(
                "INSERT INTO predictions VALUES (?,?,?,?)",
                (number, clip.tobytes(), of.tobytes(), outputs.tobytes()),
            )
            self._save_features(number, corpus, outcome)

    def _save_features(self, number: int | None, corpus: CorpusPlan, outcome: Outcome) -> None:
        """Keep the features of one fold of the first seed of a cell, at most MAX_POINTS clips: what a map shows."""
        fold = outcome.folds[0]
        query = (
            "SELECT 1 FROM experiments AS a JOIN experiments AS b USING (cell, clips, split, store) "
            "JOIN features ON features.experiment = b.id WHERE a.id = ?"
        )
        if fold.features is None or self._db.execute(query, (number,)).fetchone():
            return
        point = draw(corpus.clips.strata[fold.test])
        values = fold.features[point].astype("<f2")
        blobs = (fold.test[point].astype("<i4").tobytes(), values.shape[1], values.tobytes())
        self._db.execute("INSERT INTO features VALUES (?,?,?,?,?)", (number, fold.fold, *blobs))

    def features(self, key: str) -> Features | None:
        """Return what an experiment's network made of the clips of one fold; None where that was not kept."""
        query = "SELECT fold, clip, n_features, value FROM features JOIN experiments ON id = experiment WHERE key = ?"
        row = self._db.execute(query, (key,)).fetchone()
        if row is None:
            return None
        fold, clip, n_features, value = row
        values = np.frombuffer(value, "<f2").reshape(-1, n_features).astype(np.float32)
        return Features(fold, np.frombuffer(clip, "<i4").astype(np.int64), values)

    def rows(self, keys: Sequence[str]) -> dict[str, Row]:
        """Return finished experiments by key."""
        columns = "key, id, seed, n_parameters, train_s, device, versions, finished"
        found = {row[0]: row for row in self._in(f"SELECT {columns} FROM experiments WHERE key IN", keys)}
        folds: dict[int, list[tuple[float, ...]]] = {row[1]: [] for row in found.values()}
        epochs: dict[int, list[tuple[int, int | None, int | None]]] = {number: [] for number in folds}
        query = f"SELECT experiment, n_inner, best_epoch, n_epochs, {', '.join(METRICS)} FROM folds WHERE experiment IN"
        for number, n_inner, best, last, *values in self._in(query, folds, order="ORDER BY fold"):
            folds[number].append(tuple(values))
            epochs[number].append((n_inner, best, last))
        by_target = self._target_scores(folds)
        made = {}
        for key, number, seed, n_parameters, train_s, device, versions, finished in found.values():
            targets = by_target.get(number, {})
            scores = by_metric(folds[number], targets)
            ended = convergence(epochs[number])
            made[key] = Row(key, seed, scores, n_parameters, train_s, device, versions, finished, targets, ended)
        return made

    def _target_scores(self, experiments: Iterable[int]) -> dict[int, dict[str, dict[str, np.ndarray]]]:
        """Return float64 [fold] by experiment, target and metric."""
        lists: dict[int, dict[str, list[tuple[float, ...]]]] = {}
        query = f"SELECT experiment, target, {', '.join(TARGET_METRICS)} FROM target_scores WHERE experiment IN"
        for number, target, *values in self._in(query, experiments, order="ORDER BY fold"):
            lists.setdefault(number, {}).setdefault(target, []).append(tuple(values))
        return {
            number: {name: dict(zip(TARGET_METRICS, np.array(table).T, strict=True)) for name, table in found.items()}
            for number, found in lists.items()
        }

    def predictions(self, key: str, n_classes: int) -> tuple[Predictions, np.ndarray]:
        """Return what an experiment predicted, and its probabilities, float32 [test, class]."""
        rows, folds, table = self._outputs(key, n_classes)
        return Predictions(rows, folds, table.argmax(1)), table

    def regressed(self, key: str, n_targets: int) -> Regressed:
        """Return the targets that an experiment predicted."""
        return Regressed(*self._outputs(key, n_targets))

    def _outputs(self, key: str, n_outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        query = "SELECT clip, fold, probability FROM predictions JOIN experiments ON id = experiment WHERE key = ?"
        clip, fold, probability = self._db.execute(query, (key,)).fetchone()
        table = np.frombuffer(probability, "<f4").reshape(-1, n_outputs)
        return np.frombuffer(clip, "<i4").astype(np.int64), np.frombuffer(fold, "<i2").astype(np.int64), table

    def layer_weights(self, key: str) -> list[list[list[float]]]:
        """Return the learned layer weights of each fold: one list an encoder, empty where it gives one layer."""
        query = "SELECT layer_weights FROM folds JOIN experiments ON id = experiment WHERE key = ? ORDER BY fold"
        return [json.loads(text) for (text,) in self._db.execute(query, (key,)) if text]

    def chosen(self, key: str) -> list[dict[str, Any]]:
        """Return what a search chose in each fold, by option (`layer` among them); nothing where nothing was searched."""
        query = "SELECT chosen FROM folds JOIN experiments ON id = experiment WHERE key = ? ORDER BY fold"
        return [json.loads(text) for (text,) in self._db.execute(query, (key,)) if text]

    def get_map(self, key: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a kept two-dimensional map: clips int64 [point], places float32 [point, 2]."""
        row = self._db.execute("SELECT clip, xy FROM maps WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return np.frombuffer(row[0], "<i4").astype(np.int64), np.frombuffer(row[1], "<f4").reshape(-1, 2)

    def put_map(self, key: str, clip: np.ndarray, xy: np.ndarray) -> None:
        """Keep a map."""
        with self._transaction():
            blobs = (clip.astype("<i4").tobytes(), xy.astype("<f4").tobytes())
            self._db.execute("INSERT OR REPLACE INTO maps VALUES (?,?,?)", (key, *blobs))

    def get_meta(self, name: str) -> str | None:
        """Return a note the results folder keeps about itself."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put_meta(self, name: str, value: str) -> None:
        """Keep a note."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, value))

    def _save_corpus(self, corpus: CorpusPlan) -> None:
        clips, split = corpus.clips, corpus.split
        group = None if clips.group is None else [str(name) for name in clips.group]
        content = json.dumps({"clip": [str(c) for c in clips.ids], "y": clips.y.tolist(), "group": group})
        self._db.execute(
            "INSERT OR IGNORE INTO clips VALUES (?,?,?,?,?)",
            (
                clips.content,
                clips.corpus,
                len(clips),
                json.dumps(clips.targets or clips.classes),
                zlib.compress(content.encode()),
            ),
        )
        config = corpus.split_config.model_dump_json()
        blob = zlib.compress(split.fold.astype("<i2").tobytes())
        self._db.execute(
            "INSERT OR IGNORE INTO splits VALUES (?,?,?,?,?,?,?)",
            (split.content, clips.content, split.text, config, split.n_folds, int(split.grouped), blob),
        )

    def _schema(self) -> str | None:
        """Return the schema of the file; None before it has tables."""
        made = self._db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone()
        return None if made is None else self.get_meta("schema")

    def _bring_up(self) -> None:
        """Make the tables, or give those of an older schema what they lack, whole or not at all."""
        with self._transaction():
            found = self._schema()  # again: another process may have been first
            if found not in (None, "1", "2", str(SCHEMA)):
                raise StoreError(
                    f"results {self.path}: expected schema {SCHEMA}, got {found}. "
                    f"Use the voxcache that wrote it, or name another `results:` folder."
                )
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            if found == "1":
                self._migrate_1()
            if found in ("1", "2"):
                self._migrate_2()
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))

    def _migrate_1(self) -> None:
        """Let scores be absent, which schema 1 did not allow; where continuous targets are predicted they are."""
        for table in ("experiments", "folds"):
            for metric in METRICS:
                self._db.execute(f"ALTER TABLE {table} RENAME COLUMN {metric} TO old_{metric}")
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {metric} REAL")
                self._db.execute(f"UPDATE {table} SET {metric} = old_{metric}")
                self._db.execute(f"ALTER TABLE {table} DROP COLUMN old_{metric}")

    def _migrate_2(self) -> None:
        """Add what schema 3 knows besides: the name of a cell without its seed, and what searches chose."""
        for table, column in (("folds", "chosen"), ("experiments", "cell")):
            known = {name for _, name, *_ in self._db.execute(f"PRAGMA table_info({table})")}
            if column not in known:  # one of them is there where earlier code was killed between the two
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")

    def _in(self, query: str, values: Iterable[Any], order: str = "") -> Iterator[tuple[Any, ...]]:
        wanted = list(values)
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            yield from self._db.execute(f"{query} ({','.join('?' * len(part))}) {order}", part)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write what is done within whole or not at all; sqlite3 alone would begin nothing for changes of tables."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                yield
        except sqlite3.Error as error:
            raise StoreError(
                f"results {self.path}: could not be written: {error}. What was finished before is kept; "
                f"{_next_step(error)}, then run again."
            ) from error


def _next_step(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError):
        return "free the disk or end the other writer"
    if isinstance(error, sqlite3.IntegrityError):
        return "remove what `train:` names twice, such as a head or a seed"
    return "put a copy of the file in its place, or name another `results:` folder"


@contextmanager
def open_results(folder: str | Path) -> Iterator[Results]:
    """Give the results of a folder, made where there are none.

    Raises:
        StoreError: the file is none of ours, or cannot be read or written.
    """
    with closing(Results(Path(folder))) as results:
        try:
            yield results
        except sqlite3.Error as error:
            raise StoreError(
                f"results {results.path}: could not be read: {error}. {_next_step(error).capitalize()}, then run again."
            ) from error
