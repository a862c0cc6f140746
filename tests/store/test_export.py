"""Exported files open in other tools and hold what the store holds; what is imported says where it came from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.errors import ConfigError, KeyMismatch, StoreError
from voxcache.store import ColumnData, create_store, open_store, register_clips
from voxcache.store.export import export, import_embeddings
from voxcache.store.verify import verify

MADE = Made()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of 11 clips, of which one failed."""
    path = tmp_path_factory.mktemp("made") / "s.zarr"
    fill(register(path, MADE), MADE)
    return path


def _npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].tolist() for name in file}


def _h5(path: Path) -> dict[str, Any]:
    h5py = pytest.importorskip("h5py")
    found: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype) is not None
            found[name] = item.asstr()[()] if text else item[()]

    with h5py.File(path, "r") as file:
        file.visititems(take)
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()}


def _parquet(path: Path) -> dict[str, Any]:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    found = {name if name in NAMES else f"column/{name}": table[name].to_pylist() for name in table.column_names}
    return {**found, "about": table.schema.metadata[b"voxcache"].decode()}


NAMES = ("ids", "sha256", "status", "reason", "embeddings")


@pytest.mark.parametrize(("name", "read"), [("x.npz", _npz), ("x.h5", _h5), ("x.parquet", _parquet)])
def test_every_format_holds_the_layer_with_ids_labels_and_status(
    store: Path, tmp_path: Path, name: str, read: Any
) -> None:
    """numpy, h5py and pyarrow alone read the embeddings of the layer asked for, its clips, their labels and how each ended."""
    assert export(store, "corpus", "made", tmp_path / name, layer=1) == 10
    found = read(tmp_path / name)
    np.testing.assert_array_equal(
        np.array(found["embeddings"], np.float32), np.stack([MADE.pooled(row)[1] for row in range(MADE.n)])
    )
    assert found["ids"] == MADE.ids
    assert found["sha256"] == MADE.hashes
    assert found["status"] == [2 if row in MADE.failed else 1 for row in range(MADE.n)]
    assert found["reason"][2] == "made to fail"
    assert found["column/label"] == [f"class {row % 3}" for row in range(MADE.n)]
    assert found["column/arousal"] == [row / 7 for row in range(MADE.n)]
    about = json.loads(found["about"])
    assert (about["encoder"], about["layer"], about["licence"]) == ("made", 1, "CC0-1.0")
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_a_missing_package_is_named_with_its_extra(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without h5py or pyarrow the error says what to install, and nothing is left on the disk."""
    for module, name in (("h5py", "x.h5"), ("pyarrow", "x.parquet")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"{module}: expected it .* not installed .*voxcache\[share\]"):
            export(store, "corpus", "made", tmp_path / name)
    with pytest.raises(ConfigError, match=r"expected a name that ends in .npz, .h5, .parquet"):
        export(store, "corpus", "made", tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_label_named_as_another_column_keeps_its_prefix(tmp_path: Path) -> None:
    """In Parquet a label called `status` or `embeddings` stands beside the ledger's, under `column/`."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path, said = tmp_path / "s.zarr", np.array([f"said {row}" for row in range(MADE.n)], dtype=object)
    register_clips(
        create_store(path),
        "corpus",
        clip=MADE.ids,
        sha256=MADE.hashes,
        n_samples=[1] * MADE.n,
        columns=[ColumnData(name, "meta", said) for name in ("status", "embeddings")],
        unit_rows=MADE.unit_rows,
    )
    fill(register(path, MADE), MADE)
    export(path, "corpus", "made", tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table["status"].to_pylist() == [2 if row in MADE.failed else 1 for row in range(MADE.n)]
    assert np.shape(table["embeddings"].to_pylist()) == (MADE.n, MADE.dim)
    for name in ("status", "embeddings"):
        assert table[f"column/{name}"].to_pylist() == list(said)
    assert "label" in table.column_names


def test_a_folder_that_is_not_there_is_named(store: Path, tmp_path: Path) -> None:
    """An export into a folder that does not exist is refused with its name."""
    with pytest.raises(ConfigError, match=r"no/x\.npz: expected a folder .*/no to write into, found none"):
        export(store, "corpus", "made", tmp_path / "no" / "x.npz")


def test_hashes_of_another_number_are_refused(tmp_path: Path) -> None:
    """An .npz with fewer hashes than rows is refused with both counts, and no store is made."""
    np.savez(
        tmp_path / "x.npz", embeddings=np.zeros((3, 4)), ids=np.array(["a", "b", "c"]), sha256=np.array(["f" * 64])
    )
    with pytest.raises(ConfigError, match="sha256: expected one hash for each of 3 rows, got 1"):
        import_embeddings(tmp_path / "s.zarr", "corpus", "theirs", tmp_path / "x.npz")
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize("name", ["x.npz", "x.h5"])
def test_export_then_import_is_identity(store: Path, tmp_path: Path, name: str) -> None:
    """What was exported comes back as an encoder of a new store: values, hashes and which clip has none."""
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    export(store, "corpus", "made", tmp_path / name, layer=1)
    done = import_embeddings(tmp_path / "t.zarr", "corpus", "theirs", tmp_path / name, facts={"licence": "MIT"})
    assert (done.n_clips, len(done.new), done.absent) == (10, 11, ())
    assert verify(open_store(tmp_path / "t.zarr")) == []
    corpus = open_store(tmp_path / "t.zarr").corpus("corpus")
    theirs = corpus.encoder("theirs")
    assert list(corpus.sha256) == MADE.hashes
    np.testing.assert_array_equal(theirs.pooled(), np.stack([MADE.pooled(row)[1] for row in range(MADE.n)]))
    assert theirs.ledger().counts() == {"missing": 0, "ok": 10, "failed": 1, "stale": 0}
    assert (theirs.weights_origin, theirs.card["family"], theirs.card["licence"]) == (
        f"imported:{name}",
        "imported",
        "MIT",
    )


def test_rows_go_to_the_clips_they_name(tmp_path: Path) -> None:
    """An .npy of all layers in another order than the corpus, with ids beside it, lands row for row; the rest is missing."""
    fill(register(tmp_path / "s.zarr", MADE), MADE)
    values = np.random.default_rng(0).normal(size=(3, 2, 5))
    np.save(tmp_path / "x.npy", values)
    (tmp_path / "ids.txt").write_text("clip-007.wav\nclip-001.wav\nnew.wav\n")
    arguments = (tmp_path / "s.zarr", "corpus", "theirs", tmp_path / "x.npy")
    done = import_embeddings(*arguments, ids=tmp_path / "ids.txt")
    assert (done.n_clips, done.new, len(done.absent)) == (3, ("new.wav",), 9)
    corpus = open_store(tmp_path / "s.zarr").corpus("corpus")
    np.testing.assert_array_equal(corpus.encoder("theirs").pooled_all()[[7, 1, 11]], values.astype(np.float32))
    assert corpus.encoder("theirs").ledger().counts() == {"missing": 9, "ok": 3, "failed": 0, "stale": 0}
    assert corpus.sha256[7] == MADE.hashes[7]
    assert list(corpus.columns["label"].values[[7, 11]]) == ["class 1", ""]
    np.testing.assert_array_equal(corpus.columns["arousal"].values[[7, 11]], [1, np.nan])
    assert verify(open_store(tmp_path / "s.zarr")) == []
    assert import_embeddings(*arguments, ids=tmp_path / "ids.txt").new == ()


def test_another_file_or_other_audio_is_refused(store: Path, tmp_path: Path) -> None:
    """A second file under the same name, and ids whose content hash differs, are named; the store stays as it was."""
    export(store, "corpus", "made", tmp_path / "x.npz", layer=1)
    import_embeddings(tmp_path / "t.zarr", "corpus", "theirs", tmp_path / "x.npz")
    export(store, "corpus", "made", tmp_path / "y.npz", layer=2)
    before = {file: file.read_bytes() for file in (tmp_path / "t.zarr").rglob("*") if file.is_file()}
    with pytest.raises(KeyMismatch, match="imported: "):
        import_embeddings(tmp_path / "t.zarr", "corpus", "theirs", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as file:
        changed = {**file, "sha256": np.array(["f" * 64] * 11)}
    np.savez(tmp_path / "z.npz", **changed)
    with pytest.raises(StoreError, match=r"11 clips such as clip-000.wav have other audio"):
        import_embeddings(tmp_path / "t.zarr", "corpus", "another", tmp_path / "z.npz")
    assert {file: file.read_bytes() for file in before} == before


def test_a_file_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """An .npy header of an exabyte and an .npz cut short are refused with a sentence, and no store is made."""
    np.save(tmp_path / "x.npy", np.zeros((3, 4)))
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(data.replace(b"(3, 4), }" + b" " * 14, b"(3, 444444444444), }".ljust(23)))
    np.savez(tmp_path / "y.npz", embeddings=np.zeros((3, 4)))
    (tmp_path / "y.npz").write_bytes((tmp_path / "y.npz").read_bytes()[:-20])
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    for name in ("x.npy", "y.npz"):
        with pytest.raises(ConfigError, match=r"cannot be read|expected"):
            import_embeddings(tmp_path / "s.zarr", "corpus", "theirs", tmp_path / name, ids=tmp_path / "ids.txt")
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize(
    ("values", "ids", "message"),
    [
        (np.zeros(3), "a\nb\nc", r"expected floats \[clip, feature\].* got float64 \[3\]"),
        (np.zeros((2, 3), int), "a\nb", "got int64"),
        (np.zeros((2, 3)), "a", "expected one id for each of 2 rows, each once, got 1"),
        (np.zeros((2, 3)), "a\na", "got 2 of which 1 differ"),
        (np.array([[{}]], dtype=object), "a", "cannot be read .*allow_pickle"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_written(
    tmp_path: Path, values: np.ndarray, ids: str, message: str
) -> None:
    """Other shapes, types, id counts and pickles are named, and no store is made."""
    np.save(tmp_path / "x.npy", values, allow_pickle=True)
    (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(ConfigError, match=message):
        import_embeddings(tmp_path / "s.zarr", "corpus", "theirs", tmp_path / "x.npy", ids=tmp_path / "ids.txt")
    assert not (tmp_path / "s.zarr").exists()
