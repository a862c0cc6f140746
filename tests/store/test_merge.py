"""Merged stores hold what their sources hold, value for value; contradictions are refused by name and change nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_store import ABOUT, KEY, Made, fill, register, register_corpus

from voxcache.errors import ConfigError, IntegrityError, StoreBusy
from voxcache.store import (
    ColumnData,
    EncoderWriter,
    Products,
    create_store,
    drop,
    open_store,
    register_clips,
    register_encoder,
)
from voxcache.store.backend import writer_lock
from voxcache.store.merge import MergeConflict, merge
from voxcache.store.pack import Selection, pack
from voxcache.store.swap import previous_path
from voxcache.store.verify import verify

KILLER = Path(__file__).parents[1] / "support" / "kill_merge.py"
FULL = Products(std=True, frames=(2,))
NOTHING_MORE = Products()


def _store(path: Path, made: Made, products: Products = NOTHING_MORE, rows: range | None = None) -> Path:
    """Make a store of some of the clips of `made`, whose values follow from their row in `made`."""
    rows = rows or range(made.n)
    corpus, _ = register_clips(
        create_store(path),
        "corpus",
        clip=[made.ids[row] for row in rows],
        sha256=[made.hashes[row] for row in rows],
        n_samples=[16_000 + row for row in rows],
        columns=[ColumnData("label", "class", np.array([f"class {row % 3}" for row in rows], dtype=object))],
        about={"licence": "CC0-1.0"},
        unit_rows=made.unit_rows,
    )
    writer = register_encoder(
        corpus,
        "made",
        key=KEY,
        n_layers=made.layers,
        dim=made.dim,
        n_frames=made.lengths[list(rows)],
        products=products,
        about=ABOUT,
    )
    for unit, mine in writer.todo().items():
        writer.commit(unit, mine, made.unit([rows[int(row)] for row in mine], products))
    return path


def _require(path: Path, made: Made, products: Products) -> None:
    """Fail unless a store is sound and holds every clip of `made`, in any order, with its own values."""
    assert verify(open_store(path)) == []
    corpus = open_store(path).corpus("corpus")
    assert sorted(corpus.clip) == made.ids
    encoder = corpus.encoder("made")
    rows = [made.ids.index(clip) for clip in corpus.clip]
    np.testing.assert_array_equal(encoder.pooled_all(), np.stack([made.pooled(row) for row in rows]))
    assert [list(encoder.ledger().reason)[i] for i, row in enumerate(rows) if row in made.failed] == ["made to fail"]
    assert list(corpus.columns["label"].values) == [f"class {row % 3}" for row in rows]
    if products.std:
        np.testing.assert_array_equal(encoder.pooled_std(0), encoder.pooled(0) * 2)
    for layer in products.frames:
        for got, row in zip(encoder.frames(layer).read(range(made.n)), rows, strict=True):
            expected = made.frames(row)
            assert len(got) == 0 if expected is None else np.array_equal(got, expected)


@pytest.mark.parametrize("products", [NOTHING_MORE, FULL], ids=["pooled", "std and frames"])
@pytest.mark.parametrize(("first", "second"), [((0, 6), (6, 11)), ((5, 11), (0, 7)), ((0, 11), (3, 7))])
def test_clips_come_together(
    tmp_path: Path, products: Products, first: tuple[int, int], second: tuple[int, int]
) -> None:
    """Two stores of some of the clips, overlapping or not, give one of all of them, frames included."""
    made = Made()
    a = _store(tmp_path / "a.zarr", made, products, range(*first))
    b = _store(tmp_path / "b.zarr", made, products, range(*second))
    merge([a, b], tmp_path / "out.zarr")
    _require(tmp_path / "out.zarr", made, products)


def test_units_of_other_sizes_come_together(tmp_path: Path) -> None:
    """Stores whose units hold 4 and 3 clips, in which clips stand in other rows, give every clip its own values."""
    made = Made()
    a = _store(tmp_path / "a.zarr", made, FULL, range(2, 7))
    b = _store(tmp_path / "b.zarr", replace(made, unit_rows=3), FULL)
    merge([b], a)
    _require(a, made, FULL)


def test_into_an_existing_store(tmp_path: Path) -> None:
    """New clips arrive in the store; its identity stays, the source is not touched, and merging again changes nothing."""
    made = Made()
    a = _store(tmp_path / "a.zarr", made, FULL, range(6))
    b = _store(tmp_path / "b.zarr", made, FULL, range(4, 11))
    before, uuid = _bytes(b), open_store(a).uuid
    (done,) = merge([b], a)
    assert (done.new_clips, done.copied, done.left_out) == (5, {"made": 5}, {"made": 0})
    _require(a, made, FULL)
    assert open_store(a).uuid == uuid
    assert _bytes(b) == before
    after = _bytes(a)
    assert merge([b], a)[0].copied == {"made": 0}
    assert _bytes(a) == after
    assert {item.name for item in tmp_path.iterdir() if not item.name.endswith(".lock")} == {"a.zarr", "b.zarr"}


def test_missing_and_failed_clips_are_filled(tmp_path: Path) -> None:
    """Where one store lacks or failed a clip that the other has, the merged one has it; its own values stay."""
    made, weak = Made(failed=(2,)), Made(failed=(1, 2, 7))
    a = _store(tmp_path / "a.zarr", weak)
    b = _store(tmp_path / "b.zarr", made)
    (done,) = merge([b], a)
    assert done.copied == {"made": 2}
    _require(a, made, NOTHING_MORE)


def test_other_encoders_and_corpora_come_together(tmp_path: Path) -> None:
    """An encoder and a corpus that only one side has are in the result, and its key and card with it."""
    made = Made()
    a, b = _store(tmp_path / "a.zarr", made), tmp_path / "b.zarr"
    writer = register_encoder(
        register_corpus(b, made)[0],
        "other",
        key={"weights": "b"},
        n_layers=3,
        dim=4,
        n_frames=made.lengths,
        products=FULL,
        about={"card": {"name": "other"}, "weights_origin": "random(seed=0)"},
    )
    fill(writer, made)
    register_clips(create_store(b), "second", clip=["x"], sha256=["f" * 64], n_samples=[5], about={"licence": "MIT"})
    pack(b, tmp_path / "b.zip")
    merge([tmp_path / "b.zip"], a)
    store = open_store(a)
    assert verify(store) == []
    assert (store.corpora, store.corpus("corpus").encoders) == (("corpus", "second"), ("made", "other"))
    other = store.corpus("corpus").encoder("other")
    assert (other.key, other.card["name"], other.is_random) == ({"weights": "b"}, "other", True)
    np.testing.assert_array_equal(other.frames(2).read([7])[0], made.frames(7))
    np.testing.assert_array_equal(store.corpus("corpus").columns["arousal"].values, np.arange(11) / 7)


def test_encoders_of_one_side_only_have_room_for_all_clips(tmp_path: Path) -> None:
    """Where each side has clips and an encoder of its own, both cover all clips; those never embedded are missing."""
    made = Made()
    a, b = _store(tmp_path / "a.zarr", made, FULL, range(6)), tmp_path / "b.zarr"
    corpus, _ = register_corpus(b, made)
    facts = {"n_layers": 3, "dim": 4, "n_frames": made.lengths, "products": NOTHING_MORE, "about": ABOUT}
    fill(register_encoder(corpus, "other", key=KEY, **facts), made)  # type: ignore[arg-type]
    merge([b], a)
    assert verify(open_store(a)) == []
    merged = open_store(a).corpus("corpus")
    assert [merged.encoder(name).ledger().counts()["missing"] for name in ("made", "other")] == [5, 0]
    assert {merged.encoder(name)._array("pooled").shape[0] for name in ("made", "other")} == {11}
    np.testing.assert_array_equal(merged.encoder("made").pooled_all()[:6], [made.pooled(row) for row in range(6)])
    np.testing.assert_array_equal(merged.encoder("made").frames(2).read([5])[0], made.frames(5))


def test_a_product_the_store_keeps_is_never_lost(tmp_path: Path) -> None:
    """Rows without std go where no std is kept; inside a unit that keeps it they are left out and counted."""
    whole, weak = Made(n=12, failed=(2,)), Made(n=12, failed=(1, 2))
    a = _store(tmp_path / "a.zarr", weak, FULL, range(6))
    b = _store(tmp_path / "b.zarr", whole, NOTHING_MORE)
    (done,) = merge([b], a)
    assert (done.copied, done.left_out) == ({"made": 6}, {"made": 1})
    assert verify(open_store(a)) == []
    encoder = open_store(a).corpus("corpus").encoder("made")
    assert list(np.flatnonzero(~encoder.ledger().ok)) == [1, 2]
    std = encoder.ledger("pooled_std").ok
    assert list(np.flatnonzero(std)) == [0, 3, 4, 5]
    np.testing.assert_array_equal(encoder.pooled_std(1)[std], encoder.pooled(1)[std] * 2)


def test_a_missing_product_is_added(tmp_path: Path) -> None:
    """A store of means gets std and frames from one that has them."""
    made = Made()
    a = _store(tmp_path / "a.zarr", made)
    merge([_store(tmp_path / "b.zarr", made, FULL)], a)
    _require(a, made, FULL)


def test_hashed_ids_are_matched_by_content(tmp_path: Path) -> None:
    """An owner of some of the audio gets embeddings of a pack with hashed ids under their own ids; the rest keeps its own."""
    made = Made()
    whole = _store(tmp_path / "whole.zarr", made, FULL)
    mine = _store(tmp_path / "mine.zarr", replace(made, failed=tuple(range(11))), FULL, range(5, 8))
    for path in (whole, mine):
        corpus = open_store(path).corpus("corpus")
        speaker = np.array([f"speaker {sha[-1]}" for sha in corpus.sha256], dtype=object)
        register_clips(
            create_store(path),
            "corpus",
            clip=list(corpus.clip),
            sha256=list(corpus.sha256),
            n_samples=list(corpus.n_samples),
            columns=[ColumnData("speaker", "group", speaker)],
        )
    pack(whole, tmp_path / "hashed.zip", Selection(hash_ids=True))
    (done,) = merge([tmp_path / "hashed.zip"], mine, by_content=True)
    assert done.new_clips == 8
    assert verify(open_store(mine)) == []
    corpus = open_store(mine).corpus("corpus")
    assert list(corpus.clip[:3]) == made.ids[5:8]
    assert not {*corpus.clip[3:]} & {*made.ids}
    rows = [made.hashes.index(sha) for sha in corpus.sha256]
    np.testing.assert_array_equal(corpus.encoder("made").pooled_all(), np.stack([made.pooled(row) for row in rows]))
    assert list(corpus.columns["speaker"].values[:4]) == ["speaker 5", "speaker 6", "speaker 7", ""]


def _other_audio(path: Path) -> None:
    register_corpus(path, replace(Made(), seed=1))


def _other_key(path: Path) -> None:
    drop(create_store(path).corpus("corpus").group, path, "made")
    fill(register(path, Made(), key={"weights": "b" * 64, "dtype": "bfloat16"}), Made())


def _other_label(path: Path) -> None:
    made = Made()
    columns = [ColumnData("label", "class", np.array(["changed"] + [""] * 10, dtype=object))]
    register_clips(
        create_store(path),
        "corpus",
        clip=made.ids,
        sha256=made.hashes,
        n_samples=[1] * 11,
        columns=columns,
        about={"licence": "MIT"},
    )


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (_other_audio, ["11 clips (clip-000.wav, clip-001.wav, clip-002.wav, …) have other audio"]),
        (_other_key, ["were made from something else", "dtype: float32 in", "bfloat16 in"]),
        (_other_label, ["1 clips (clip-000.wav) have other values of column 'label'", "licence 'CC0-1.0', but 'MIT'"]),
    ],
)
@pytest.mark.parametrize("existing", [True, False])
def test_contradictions_are_refused_by_name(
    tmp_path: Path, change: object, messages: list[str], existing: bool
) -> None:
    """Another hash, key, label or licence is named with both places, and neither store changes."""
    assert callable(change)
    for name in ("a.zarr", "b.zarr"):
        fill(register(tmp_path / name, Made()), Made())
    change(tmp_path / "b.zarr")
    before = _bytes(tmp_path)
    into = tmp_path / ("a.zarr" if existing else "out.zarr")
    sources = [tmp_path / "b.zarr"] if existing else [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    with pytest.raises(MergeConflict) as error:
        merge(sources, into)
    for message in messages:
        assert message in str(error.value)
    assert _bytes(tmp_path) == before


def test_damage_and_other_writers_are_refused(tmp_path: Path) -> None:
    """A damaged source, a store another process writes to, and a .zip as target change nothing."""
    made = Made()
    a, b = _store(tmp_path / "a.zarr", made), _store(tmp_path / "b.zarr", made)
    with pytest.raises(ConfigError, match="cannot be added to"):
        merge([b], tmp_path / "out.zip")
    with writer_lock(a), pytest.raises(StoreBusy):
        merge([b], a)
    (b / "corpus/made/pooled/c/1/0/0").write_bytes((b / "corpus/made/pooled/c/0/0/0").read_bytes())
    with pytest.raises(IntegrityError, match="unit 1"):
        merge([b], a)
    _require(a, made, NOTHING_MORE)


def test_a_merge_killed_at_any_step_has_happened_or_not(tmp_path: Path) -> None:
    """Killed before each rename, link and removal, the store opens with the clips before or after, sound, and can be merged."""
    made = Made()
    _store(tmp_path / "a.zarr", made, rows=range(6))
    _store(tmp_path / "b.zarr", made, rows=range(6, 11))
    kills = subprocess.run(
        [sys.executable, KILLER, tmp_path / "a.zarr", tmp_path / "b.zarr"], capture_output=True, text=True, check=False
    )
    assert kills.returncode == 0, kills.stderr + kills.stdout
    steps = [json.loads(line) for line in kills.stdout.splitlines()]
    assert {step["clips"] for step in steps} == {6, 11}
    assert any(step["beside"] for step in steps), "no kill fell between the two renames"
    assert all(step["after"] == 11 and not step["damage"] for step in steps), steps


@pytest.mark.parametrize("command", ["open", "extract", "merge"])
def test_whoever_comes_first_puts_the_store_back(tmp_path: Path, command: str) -> None:
    """With the store beside its place, a reader, a writer and a merge each find it as it was."""
    made = Made()
    a, b = _store(tmp_path / "a.zarr", made), _store(tmp_path / "b.zarr", made)
    a.rename(previous_path(a))
    if command == "merge":
        merge([b], a)
    else:
        (open_store if command == "open" else create_store)(a)
    assert not previous_path(a).exists()
    _require(a, made, NOTHING_MORE)


def test_a_reader_waits_while_stores_change_places(tmp_path: Path) -> None:
    """A store that is opened between the renames of a running merge is not put back under its feet, but waited for."""
    made = Made()
    a = _store(tmp_path / "a.zarr", made)
    with writer_lock(a), ThreadPoolExecutor(1) as pool:
        a.rename(previous_path(a))
        opened = pool.submit(open_store, a)
        time.sleep(0.2)
        assert not opened.done()
        previous_path(a).rename(a)
        assert opened.result(timeout=5).corpora == ("corpus",)


def test_a_disk_that_fills_up_midway_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If writing fails after clips and some units were added, the store is as it was and nothing lies beside it."""
    made = Made()
    a, b = _store(tmp_path / "a.zarr", made, rows=range(6)), _store(tmp_path / "b.zarr", made)
    before = _bytes(tmp_path)
    commit, calls = EncoderWriter.commit, iter(range(100))

    def full(*arguments: Any, **options: Any) -> None:
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        commit(*arguments, **options)

    monkeypatch.setattr(EncoderWriter, "commit", full)
    with pytest.raises(OSError, match="No space left"):
        merge([b], a)
    assert next(calls) == 2
    assert _bytes(tmp_path) == before


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".lock"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_corpus_without_clips_adds_its_encoder_only(tmp_path: Path) -> None:
    """A source whose corpus has no clip yet merges into one that has some, and the other way round."""
    made, none = Made(), replace(Made(), n=0, failed=())
    for name, held in (("some.zarr", made), ("none.zarr", none)):
        fill(register(tmp_path / name, held), held)
    for first, second in (("some.zarr", "none.zarr"), ("none.zarr", "some.zarr")):
        into = tmp_path / f"from-{first}"
        merge([tmp_path / first, tmp_path / second], into)
        _require(into, made, NOTHING_MORE)
