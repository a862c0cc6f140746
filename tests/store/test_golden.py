"""Stores written by earlier versions keep opening; the files under golden/ are never edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_store import Made

from voxcache.store import open_store
from voxcache.store.verify import verify

GOLDEN = sorted(Path(__file__).with_name("golden").glob("schema-*.zarr"))


def test_there_is_one_of_each_schema() -> None:
    """A schema without its golden store would not be tested."""
    from voxcache.store.schema import SCHEMA

    assert [path.name for path in GOLDEN] == [f"schema-{n}.zarr" for n in range(1, SCHEMA + 1)]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_a_golden_store_reads_as_it_was_written(path: Path) -> None:
    """Values, frames, labels and ledger of a store from back then are what was put in, and verification passes."""
    made = Made(n=6, unit_rows=4, layers=2, dim=3)
    store = open_store(path)
    corpus = store.corpus("corpus")
    encoder = corpus.encoder("made")
    np.testing.assert_array_equal(encoder.pooled_all(), np.stack([made.pooled(row) for row in range(made.n)]))
    np.testing.assert_array_equal(encoder.frames(1).read([5])[0], made.frames(5))
    assert list(corpus.columns["label"].values) == [f"class {i % 3}" for i in range(made.n)]
    assert encoder.ledger().counts() == {"missing": 0, "ok": 5, "failed": 1, "stale": 0}
    assert verify(store) == []
