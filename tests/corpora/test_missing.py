"""What counts as missing is the same in every reader: in manifests of both kinds, in `store label`, and in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register
from sklearn.linear_model import LogisticRegression

from voxcache.extract.corpora import CorpusConfig, scan_corpus
from voxcache.store import open_store, register_clips
from voxcache.store.labels import label
from voxcache.store.missing import NA

LABELS = ("1.0", "", *NA, "0.0")


def written(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write a manifest with these labels."""
    lines = [f"{i}.wav,{text}" for i, text in enumerate(labels)]
    (folder / "clips.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return folder / "clips.csv"


def labels_of(config: CorpusConfig) -> list[object]:
    """Return the label of each clip."""
    return [clip.values["label"] for clip in scan_corpus("mine", config).clips]


def test_words_for_missing_are_missing_and_whole_numbers_stay_whole(tmp_path: Path) -> None:
    """Seven words and an empty cell give no class; beside them 1.0 is 1; what was taken for missing is said once."""
    config = CorpusConfig(manifest=written(tmp_path, LABELS))
    assert labels_of(config) == ["1", *[""] * (1 + len(NA)), "0"]
    assert "6 cells such as NA or nan count as missing (label 6); `na: []` keeps them" in scan_corpus("m", config).notes


def test_a_corpus_may_keep_the_words_as_labels(tmp_path: Path) -> None:
    """With `na: []` only the empty cell is missing; numbers without a gap stay as they are written."""
    assert labels_of(CorpusConfig(manifest=written(tmp_path, ("NA", "None", "")), na=())) == ["NA", "None", ""]
    assert labels_of(CorpusConfig(manifest=written(tmp_path, ("0.0", "1.0")))) == ["0.0", "1.0"]


def test_parquet_follows_the_same_rule(tmp_path: Path) -> None:
    """A column of whole numbers with a gap, which pandas writes as floats, gives the classes 0 and 1."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"path": ["a.wav", "b.wav", "c.wav"], "label": pa.array([0.0, None, 1.0])})
    parquet.write_table(table, tmp_path / "clips.parquet")
    assert labels_of(CorpusConfig(manifest=tmp_path / "clips.parquet")) == ["0", "", "1"]


def test_store_label_follows_the_same_rule(tmp_path: Path) -> None:
    """Labels that are joined to a store later lose the same words, and their number is said."""
    made = Made(n=4)
    fill(register(tmp_path / "s.zarr", made), made)
    cells = zip(made.ids, ("2.0", "NA", "", "3.0"), strict=True)
    (tmp_path / "t.csv").write_text("clip,rated\n" + "\n".join(map(",".join, cells)) + "\n")
    done = label(tmp_path / "s.zarr", "corpus", tmp_path / "t.csv", roles={"rated": "class"})
    assert list(open_store(tmp_path / "s.zarr").corpus("corpus").columns["rated"].values) == ["2", "", "", "3"]
    assert done.n_missing == 1


def test_xy_gives_what_scikit_learn_takes_and_counts_the_rest(tmp_path: Path) -> None:
    """No empty label, no NaN row; used and left out add up to all clips, a reason each; numbers work as well."""
    made = Made(failed=(2, 4))
    writer = register(tmp_path / "s.zarr", made)
    fill(writer, made)
    ids, hashes = made.ids[:10], made.hashes[:10]
    from voxcache.store import ColumnData, create_store

    labels = np.array(["", *["a", "b"] * 4, "a"], dtype=object)
    arousal = np.array([np.nan, *range(9)], dtype=np.float64)
    columns = [ColumnData("label", "class", labels), ColumnData("arousal", "target", arousal)]
    store = create_store(tmp_path / "s.zarr")
    samples = [16_000 + i for i in range(10)]
    register_clips(store, "corpus", clip=ids, sha256=hashes, n_samples=samples, columns=columns, complete=True)
    found = open_store(tmp_path / "s.zarr").corpus("corpus").xy("made")
    LogisticRegression().fit(found.x, found.y)
    assert found.left_out == {"extraction failed": 2, "not listed now": 1, "without label": 1}
    assert found.x.shape == (7, made.dim)
    assert set(found.y) == {"a", "b"}
    assert str(found).startswith("7 of 11 clips used (2 extraction failed;")
    np.testing.assert_array_equal(found.x, [made.pooled(row)[-1] for row in found.rows])
    number = open_store(tmp_path / "s.zarr").corpus("corpus").xy("made", layer=0, target="arousal")
    np.testing.assert_array_equal(number.y, arousal[number.rows])
