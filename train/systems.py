"""Reading a results file without the plan or the store it came from: systems, their scores, their predictions.

A system is a cell of the grid with all its seeds. Nothing is written here, and files of every schema are read as they are.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from .convergence import Convergence, convergence, total
from .records import by_metric, deviations
from .scores import METRICS
from .targets import TARGET_METRICS

FILE = "results.sqlite"
SCHEMAS = ("1", "2", "3")


@dataclass(frozen=True)
class Run:
    """One seed of a system: `number` is its row in `experiments`, `folds` its scores, float64 [fold] a metric."""

    number: int
    key: str
    slot: str
    seed: int
    code: int
    finished: str
    train_s: float
    device: str
    n_parameters: int | None
    folds: dict[str, np.ndarray]
    convergence: Convergence = field(default_factory=Convergence)


@dataclass(frozen=True)
class System:
    """A corpus, inputs, a head or fusion, a split, and every seed it was trained with.

    Attributes:
        id: short name, the beginning of a hash of all that produced it, seeds apart.
        options: JSON of all options.
        store: content hash of each encoder's embeddings, as they were.
        clips, split: ids in the tables of these names.
    """

    id: str
    corpus: str
    encoders: tuple[str, ...]
    input: str
    kind: str
    architecture: str
    label: str
    options: str
    target: str
    split: str
    clips: str
    store: tuple[str, ...]
    n_used: int
    n_total: int
    runs: tuple[Run, ...]

    @property
    def encoder(self) -> str:
        """Its encoders' names, joined by +."""
        return " + ".join(self.encoders)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its scores."""
        return tuple(self.runs[0].folds)

    @property
    def convergence(self) -> Convergence:
        """Whether its networks had stopped improving, over all seeds."""
        return total(run.convergence for run in self.runs)

    @property
    def text(self) -> str:
        """One line that names it."""
        return f"{self.corpus}: {self.encoder} ({self.input}) -> {self.label}"

    def scores(self, metric: str) -> np.ndarray:
        """Return a metric of every seed and fold, float64 [seed x fold]."""
        return np.concatenate([run.folds[metric] for run in self.runs])

    def mean(self, metric: str) -> float:
        """Return a metric's mean over folds and seeds."""
        return float(np.mean(self.scores(metric)))

    def deviations(self, metric: str) -> tuple[float | None, float | None]:
        """Return its standard deviation over folds with seeds averaged, and over seeds with folds averaged; None for one."""
        return deviations([run.folds[metric] for run in self.runs])[1:]


@dataclass(frozen=True)
class KeptClips:
    """The clips of a system: ids str [clip], `y` int64 [clip] or float64 [clip, target], groups str [clip] or None.

    `names` are the classes, or the targets where `y` holds numbers.
    """

    ids: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None
    names: tuple[str, ...]


class Kept:
    """A results file, opened for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = _connect(path)
        try:
            found = self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            tables = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            self._tables = {name for (name,) in tables}
        except sqlite3.Error as error:
            raise StoreError(
                f"results {path}: expected a SQLite file of voxcache, got: {error}. Name a results folder."
            ) from error
        if found is None or found[0] not in SCHEMAS:
            raise StoreError(
                f"results {path}: expected schema {' or '.join(SCHEMAS)}, got {found and found[0]}. "
                f"Use the voxcache that wrote it."
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @cached_property
    def systems(self) -> tuple[System, ...]:
        """Every system, in the order in which they were first trained."""
        folds, ended = self._folds(), self._ended()
        together: dict[tuple[Any, ...], list[tuple[dict[str, Any], Run]]] = {}
        for row in self._experiments():
            run = Run(
                **{name: row[name] for name in _RUN}, folds=folds[row["number"]], convergence=ended[row["number"]]
            )
            together.setdefault(_identity(row), []).append((row, run))
        return tuple(_system(identity, found) for identity, found in together.items())

    def predictions(self, run: Run, n_outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what a run said: clip int64 [test], fold int64 [test], outputs float32 [test, class or target]."""
        query = "SELECT clip, fold, probability FROM predictions WHERE experiment = ?"
        clip, fold, said = self._db.execute(query, (run.number,)).fetchone()
        table = np.frombuffer(said, "<f4").reshape(-1, n_outputs)
        return np.frombuffer(clip, "<i4").astype(np.int64), np.frombuffer(fold, "<i2").astype(np.int64), table

    def clips(self, system: System) -> KeptClips:
        """Return the clips a system was trained and tested on."""
        query = "SELECT classes, content FROM clips WHERE id = ?"
        classes, content = self._db.execute(query, (system.clips,)).fetchone()
        held = json.loads(zlib.decompress(content))
        groups = None if held["group"] is None else np.array(held["group"], dtype=str)
        y = np.array(held["y"], dtype=np.int64 if "uar" in system.metrics else np.float64)
        return KeptClips(np.array(held["clip"], dtype=str), y, groups, tuple(json.loads(classes)))

    def split(self, system: System) -> tuple[np.ndarray, str]:
        """Return the fold in which each clip is tested, int16 [clip], and a sentence on the split."""
        fold, text = self._db.execute("SELECT fold, text FROM splits WHERE id = ?", (system.split,)).fetchone()
        return np.frombuffer(zlib.decompress(fold), "<i2"), str(text)

    def _experiments(self) -> Iterator[dict[str, Any]]:
        columns = {name for _, name, *_ in self._db.execute("PRAGMA table_info(experiments)")}
        cell = "cell" if "cell" in columns else "NULL"
        query = f"SELECT id AS number, *, {cell} AS cell FROM experiments ORDER BY id"
        cursor = self._db.execute(query)
        names = [description[0] for description in cursor.description]
        for values in cursor:
            yield dict(zip(names, values, strict=True))

    def _folds(self) -> dict[int, dict[str, np.ndarray]]:
        """Return float64 [fold] by experiment and metric."""
        classes: dict[int, list[tuple[float, ...]]] = {}
        for number, *values in self._db.execute(
            f"SELECT experiment, {', '.join(METRICS)} FROM folds ORDER BY experiment, fold"
        ):
            classes.setdefault(number, []).append(tuple(values))
        targets = self._target_folds() if "target_scores" in self._tables else {}
        return {number: by_metric(values, targets.get(number, {})) for number, values in classes.items()}

    def _ended(self) -> dict[int, Convergence]:
        """Return what best and last epochs tell, by experiment."""
        found: dict[int, list[tuple[int, int | None, int | None]]] = {}
        for number, *epochs in self._db.execute("SELECT experiment, n_inner, best_epoch, n_epochs FROM folds"):
            found.setdefault(number, []).append((epochs[0], epochs[1], epochs[2]))
        return {number: convergence(folds) for number, folds in found.items()}

    def _target_folds(self) -> dict[int, dict[str, dict[str, np.ndarray]]]:
        lists: dict[int, dict[str, list[tuple[float, ...]]]] = {}
        query = f"SELECT experiment, target, {', '.join(TARGET_METRICS)} FROM target_scores ORDER BY experiment, fold"
        for number, target, *values in self._db.execute(query):
            lists.setdefault(number, {}).setdefault(target, []).append(tuple(values))
        return {
            number: {name: dict(zip(TARGET_METRICS, np.array(rows).T, strict=True)) for name, rows in found.items()}
            for number, found in lists.items()
        }


_RUN = ("number", "key", "slot", "seed", "code", "finished", "train_s", "device", "n_parameters")


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return all that produced an experiment but its seed; before schema 3 from the columns that name its cell."""
    names = ("corpus", "encoders", "input", "kind", "architecture", "options", "target", "training")
    cell = (row["cell"],) if row["cell"] else tuple(row[name] for name in names)
    return (*cell, row["clips"], row["split"], row["store"], row["code"])


_SYSTEM = (
    "corpus",
    "input",
    "kind",
    "architecture",
    "label",
    "options",
    "target",
    "split",
    "clips",
    "n_used",
    "n_total",
)


def _system(identity: tuple[Any, ...], found: list[tuple[dict[str, Any], Run]]) -> System:
    import hashlib

    row = found[-1][0]
    return System(
        id=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:7],
        encoders=tuple(json.loads(row["encoders"])),
        **{name: row[name] for name in _SYSTEM},
        store=tuple(json.loads(row["store"])),
        runs=tuple(run for _, run in found),
    )


def _connect(path: Path) -> sqlite3.Connection:
    """Open for reading; a file on a medium that cannot be written needs to be told that nobody writes it.

    Where there is no log beside it, nobody has it open, and it is told so as well: SQLite would leave two files behind.
    """
    place = path.absolute().as_uri()
    is_open = path.with_name(path.name + "-wal").exists()
    for mode in ("mode=ro", "mode=ro&immutable=1") if is_open else ("mode=ro&immutable=1",):
        try:
            db = sqlite3.connect(f"{place}?{mode}", uri=True, timeout=30)
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            continue
        except sqlite3.DatabaseError:
            break
        return db
    raise StoreError(f"results {path}: expected a SQLite file of voxcache that can be read. Name a results folder.")


@contextmanager
def open_kept(path: str | Path) -> Iterator[Kept]:
    """Give the results at `path`: a results folder, or its results.sqlite.

    Raises:
        StoreError: there are none.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise StoreError(f"results {path}: nothing there. Run `voxcache train`, or name a results folder.")
    with closing(Kept(file)) as kept:
        yield kept
