"""Whatever is changed in a document, an object, a .zip or a manifest: what looks at it works or refuses it with a sentence.

A few examples run every time; `VOXCACHE_FUZZ=500` runs so many of each. What was once found stands as an `@example`.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from made_store import Made, fill, register

from voxcache.errors import VoxcacheError
from voxcache.extract.corpora import CorpusConfig
from voxcache.extract.corpora.check import check_corpus
from voxcache.store import Products, open_store
from voxcache.store.pack import pack
from voxcache.store.verify import verify

EXAMPLES = int(os.environ.get("VOXCACHE_FUZZ", "8"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="VOXCACHE_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
MADE = Made(n=6, layers=2, dim=3)

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../x", "\x1b[2J", "zarr.json", "NaN", "layer_999999999", "x" * 10_000, 2**62, -1, 0, 1e308]),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=6
)
WHERE = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with every product; each test puts back what it changes."""
    path = tmp_path_factory.mktemp("fuzz") / "s.zarr"
    fill(register(path, MADE, Products(std=True, frames=(1,))), MADE)
    return path


def look(path: Path) -> None:
    """Do what `ls`, `info`, `status` and `verify` do; refusals on purpose are fine, all else is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = open_store(path)
            for corpus in map(opened.corpus, opened.corpora):
                _ = (corpus.n_samples.sum(), {name: column.role for name, column in corpus.columns.items()})
                for encoder in map(corpus.encoder, corpus.encoders):
                    _ = (encoder.weights_origin, encoder.is_random, encoder.products, encoder.ledger().counts())
                    _ = (
                        encoder.pooled().shape,
                        encoder.content_hash(),
                        [f.shape for f in encoder.frames().read(range(6))],
                    )
        except VoxcacheError as error:
            assert str(error)  # noqa: PT017
        try:
            verify(open_store(path))
        except VoxcacheError as error:
            assert str(error)  # noqa: PT017


def places(node: Any, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the way to every member of a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [way for key, value in items for way in ((*prefix, key), *places(value, (*prefix, key)))]


@FUZZ
@given(file=WHERE, place=WHERE, value=VALUES, how=st.sampled_from(["set", "set", "set", "delete", "wrap"]))
@example(file=0.0, place=0.0, value=[], how="set")
def test_any_member_of_any_document_may_be_anything(
    store: Path, file: float, place: float, value: Any, how: str
) -> None:
    """One value of one zarr.json set to anything, deleted or wrapped in a list."""
    documents = sorted(store.rglob("zarr.json"))
    path = documents[int(file * len(documents))]
    whole = path.read_bytes()
    document = json.loads(whole)
    ways = places(document)
    *way, last = ways[int(place * len(ways))]
    node = document
    for part in way:
        node = node[part]
    if how == "delete":
        del node[last]
    else:
        node[last] = value if how == "set" else [node[last]]
    try:
        path.write_text(json.dumps(document))
        look(store)
    finally:
        path.write_bytes(whole)


@FUZZ
@given(file=WHERE, at=WHERE, cut=st.integers(0, 40), put=st.binary(max_size=40))
def test_any_bytes_of_any_object_may_be_any(store: Path, file: float, at: float, cut: int, put: bytes) -> None:
    """Bytes of one object, document or chunk, removed and others put in their place."""
    objects = sorted(item for item in store.rglob("*") if item.is_file())
    path = objects[int(file * len(objects))]
    whole = path.read_bytes()
    start = int(at * (len(whole) + 1))
    try:
        path.write_bytes(whole[:start] + put + whole[start + cut :])
        look(store)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["s.zip", "s.h5"])
def test_any_bytes_of_one_file_may_be_any(store: Path, tmp_path: Path, name: str) -> None:
    """Bytes of a .zip, most of them in its table of contents, or of an .h5's first block, removed and replaced."""
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    pack(store, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    first = whole.index(b"PK\1\2") if name.endswith("zip") else 0
    last = len(whole) if name.endswith("zip") else 2000

    @FUZZ
    @given(at=WHERE, cut=st.integers(0, 20), put=st.binary(max_size=20))
    def spoil(at: float, cut: int, put: bytes) -> None:
        start = first + int(at * (last - first))
        (tmp_path / name).write_bytes(whole[:start] + put + whole[start + cut :])
        look(tmp_path / name)

    spoil()


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["../x", "/etc/passwd", "C:x", "\0", "1e999", "-1", "nan", "con", "a\u0301", "x" * 5000, "=1+1", '"']
)


@FUZZ
@given(
    header=st.lists(CELLS | st.sampled_from(["path", "label", "clip", "start_s", "end_s", "speaker"]), max_size=8),
    rows=st.lists(st.lists(CELLS, max_size=8), max_size=6),
    separator=st.sampled_from(",;\t"),
)
@example(header=["path", "label", "start_s"], rows=[["\0", "x", "nan"]], separator=",")
@example(header=["path", "path"], rows=[["a", "b"]], separator=",")
@example(header=["path", "x" * 10_000, "con", "SHA256", "sha256"], rows=[["a", "", "", "", ""]], separator=",")
def test_any_text_may_be_a_manifest(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], rows: list[list[str]], separator: str
) -> None:
    """Any table, read and checked, gives clips or sentences, and makes no file."""
    folder = tmp_path_factory.mktemp("manifest")
    text = "\n".join(separator.join(line) for line in [["path", *header], *rows])
    (folder / "clips.csv").write_text(text, encoding="utf-8")
    found = check_corpus("mine", CorpusConfig(manifest=folder / "clips.csv"))
    assert all(isinstance(line, str) and line for line in (*found.problems, *found.remarks))
    assert [item.name for item in folder.iterdir()] == ["clips.csv"]
    shutil.rmtree(folder)


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_may_be_a_manifest(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Bytes called .csv, .tsv or .parquet are read or refused with a sentence."""
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("clips.csv", "clips.parquet"):
        (folder / name).write_bytes(content)
        check_corpus("mine", CorpusConfig(manifest=folder / name))
    shutil.rmtree(folder)
