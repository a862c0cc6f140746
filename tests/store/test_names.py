"""Names from outside never become a path outside: each is refused with a sentence, or is data and stays data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_store import ABOUT, KEY, Made, fill, register

from voxcache.errors import ConfigError
from voxcache.store import ColumnData, Products, create_store, open_store, register_clips, register_encoder
from voxcache.store.merge import merge
from voxcache.store.schema import node_name
from voxcache.store.verify import verify

REFUSED = (
    *("..", ".", "", "../up", "a/../../up", "/etc/up", "C:up", "C:\\up", "a\\b", ".hidden", "a..b", "-a", "+a", "a."),
    *("a\0b", "a\nb", "a\x1b[2J", "é", "e\u0301", "ａ", "a\u202eb", "x" * 101, "x" * 10_000),
    *("zarr.json", "ZARR.JSON", "c", "con", "CON", "aux.txt", "com1", "LPT9.wav", "nul", "manifest"),
)
ODD_IDS = (
    "../../up.wav",
    "/etc/passwd",
    "a/b c.wav",
    "C:\\a.wav",
    "é.wav",
    "zarr.json",
    "con",
    "clip",
    ".lock",
    " x",
    "🎵",
    "a" * 1000,
)


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: ascii(name)[:20])
def test_a_name_that_some_system_confuses_is_refused(name: str) -> None:
    """Of corpora, encoders and columns alike, in one sentence of a length that one reads."""
    for kind in ("corpus", "encoder", "column"):
        with pytest.raises(ConfigError, match=f"^{kind} name .*Rename it.$") as error:
            node_name(kind, name)
        assert len(str(error.value)) < 400


def test_hub_ids_become_one_name() -> None:
    """A slash and a space become signs that every system has."""
    assert node_name("encoder", "facebook/wav2vec2 base") == "facebook--wav2vec2_base"


def test_ids_are_data(tmp_path: Path) -> None:
    """Ids that look like paths, devices or our own arrays are stored, packed and merged, and no file is made of them."""
    store = create_store(tmp_path / "s.zarr")
    n = len(ODD_IDS)
    corpus, _ = register_clips(store, "corpus", clip=ODD_IDS, sha256=[f"{i:064x}" for i in range(n)], n_samples=[1] * n)
    made = Made(n=n, unit_rows=corpus.unit_rows)
    writer = register_encoder(
        corpus, "made", key=KEY, n_layers=3, dim=4, n_frames=made.lengths, products=Products(), about=ABOUT
    )
    fill(writer, made)
    assert verify(open_store(tmp_path / "s.zarr")) == []
    assert list(open_store(tmp_path / "s.zarr").corpus("corpus").clip) == list(ODD_IDS)
    merge([tmp_path / "s.zarr"], tmp_path / "t.zarr")
    assert {item.name for item in tmp_path.iterdir() if not item.name.startswith(".")} == {"s.zarr", "t.zarr"}
    names = {part for file in tmp_path.rglob("*") for part in file.relative_to(tmp_path).parts}
    assert not names & {"up.wav", "passwd", "b c.wav", "con", ".lock", "🎵"}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "a"], "expected each clip id once, got 'a' more than once"),
        (["a", ""], "clip 2: expected an id of 1 to 1000 printable characters, got ''"),
        (["a\nb"], "clip 1: expected an id"),
        (["x" * 1001], "clip 1: expected an id"),
        (["\ud800"], "clip 1: expected an id"),
    ],
)
def test_ids_that_are_none_are_refused(tmp_path: Path, ids: list[str], message: str) -> None:
    """Double, empty, endless ids and such with control characters change nothing in the store."""
    fill(register(tmp_path / "s.zarr", Made()), Made())
    before = {file: file.read_bytes() for file in (tmp_path / "s.zarr").rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=message):
        register_clips(
            create_store(tmp_path / "s.zarr"), "corpus", clip=ids, sha256=[""] * len(ids), n_samples=[0] * len(ids)
        )
    assert {file: file.read_bytes() for file in before} == before


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    """A corpus, an encoder and a column beside one of the same letters would be one folder on many systems."""
    made = Made()
    fill(register(tmp_path / "s.zarr", made), made)
    store = create_store(tmp_path / "s.zarr")
    known = {"clip": made.ids, "sha256": made.hashes, "n_samples": [16_000 + i for i in range(made.n)]}
    with pytest.raises(ConfigError, match="corpus name 'Corpus': 'corpus' is there already"):
        register_clips(store, "Corpus", **known)
    facts = {"key": KEY, "n_layers": 3, "dim": 4, "n_frames": made.lengths, "products": Products(), "about": ABOUT}
    for name, other in (("MADE", "made"), ("Label", "label"), ("Clip", "clip")):
        with pytest.raises(ConfigError, match=f"encoder name '{name}': '{other}' is there already"):
            register_encoder(store.corpus("corpus"), name, **facts)
    values = np.array([""] * made.n, dtype=object)
    for names, message in (
        (("LABEL",), "column name 'LABEL': 'label' is there already"),
        (("Made",), "column name 'Made': 'made' is there already"),
        (("mood", "Mood"), "column name 'Mood': 'mood' is there already"),
        (("sha256", "sha256_"), "two columns would both be called that"),
    ):
        with pytest.raises(ConfigError, match=message):
            register_clips(store, "corpus", **known, columns=[ColumnData(name, "meta", values) for name in names])
    assert verify(open_store(tmp_path / "s.zarr")) == []


@pytest.mark.parametrize("name", ["status", "pooled", "layer", "frames", "done"])
def test_a_label_may_be_called_as_an_array_of_an_encoder(tmp_path: Path, name: str) -> None:
    """Names of an encoder's arrays are free in its corpus: such a column is read back, and nothing is damaged."""
    said = np.array(["a", "b", ""], dtype=object)
    store = create_store(tmp_path / "s.zarr")
    column = ColumnData(name, "class", said)
    register_clips(store, "corpus", clip=["x", "y", "z"], sha256=["0" * 64] * 3, n_samples=[1] * 3, columns=[column])
    assert list(open_store(tmp_path / "s.zarr").corpus("corpus").columns[name].values) == list(said)
    assert verify(open_store(tmp_path / "s.zarr")) == []
