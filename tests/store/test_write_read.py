"""Writing then reading is identity; what is missing, stale or failed is known by name."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_store import KEY, Made, fill, register, register_corpus

from voxcache.errors import ConfigError, KeyMismatch, SchemaError, StoreBusy, StoreError
from voxcache.store import ColumnData, Products, backend, create_store, drop, open_store, register_clips
from voxcache.store.backend import DurableStore, writer_lock
from voxcache.store.schema import node_name
from voxcache.store.verify import verify


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 14),
    unit_rows=st.integers(1, 6),
    layers=st.integers(1, 3),
    std=st.booleans(),
    frames=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_write_then_read_is_identity(
    tmp_path_factory: pytest.TempPathFactory, n: int, unit_rows: int, layers: int, std: bool, frames: bool, seed: int
) -> None:
    """Whatever is committed is read back, bit for bit, for any shape of corpus and any set of products."""
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    made = Made(n=n, unit_rows=unit_rows, layers=layers, seed=seed)
    fill(register(path, made, Products(std=std, frames=(layers - 1,) if frames else ())), made)
    encoder = open_store(path).corpus("corpus").encoder("made")
    expected = np.stack([made.pooled(row) for row in range(n)])
    np.testing.assert_array_equal(encoder.pooled_all(), expected)
    for layer in range(layers):
        np.testing.assert_array_equal(encoder.pooled(layer), expected[:, layer])
    if std:
        np.testing.assert_array_equal(encoder.pooled_std(-1), expected[:, -1] * 2)
    if frames:
        rows = [row for row in range(n) if row not in made.failed]
        for row, got in zip(rows, encoder.frames(-1).read(rows), strict=True):
            np.testing.assert_array_equal(got, made.frames(row))


def test_the_ledger_names_every_clip(tmp_path: Path) -> None:
    """Committed clips are ok or failed with a reason, clips of units not yet committed are missing."""
    made = Made()
    writer = register(tmp_path / "s.zarr", made)
    rows = writer.todo()[0]
    writer.commit(0, rows, made.unit(rows, writer.products))
    ledger = open_store(tmp_path / "s.zarr").corpus("corpus").encoder("made").ledger()
    assert ledger.counts() == {"missing": 7, "ok": 3, "failed": 1, "stale": 0}
    assert list(ledger.reason[:4]) == ["", "", "made to fail", ""]


def test_labels_come_back_as_they_were_given(tmp_path: Path) -> None:
    """Class columns are strings, targets are floats, each with its role."""
    register_corpus(tmp_path / "s.zarr", Made())
    columns = open_store(tmp_path / "s.zarr").corpus("corpus").columns
    assert columns["label"].role == "class"
    assert list(columns["label"].values[:4]) == ["class 0", "class 1", "class 2", "class 0"]
    np.testing.assert_array_equal(columns["arousal"].values, np.arange(11) / 7)


def test_new_clips_are_added_without_touching_full_units(tmp_path: Path) -> None:
    """Growing a corpus rewrites no shard of a unit that was full, and embeds only the new clips."""
    path = tmp_path / "s.zarr"
    small = Made(n=10)
    fill(register(path, small), small)
    pooled = path / "corpus" / "made" / "pooled" / "c"
    before = {file: file.stat().st_mtime_ns for file in pooled.rglob("*") if file.is_file()}
    large = Made(n=13)
    writer = register(path, large)
    assert fill(writer, large) == 3
    encoder = open_store(path).corpus("corpus").encoder("made")
    np.testing.assert_array_equal(encoder.pooled_all(), np.stack([large.pooled(row) for row in range(13)]))
    untouched = [file for file, time in before.items() if file.stat().st_mtime_ns == time]
    assert sorted(file.relative_to(pooled).parts[0] for file in untouched) == ["0", "1"]


def test_frames_added_later_leave_pooled_values_alone(tmp_path: Path) -> None:
    """Asking for a layer's frames of a finished encoder embeds again and ends with both products for every clip."""
    path = tmp_path / "s.zarr"
    made = Made()
    fill(register(path, made), made)
    assert fill(register(path, made, Products(frames=(1,))), made) == made.n
    encoder = open_store(path).corpus("corpus").encoder("made")
    assert encoder.frame_layers == (1,)
    np.testing.assert_array_equal(encoder.pooled_all(), np.stack([made.pooled(row) for row in range(made.n)]))
    np.testing.assert_array_equal(encoder.frames(1).read([5])[0], made.frames(5))


def test_changed_audio_makes_its_rows_stale(tmp_path: Path) -> None:
    """A clip whose content hash changes is reported, read as missing, and is the only one embedded again."""
    path = tmp_path / "s.zarr"
    made = Made()
    fill(register(path, made), made)

    class Changed(Made):
        @property
        def hashes(self) -> list[str]:
            return [*super().hashes[:5], "f" * 64, *super().hashes[6:]]

    changed = Changed()
    _, registered = register_corpus(path, changed)
    assert registered.changed == ("clip-005.wav",)
    encoder = open_store(path).corpus("corpus").encoder("made")
    assert encoder.ledger().counts()["stale"] == 1
    assert np.isnan(encoder.pooled(0)[5]).all()
    assert fill(register(path, changed), changed) == 1


def test_another_key_is_refused_by_field(tmp_path: Path) -> None:
    """Embeddings made from other weights or at another precision are never reused, and the message says which differ."""
    register(tmp_path / "s.zarr", Made())
    with pytest.raises(
        KeyMismatch, match=r"dtype: float32 in the store, bfloat16 now; weights: aaaaaaaaaaaa… in the store"
    ):
        register(tmp_path / "s.zarr", Made(), key={"weights": "b" * 64, "dtype": "bfloat16"})


def test_content_hash_follows_content(tmp_path: Path) -> None:
    """The hash that results are keyed by changes with clips and status, and not with time or place."""
    made = Made()
    hashes = []
    for name, n in (("a.zarr", 11), ("b.zarr", 11), ("c.zarr", 10)):
        made = Made(n=n)
        fill(register(tmp_path / name, made), made)
        hashes.append(open_store(tmp_path / name).corpus("corpus").encoder("made").content_hash())
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("kind", ["write", "appearance"])
@pytest.mark.parametrize("fail_at", range(0, 60, 1))
def test_any_write_may_be_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, kind: str) -> None:
    """Stopping after any single write, or any object that appears, leaves a store that opens and that a second run completes."""
    made, products = Made(n=7, failed=(1,)), Products(std=True, frames=(2,))
    whole, broken = tmp_path / "whole.zarr", tmp_path / "broken.zarr"
    fill(register(whole, made, products), made)
    with monkeypatch.context() as patch:
        _fail_after(patch, kind, fail_at)
        with contextlib.suppress(_PluggedError):
            fill(register(broken, made, products), made)
    if (broken / "zarr.json").exists():
        _readable(broken)
    fill(register(broken, made, products), made)
    assert _contents(broken) == _contents(whole)


def test_an_array_whose_group_a_kill_left_without_a_document_is_made_again(tmp_path: Path) -> None:
    """In a bucket an array's document may come before that of the group around it; the next registration goes on."""
    path, made, products = tmp_path / "s.zarr", Made(n=5), Products(frames=(2,))
    register(path, made, products)
    (path / "corpus" / "made" / "frames" / "zarr.json").unlink()
    fill(register(path, made, products), made)
    frames = open_store(path).corpus("corpus").encoder("made").frames(2)
    np.testing.assert_array_equal(frames.read([4])[0], made.frames(4))


@pytest.mark.parametrize("kind", ["write", "appearance"])
@pytest.mark.parametrize("fail_at", range(0, 70, 3))
def test_any_write_may_be_the_last_while_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, kind: str
) -> None:
    """Stopping while clips and products are added to a finished encoder leaves it readable and completable."""
    path, small, large = tmp_path / "s.zarr", Made(n=5), Made(n=7)
    fill(register(path, small), small)
    with monkeypatch.context() as patch:
        _fail_after(patch, kind, fail_at)
        with contextlib.suppress(_PluggedError):
            fill(register(path, large, Products(std=True, frames=(2,))), large)
    held = open_store(path).corpus("corpus").encoder("made")
    assert held.ledger().ok.sum() >= 4
    assert not np.isnan(held.pooled_all()[held.ledger().ok]).any()
    fill(register(path, large, Products(std=True, frames=(2,))), large)
    whole = open_store(path).corpus("corpus").encoder("made")
    np.testing.assert_array_equal(whole.pooled_all(), np.stack([large.pooled(row) for row in range(large.n)]))
    np.testing.assert_array_equal(whole.frames(2).read([6])[0], large.frames(6))
    assert verify(open_store(path)) == []


@dataclasses.dataclass(frozen=True)
class _Changed(Made):
    """The same clips, of which one has other audio now."""

    @property
    def hashes(self) -> list[str]:
        return [*super().hashes[:1], "e" * 64, *super().hashes[2:]]

    def pooled(self, row: int) -> np.ndarray:
        return super().pooled(row) if row != 1 or row in self.failed else super().pooled(row) + 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("fail_at", range(20))
def test_any_write_may_be_the_last_while_a_clip_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, fails: bool
) -> None:
    """While changed audio is embedded again, or fails this time, its row is the new one whole or not there, never between."""
    path, old = tmp_path / "s.zarr", Made(n=6, failed=())
    new = _Changed(n=6, failed=(1,) if fails else ())
    fill(register(path, old), old)
    with monkeypatch.context() as patch:
        _fail_after(patch, "appearance", fail_at)
        with contextlib.suppress(_PluggedError):
            fill(register(path, new), new)
    held = open_store(path).corpus("corpus").encoder("made")
    expected = old if held.corpus.sha256[1] == old.hashes[1] else new
    ok = held.ledger().ok
    np.testing.assert_array_equal(held.pooled_all()[ok], np.stack([expected.pooled(row) for row in range(6)])[ok])
    fill(register(path, new), new)
    assert verify(open_store(path)) == []


def test_a_column_that_is_changed_back_after_a_kill_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label edit that died between its chunk and its digest does not stay when the old labels are given again."""
    path, made = tmp_path / "s.zarr", Made()
    register_corpus(path, made)
    store = create_store(path)
    other = ColumnData("label", "class", np.array(["other"] * made.n, dtype=object))
    for fail_at in range(6):
        with monkeypatch.context() as patch:
            _fail_after(patch, "appearance", fail_at)
            with contextlib.suppress(_PluggedError):
                register_clips(
                    store, "corpus", clip=made.ids, sha256=made.hashes, n_samples=[1] * made.n, columns=[other]
                )
        register_corpus(path, made)
        assert list(open_store(path).corpus("corpus").columns["label"].values[:2]) == ["class 0", "class 1"]
        assert verify(open_store(path)) == []


class _PluggedError(OSError):
    """The power went."""


def _fail_after(patch: pytest.MonkeyPatch, kind: str, n: int) -> None:
    """Let the first `n` objects be written, or appear under their names, and then none."""
    count = iter(range(10_000))
    real_set, real_appear = DurableStore.set, backend._appear

    async def failing_set(self: DurableStore, key: str, value: object) -> None:
        if next(count) >= n:
            raise _PluggedError
        await real_set(self, key, value)  # type: ignore[arg-type]

    def failing_appear(partial: Path, path: Path) -> None:
        if next(count) >= n:
            raise _PluggedError
        real_appear(partial, path)

    if kind == "write":
        patch.setattr(DurableStore, "set", failing_set)
    else:
        patch.setattr(backend, "_appear", failing_appear)


def _readable(path: Path) -> None:
    store = open_store(path)
    for corpus in store.corpora:
        for encoder in store.corpus(corpus).encoders:
            held = store.corpus(corpus).encoder(encoder)
            ok = held.ledger().ok
            assert not np.isnan(held.pooled_all()[ok]).any()
            assert not np.isnan(held.pooled_std()[held.ledger("pooled_std").ok]).any()


def _contents(path: Path) -> dict[str, bytes]:
    """Every object of a store but the root's attributes, which carry its identity."""
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file != path / "zarr.json"}


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """While one process holds the store, another is told who holds it."""
    imports = "from pathlib import Path; from voxcache.store.backend import writer_lock"
    code = f"{imports}; writer_lock(Path({str(tmp_path / 's.zarr')!r})).__enter__()"
    with writer_lock(tmp_path / "s.zarr"):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreBusy" in second.stderr
    assert "another process is writing to it (pid" in second.stderr
    with writer_lock(tmp_path / "s.zarr"):
        pass
    assert issubclass(StoreBusy, StoreError)


@pytest.mark.parametrize("name", ["../up", "/etc", "a\nb", "", ".hidden", "x" * 200, "c:\\x"])
def test_names_cannot_leave_the_store(name: str) -> None:
    """Names that are paths, control characters or too long are refused."""
    with pytest.raises(ConfigError, match="Rename it"):
        node_name("corpus", name)


def test_hub_ids_become_one_element() -> None:
    """A hub id is a legal name, its slash written as two dashes."""
    assert node_name("encoder", "facebook/wav2vec2-base") == "facebook--wav2vec2-base"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "not found"),
        (lambda p: p.mkdir(), "expected a Zarr v3 group, got a folder"),
        (lambda p: p.write_text("hello"), "got a file"),
        (lambda p: (p.mkdir(), (p / "zarr.json").write_text("{")), "expected a Zarr v3 group"),
        (lambda p: _zarr_root(p, {}), "not a voxcache store"),
        (
            lambda p: _zarr_root(p, {"voxcache": {"schema": 99, "created_by": "voxcache 9"}}),
            "got 99. It was written by voxcache 9",
        ),
    ],
)
def test_what_is_no_store_is_refused_with_a_sentence(tmp_path: Path, make: object, message: str) -> None:
    """A missing path, a file, a folder, broken JSON, a foreign Zarr group and a newer schema each get their own message."""
    path = tmp_path / "s.zarr"
    make(path)  # type: ignore[operator]
    with pytest.raises(SchemaError, match=message):
        open_store(path)


def _zarr_root(path: Path, attributes: dict[str, object]) -> None:
    import zarr

    zarr.create_group(str(path), attributes=attributes)


def test_a_folder_that_is_no_store_is_not_written_to(tmp_path: Path) -> None:
    """Creating a store over someone's folder is refused and leaves it as it was."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(SchemaError):
        create_store(tmp_path / "photos")
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["a.jpg"]


def test_dropping_removes_one_encoder_only(tmp_path: Path) -> None:
    """After a drop the encoder is gone and its corpus is still there."""
    made = Made()
    writer = register(tmp_path / "s.zarr", made)
    drop(writer.encoder.corpus.group, tmp_path / "s.zarr", "made")
    corpus = open_store(tmp_path / "s.zarr").corpus("corpus")
    assert corpus.encoders == ()
    assert corpus.n_clips == made.n


def test_plain_zarr_and_xarray_read_it(tmp_path: Path) -> None:
    """A process that cannot import voxcache reads values, ids and layers with zarr and xarray."""
    made = Made(failed=())
    fill(register(tmp_path / "s.zarr", made), made)
    np.save(tmp_path / "expected.npy", np.stack([made.pooled(row) for row in range(made.n)]))
    code = f"""
import sys; sys.modules["voxcache"] = None
import numpy as np, xarray, zarr
expected = np.load({str(tmp_path / "expected.npy")!r})
np.testing.assert_array_equal(zarr.open_group({str(tmp_path / "s.zarr")!r}, mode="r")["corpus/made/pooled"][:], expected)
ds = xarray.open_zarr({str(tmp_path / "s.zarr")!r}, group="corpus/made", consolidated=False)
np.testing.assert_array_equal(ds.pooled.sel(clip="clip-004.wav", layer=2).values, expected[4, 2])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_store_needs_no_torch() -> None:
    """Importing and using the store works where torch, pandas and h5py cannot be imported."""
    hidden = "for name in ('torch', 'pandas', 'h5py', 'scipy', 'sklearn'): sys.modules[name] = None"
    code = f"import sys\n{hidden}\nimport voxcache.store, voxcache.cli_store, voxcache.store.verify"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_key_fields_are_kept_in_the_clear(tmp_path: Path) -> None:
    """The key is stored field by field, so that a reader can see what the numbers were made from."""
    assert register(tmp_path / "s.zarr", Made()).encoder.key == KEY
    assert dataclasses.is_dataclass(Products())
