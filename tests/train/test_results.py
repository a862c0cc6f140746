"""The results file itself: brought up whole or not at all, left alone by a dry run, and its errors explained."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import voxcache

from voxcache.errors import StoreError
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.results import FILE, open_results
from voxcache.train.run import run

Make = Callable[..., Store]
CONFIG = TrainConfig.model_validate({"heads": ["logreg"], "seeds": [0], "device": "cpu", "split": {"folds": 2}})


@pytest.fixture
def trained(make_store: Make, tmp_path: Path) -> Path:
    """A results folder of one head on two encoders."""
    run(CONFIG, make_store(n=24, n_speakers=4, path=tmp_path / "out.zarr"), tmp_path / "out.results", quiet=True)
    return tmp_path / "out.results"


def made_older(folder: Path) -> None:
    """Take from a results file what schema 3 added, as if schema 2 had written it."""
    db = sqlite3.connect(folder / FILE)
    db.executescript(
        "DROP TABLE features; ALTER TABLE experiments DROP COLUMN cell; ALTER TABLE folds DROP COLUMN chosen;"
        "UPDATE meta SET value = '2' WHERE name = 'schema'; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE"
    )
    db.close()


def columns(folder: Path, table: str) -> set[str]:
    """Return the columns of a table."""
    db = sqlite3.connect(folder / FILE)
    found = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    db.close()
    return found


def test_a_file_is_brought_up_whole_or_not_at_all(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between its two new columns, a file is of the old schema, without either; the next opening brings it up."""
    made_older(trained)

    class Stopped(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "ALTER TABLE experiments ADD COLUMN cell TEXT":
                raise KeyboardInterrupt
            return super().execute(sql, *values)

    real = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k, factory=Stopped))
        with pytest.raises(KeyboardInterrupt), open_results(trained):
            pass
    assert "chosen" not in columns(trained, "folds")
    with open_results(trained) as results:
        assert results.get_meta("schema") == "3"
    assert "chosen" in columns(trained, "folds")
    assert "cell" in columns(trained, "experiments")


def test_a_file_that_was_brought_up_by_half_is_completed(trained: Path) -> None:
    """With one of the two new columns there already, the other is added."""
    made_older(trained)
    db = sqlite3.connect(trained / FILE)
    db.execute("ALTER TABLE folds ADD COLUMN chosen TEXT")
    db.close()
    with open_results(trained) as results:
        assert results.get_meta("schema") == "3"
    assert "cell" in columns(trained, "experiments")


def test_a_file_of_a_newer_schema_is_refused(trained: Path) -> None:
    """It is named with its schema, and nothing in it changes."""
    db = sqlite3.connect(trained / FILE)
    db.executescript("UPDATE meta SET value = '9' WHERE name = 'schema'; DROP TABLE maps")
    db.close()
    with pytest.raises(StoreError, match="expected schema 3, got 9"), open_results(trained):
        pass
    assert not columns(trained, "maps")


@pytest.mark.parametrize("older", [False, True])
def test_a_dry_run_changes_no_byte_of_the_results(make_store: Make, trained: Path, older: bool) -> None:
    """Of an older schema or not, what is finished is counted, and the folder holds the same bytes under the same names."""
    if older:
        made_older(trained)
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    store = make_store(n=24, n_speakers=4, path=trained.with_suffix(".again"))
    assert run(CONFIG, store, trained, quiet=True, dry_run=True).reused == 2
    changed = make_store(n=24, n_speakers=4, path=trained.with_suffix(".other"), audio="b")
    summary = run(CONFIG, changed, trained, quiet=True, dry_run=True)
    assert (summary.reused, len(summary.stale)) == (0, 2)
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "INSERT INTO meta VALUES ('schema', '4')",
            "UNIQUE constraint failed.*remove what `train:` names twice, .* or a seed",
        ),
        ("INSERT INTO nowhere VALUES (1)", "no such table.*free the disk or end the other writer"),
    ],
)
def test_what_sqlite_refuses_is_explained(trained: Path, statement: str, said: str) -> None:
    """Whatever kind of error it is, the file and the next step are named."""
    with (
        open_results(trained) as results,
        pytest.raises(StoreError, match=f"could not be written: {said}, then run again"),
        results._transaction(),
    ):
        results._db.execute(statement)


def test_a_damaged_file_is_explained(trained: Path) -> None:
    """What cannot be read is an error with the file's name, not a traceback."""
    with pytest.raises(StoreError, match=r"results\.sqlite: could not be read"), open_results(trained):
        raise sqlite3.DatabaseError("database disk image is malformed")


def test_results_are_listed_without_their_store(trained: Path) -> None:
    """Where the store beside them is damaged, that is said in one line, and the list is the same."""
    store = trained.with_suffix(".zarr")
    listed = voxcache("results", store.name, "--format", "csv", cwd=trained.parent).stdout
    (store / "zarr.json").write_text("{}")
    done = voxcache("results", store.name, "--format", "csv", cwd=trained.parent)
    assert done.stdout == listed
    assert "staleness unknown: " in done.stderr


def test_results_of_a_packed_store_are_found(trained: Path) -> None:
    """`voxcache results out.zip` lists what is kept in out.results, as the pipeline of that store does."""
    (trained.parent / "out.zip").write_bytes(b"")
    assert "logreg" in voxcache("results", "out.zip", cwd=trained.parent).stdout
