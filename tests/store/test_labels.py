"""Labels from a table reach the clips they name, and only those; nothing is written where a table is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.errors import ConfigError, StoreBusy
from voxcache.store import create_store, open_store, register_clips
from voxcache.store.backend import writer_lock
from voxcache.store.labels import label
from voxcache.store.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A finished store of 11 clips with a class column `label` and a target `arousal`."""
    made = Made()
    fill(register(tmp_path / "s.zarr", made), made)
    return tmp_path / "s.zarr"


def _table(store: Path, text: str) -> Path:
    path = store.with_name("labels.csv")
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_joined_by_id_and_what_did_not_match_is_named(store: Path) -> None:
    """In any order of rows, each clip gets its own values; both sides' leftovers are reported by id."""
    table = _table(
        store, "clip,mood,speaker,valence\nclip-003.wav,sad,ann,0.5\nclip-001.wav,glad,bo,\nother.wav,sad,bo,1\n"
    )
    done = label(store, "corpus", table, roles={"mood": "class", "speaker": "group", "valence": "target"})
    columns = open_store(store).corpus("corpus").columns
    assert [columns[name].role for name in ("mood", "speaker", "valence")] == ["class", "group", "target"]
    assert list(columns["mood"].values[:5]) == ["", "glad", "", "sad", ""]
    assert columns["valence"].values[3] == 0.5
    assert np.isnan(np.delete(columns["valence"].values, 3)).all()
    assert (done.matched, done.unknown, len(done.unlabelled)) == (2, ("other.wav",), 9)
    assert "clip-003.wav" not in done.unlabelled


def test_a_table_of_windows_names_clips_with_backslashes(tmp_path: Path) -> None:
    """`a\\b.wav` is the clip `a/b.wav`; a clip whose id has a backslash keeps it."""
    ids = ["a/b.wav", "c\\d.wav", "e.wav"]
    register_clips(create_store(tmp_path / "s.zarr"), "corpus", clip=ids, sha256=[*"xyz"], n_samples=[5] * 3)
    table = _table(tmp_path / "s.zarr", "clip,mood\na\\b.wav,glad\nc\\d.wav,sad\n")
    done = label(tmp_path / "s.zarr", "corpus", table, roles={"mood": "class"})
    assert list(open_store(tmp_path / "s.zarr").corpus("corpus").columns["mood"].values) == ["glad", "sad", ""]
    assert (done.matched, done.unknown, done.unlabelled) == (2, (), ("e.wav",))


def test_the_store_stays_sound_and_embeddings_stay_theirs(store: Path) -> None:
    """Labels twice over leave verification clean and rewrite no object of an encoder."""
    objects = {file: file.stat().st_mtime_ns for file in (store / "corpus/made").rglob("*") if file.is_file()}
    for mood in ("sad", "glad"):
        label(store, "corpus", _table(store, f"clip,mood\nclip-000.wav,{mood}\n"), roles={"mood": "class"})
    assert verify(open_store(store)) == []
    assert open_store(store).corpus("corpus").columns["mood"].values[0] == "glad"
    assert {file: file.stat().st_mtime_ns for file in objects} == objects


def test_a_known_column_keeps_its_role_and_unlisted_clips_their_values(store: Path) -> None:
    """Without roles, a class stays a class, a target stays numbers, and clips that are not in the table stay as they were."""
    label(store, "corpus", _table(store, "clip,label,arousal\nclip-004.wav,new,9\n"))
    columns = open_store(store).corpus("corpus").columns
    assert columns["label"].role == "class"
    assert list(columns["label"].values) == ["new" if i == 4 else f"class {i % 3}" for i in range(11)]
    np.testing.assert_array_equal(columns["arousal"].values, [9 if i == 4 else i / 7 for i in range(11)])


@pytest.mark.parametrize(
    ("text", "roles", "message"),
    [
        ("name,mood\nclip-000.wav,a\n", {}, "expected a column 'clip' of clip ids, got name, mood"),
        ("clip,mood\nclip-000.wav,a\nclip-000.wav,b\n", {}, "clip-000.wav more than once"),
        ("clip,mood\nclip-000.wav\n", {}, "data row 1: expected 2 cells, got 1"),
        ("clip,mood\nx.wav,a\n", {}, "expected ids of .* such as clip-000.wav"),
        ("clip,mood\nclip-000.wav,high\n", {"mood": "target"}, "expected a number or nothing .* clip-000.wav"),
        ("clip,mood\nclip-000.wav,a\n", {"mod": "class"}, "'mod': not there, did you mean 'mood'?"),
        ("clip,made\nclip-000.wav,a\n", {}, "has something else of that name"),
        ("clip,../up\nclip-000.wav,a\n", {}, "expected up to 100 letters"),
        ("", {}, "an empty file"),
    ],
)
def test_a_wrong_table_changes_nothing(store: Path, text: str, roles: dict[str, str], message: str) -> None:
    """Each mistake is named and no column is written."""
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=message):
        label(store, "corpus", _table(store, text), roles=roles)  # type: ignore[arg-type]
    assert {file: file.read_bytes() for file in store.rglob("*") if file.is_file()} == before


def test_ids_match_in_either_unicode_form(tmp_path: Path) -> None:
    """A table from another system, whose é is an e with an accent behind it, labels the same clips with the same label."""
    known = {"clip": ["caf\u00e9.wav"], "sha256": ["f" * 64], "n_samples": [1]}
    register_clips(create_store(tmp_path / "s.zarr"), "corpus", **known)
    table = _table(tmp_path / "s.zarr", "clip,mood\ncafe\u0301.wav,gene\u0301\n")
    done = label(tmp_path / "s.zarr", "corpus", table)
    assert (done.matched, done.unknown, done.unlabelled) == (1, (), ())
    assert list(open_store(tmp_path / "s.zarr").corpus("corpus").columns["mood"].values) == ["gen\u00e9"]


def test_a_busy_store_is_refused(store: Path) -> None:
    """While another writer holds the store, labelling waits for nobody and says who holds it."""
    table = _table(store, "clip,mood\nclip-000.wav,a\n")
    with writer_lock(store), pytest.raises(StoreBusy, match="another process"):
        label(store, "corpus", table)
