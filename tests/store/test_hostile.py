"""Stores that were damaged or made to harm are refused with a sentence; nothing else is raised, hangs or fills the memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_store import Made, fill, register
from typer.testing import CliRunner

from voxcache.cli_store import app
from voxcache.errors import SchemaError, VoxcacheError
from voxcache.store import Products, open_store
from voxcache.store.document import MAX_DOCUMENT_BYTES, printable

MADE = Made(n=6, layers=2, dim=3)
LIMITED = Path(__file__).parents[1] / "support" / "limited.py"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with every product."""
    path = tmp_path_factory.mktemp("sound") / "s.zarr"
    fill(register(path, MADE, Products(std=True, frames=(1,))), MADE)
    return path


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(sound, tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def used(path: Path) -> str:
    """Look at a store with three commands; return what they refused it with, "" where all worked."""
    said = []
    for command in ("info", "status", "verify"):
        result = CliRunner().invoke(app, [command, str(path)])
        if isinstance(result.exception, VoxcacheError):
            assert str(result.exception)
            said.append(str(result.exception))
        else:
            assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
            said.append(result.output if result.exit_code else "")
    return "\n".join(filter(None, said))


def edit(path: Path, *place: str | int, value: Any) -> None:
    """Set one member of a document, found by keys from the top."""
    document = json.loads(path.read_text())
    node = document
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    path.write_text(json.dumps(document))


ABOUT = ("attributes", "voxcache")
ENCODER, CORPUS = "corpus/made", "corpus"
EDITS: dict[str, tuple[str, tuple[str | int, ...], Any, str]] = {
    "a negative shape": ("corpus/clip", ("shape",), [-1], "shape: expected one to three whole numbers"),
    "a huge shape": ("corpus/clip", ("shape",), [2**60], "shape: expected one to three whole numbers"),
    "a shape of booleans": ("corpus/clip", ("shape",), [True], "shape: expected one to three whole numbers"),
    "a fractional shape": ("corpus/clip", ("shape",), [6.5], "shape: expected one to three whole numbers"),
    "too many axes": ("corpus/clip", ("shape",), [1] * 40, "shape: expected one to three whole numbers"),
    "a volume no disk has": (f"{ENCODER}/pooled", ("shape",), [2**40, 2**40, 2**40], "an array that a disk could hold"),
    "shapes that do not fit": (
        f"{ENCODER}/pooled",
        ("shape",),
        [6, 7, 3],
        r"pooled: expected 2 layers, got \[6, 7, 3\]",
    ),
    "another number of axes": (f"{ENCODER}/status", ("shape",), [6, 1], "chunks: expected 2 axes"),
    "chunks of nothing": (f"{ENCODER}/status", ("chunk_grid", "configuration", "chunk_shape"), [0], "chunk_grid"),
    "chunks of terabytes": (
        "corpus/arousal",
        ("chunk_grid", "configuration", "chunk_shape"),
        [2**38],
        "chunks: expected up to 2147483648 bytes each",
    ),
    "shards of a million million chunks": (
        f"{ENCODER}/frames/layer_01",
        ("chunk_grid", "configuration", "chunk_shape"),
        [256 * 2**21, 3],
        "chunks: expected up to",
    ),
    "a grid of another kind": (
        f"{ENCODER}/status",
        ("chunk_grid", "name"),
        "rectangular",
        "chunk_grid: expected regular",
    ),
    "a codec that unpickles": (
        "corpus/clip",
        ("codecs",),
        [{"name": "numcodecs.pickle", "configuration": {}}],
        "codecs: expected some of bytes, crc32c",
    ),
    "a codec that swells": (
        "corpus/clip",
        ("codecs", 1),
        {"name": "gzip", "configuration": {"level": 5}},
        "codecs: expected some of bytes, crc32c",
    ),
    "shards in shards": (
        f"{ENCODER}/pooled",
        ("codecs", 0, "configuration", "codecs"),
        [{"name": "sharding_indexed", "configuration": {"chunk_shape": [4, 1, 3], "codecs": [], "index_codecs": []}}],
        "codecs: expected",
    ),
    "objects": (f"{ENCODER}/pooled", ("data_type",), "object", "data_type: expected one of string"),
    "structured types": (
        f"{ENCODER}/pooled",
        ("data_type",),
        {"name": "structured"},
        "data_type: expected one of string",
    ),
    "text for numbers": (f"{ENCODER}/pooled", ("data_type",), "string", "pooled"),
    "a role that is a list": (
        "corpus/label",
        ("attributes", "role"),
        ["class"],
        "role: expected text",
    ),
    "attributes that are text": ("corpus", ("attributes",), "x", "expected an object with attributes"),
    "ours that is a list": ("corpus", ABOUT, [], "voxcache: expected an object"),
    "a negative count": (CORPUS, (*ABOUT, "n_clips"), -1, "n_clips: expected 0 to"),
    "clips that are not there": (CORPUS, (*ABOUT, "n_clips"), 7, "expected 7 rows, got 6"),
    "billions that are not there": (CORPUS, (*ABOUT, "n_clips"), 2**33, "clip: expected 8589934592 rows, got"),
    "units of nothing": (CORPUS, (*ABOUT, "unit_rows"), 0, "unit_rows: expected 1 to"),
    "a column outside": (CORPUS, (*ABOUT, "columns"), ["../../secret"], "columns: expected names"),
    "columns that are a number": (CORPUS, (*ABOUT, "columns"), 3, "columns: expected names"),
    "another name": (CORPUS, (*ABOUT, "name"), "other", "name: expected 'corpus'"),
    "text that steers a terminal": (CORPUS, (*ABOUT, "licence"), "\x1b[2J", "licence: expected printable text"),
    "no layers": (ENCODER, (*ABOUT, "n_layers"), 0, "n_layers: expected 1 to"),
    "layers out of order": (ENCODER, (*ABOUT, "layers"), [1, 0], "layers: expected numbers of layers in order"),
    "layers beyond": (ENCODER, (*ABOUT, "layers"), [0, 2], "layers: expected numbers of layers in order"),
    "a product outside": (ENCODER, (*ABOUT, "products"), ["pooled", "layer_../x"], "products: expected pooled"),
    "a key of lists": (ENCODER, (*ABOUT, "key"), {"weights": [1]}, "key: expected an object of scalars"),
    "a card that is text": (ENCODER, (*ABOUT, "card"), "x", "card: expected an object"),
    "a node of no type": (ENCODER, ("node_type",), "link", "node_type: expected group or array"),
    "documents within": ("", ("consolidated_metadata",), {"metadata": {}}, "consolidated_metadata: expected none"),
    "another schema": ("", (*ABOUT, "schema"), 99, "expected schema 1 to 1, got 99"),
    "corpora that are a number": ("", (*ABOUT, "corpora"), 1, "corpora: expected names"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_no_store_says_is_refused(store: Path, name: str) -> None:
    """Each edit of a document is named with its place, by every command that meets it."""
    group, place, value, message = EDITS[name]
    edit(store / group / "zarr.json", *place, value=value)
    said = used(store)
    assert re.search(message, said), said


DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "deep JSON": (b'{"attributes":' * 5000 + b"1" + b"}" * 5000, "expected JSON|levels deep"),
    "JSON a little too deep": (b'{"attributes":' * 40 + b"{}" + b"}" * 40, "at most 32 levels deep"),
    "a number of a million digits": (b'{"zarr_format": ' + b"9" * 1_000_000 + b"}", "expected JSON"),
    "a list": (b"[]", "expected an object with attributes"),
    "no JSON": (b"\xff\xfe\x00", "expected JSON"),
    "a huge document": (b" " * (MAX_DOCUMENT_BYTES + 1), f"expected up to {MAX_DOCUMENT_BYTES} bytes"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("place", ["corpus", "corpus/made/pooled"])
def test_what_is_no_document_is_refused(store: Path, name: str, place: str) -> None:
    """Deep, huge and broken JSON is refused where it is read."""
    content, message = DOCUMENTS[name]
    (store / place / "zarr.json").write_bytes(content)
    said = used(store)
    assert re.search(message, said), said


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _out(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _circle(path: Path) -> None:
    path.symlink_to(path)


def _nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


@pytest.mark.parametrize(
    "place", ["zarr.json", "corpus/made/zarr.json", "corpus/clip/c/0", "corpus/made/pooled/c/0/0/0"]
)
@pytest.mark.parametrize("make", [_fifo, _device, _out, _circle, _nothing])
def test_only_files_of_the_store_are_read(store: Path, place: str, make: Callable[[Path], None]) -> None:
    """A pipe, a device, and links that leave the store, go round or lead nowhere are refused before they are opened."""
    (store / place).unlink()
    make(store / place)
    assert any(
        word in used(store) for word in ("a regular file", "a file within the store", "a readable file", "a file, got")
    )


def test_a_folder_that_is_a_link_out_is_refused(store: Path, sound: Path) -> None:
    """An encoder that is really another store's is not read through a link; a link within the store is."""
    shutil.rmtree(store / "corpus/made/pooled")
    (store / "corpus/made/pooled").symlink_to(sound / "corpus/made/pooled")
    assert "a link out of it" in used(store)
    (store / "corpus/made/pooled").unlink()
    shutil.copytree(sound / "corpus/made/pooled", store / "corpus/made/elsewhere")
    (store / "corpus/made/pooled").symlink_to("elsewhere")
    assert open_store(store).corpus("corpus").encoder("made").pooled().shape == (6, 3)


def test_a_circle_of_folders_does_not_hang(store: Path) -> None:
    """A link to its own parent inside a corpus neither hangs nor counts as an encoder."""
    (store / "corpus/loop").symlink_to(store / "corpus")
    assert "expected 'loop', got corpus" in used(store)


def test_older_formats_and_their_codecs_are_not_read(store: Path) -> None:
    """A group of Zarr format 2, whose filters could unpickle, is not seen as part of the store."""
    for file in store.rglob("zarr.json"):
        file.rename(file.with_name(".zgroup"))
        file.with_name(".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(SchemaError, match="expected a Zarr v3 group"):
        open_store(store)


@pytest.mark.parametrize("name", ["billions that are not there", "chunks of terabytes", "frames", "deep JSON", "done"])
def test_the_worst_cost_little_memory(store: Path, name: str) -> None:
    """In a process that may take 3 GB of addresses, all commands end within a minute with a sentence, never out of memory."""
    if name == "frames":
        for array, shape in (("layer_01", [2**39, 3]), ("start", [6]), ("length", [6])):
            edit(store / "corpus/made/frames" / array / "zarr.json", "shape", value=shape)
    elif name == "done":
        edit(store / "corpus/made/done/pooled/zarr.json", "shape", value=[2**39])
    elif name in EDITS:
        group, place, value, _ = EDITS[name]
        edit(store / group / "zarr.json", *place, value=value)
    else:
        (store / "corpus/zarr.json").write_bytes(DOCUMENTS[name][0])
    done = subprocess.run([sys.executable, LIMITED, store], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MemoryError" not in done.stdout
    ends = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("info ", "status ", "verify "))]
    assert [command for command, _ in ends] == ["info", "status", "verify"]
    assert ends[-1][1] in {"refused:", "done:"}


def test_limits_are_those_of_the_page() -> None:
    """docs/store-format.md states the limits that the code has."""
    from voxcache.store import document, guard

    page = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text(encoding="utf-8")
    for said, value in (
        ("16 MiB", document.MAX_DOCUMENT_BYTES / 2**20),
        ("32 levels", document.MAX_DEPTH),
        ("4096 layers", document.MAX_LAYERS),
        ("2 GiB", document.MAX_CHUNK_BYTES / 2**30),
        ("1 GiB", guard.FREE_BYTES / 2**30),
    ):
        assert said in page
        assert float(said.split()[0]) == value
    assert f"{document.MAX_CLIPS:,} clips" in page
    assert f"{document.MAX_DIM:,} features" in page


def test_what_is_shown_does_not_steer_a_terminal() -> None:
    """Control characters become question marks, and long text is cut."""
    assert printable("a\x1b[2Jb\n") == "a?[2Jb?"
    assert printable("x" * 200) == "x" * 80 + "…"


def test_remarks_of_a_ledger_do_not_steer_a_terminal(tmp_path: Path) -> None:
    """A reason with an escape sequence is printed without it."""
    made = Made(n=4)
    writer = register(tmp_path / "s.zarr", made)
    for unit, rows in writer.todo().items():
        data = made.unit(rows, Products())
        reason = np.where(data.status == 2, "made to \x1b[2J fail", "").astype(object)
        writer.commit(unit, rows, replace(data, reason=reason))
    output = CliRunner().invoke(app, ["status", str(tmp_path / "s.zarr")]).output
    assert "1 failed: made to ?[2J fail (clip-002.wav)" in output


@pytest.mark.parametrize(
    "name", ["clip", "label", "made/layer", "made/pooled", "made/status", "made/frames", "made/done"]
)
def test_an_array_that_is_gone_is_named(store: Path, name: str) -> None:
    """Whatever is missing, some command says what, and none fails in another way."""
    shutil.rmtree(store / "corpus" / name)
    assert name.rpartition("/")[2] in used(store)
