"""A .zip or .h5 that was damaged or made to harm is refused with a sentence when it is opened."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_store import Made, fill, register

from voxcache.errors import IntegrityError, SchemaError
from voxcache.store import Products, open_store
from voxcache.store.pack import pack

MADE = Made(n=6, layers=2, dim=3)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with every product."""
    path = tmp_path_factory.mktemp("sound") / "s.zarr"
    fill(register(path, MADE, Products(std=True, frames=(1,))), MADE)
    return path


@pytest.fixture
def archive(sound: Path, tmp_path: Path) -> Path:
    """The store in a .zip."""
    pack(sound, tmp_path / "s.zip")
    return tmp_path / "s.zip"


def _again(path: Path, add: Callable[[zipfile.ZipFile], None]) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        add(archive)


def _twice(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        _again(path, lambda archive: archive.writestr("zarr.json", b"{}"))


def _link(path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    _again(path, lambda archive: archive.writestr(entry, "/etc/passwd"))


def _patched(path: Path, find: Callable[[bytes], int], value: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = find(bytes(data))
    data[at : at + len(value)] = value
    path.write_bytes(bytes(data))


def _sizes_lie(path: Path) -> None:
    """Make the table of contents claim that its first entry has almost 4 GiB."""
    _patched(path, lambda data: data.index(b"PK\1\2") + 20, struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0))


def _offset_lies(path: Path) -> None:
    _patched(path, lambda data: data.rindex(b"PK\1\2") + 42, struct.pack("<I", 1))


ZIPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "absolute": (lambda path: _again(path, lambda a: a.writestr("/etc/x", b"")), "lies outside"),
    "above": (lambda path: _again(path, lambda a: a.writestr("a/../../x", b"")), "lies outside"),
    "a drive": (lambda path: _again(path, lambda a: a.writestr("C:x", b"")), "lies outside"),
    "a bomb": (
        lambda path: _again(path, lambda a: a.writestr("x", bytes(10**7), zipfile.ZIP_DEFLATED)),
        "expected it stored",
    ),
    "twice": (_twice, "each entry once"),
    "other case": (lambda path: _again(path, lambda a: a.writestr("ZARR.json", b"{}")), "differ in more than case"),
    "a link": (_link, "is a link"),
    "sizes that lie": (_sizes_lie, "within the file|got something else"),
    "an offset that lies": (_offset_lies, "one after another"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-30]), "not a zip file"),
    "cut at the front": (lambda path: path.write_bytes(path.read_bytes()[5000:]), "expected"),
    "empty": (lambda path: path.write_bytes(b""), "not a zip file"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_lies_is_refused(archive: Path, name: str) -> None:
    """Entries outside, twice, compressed, linked, overlapping or beyond the end, and cut files, are named; none is read."""
    spoil, message = ZIPS[name]
    spoil(archive)
    with pytest.raises((SchemaError, IntegrityError), match=message):
        open_store(archive)


def test_an_h5_that_is_none_is_refused(sound: Path, tmp_path: Path) -> None:
    """Text called .h5, an HDF5 file of something else, links, filters and holes are refused with a sentence."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "s.h5"
    path.write_text("not an HDF5 file")
    with pytest.raises(SchemaError, match="no HDF5 file"):
        open_store(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(SchemaError, match=r"expected an \.h5 made with"):
        open_store(path)

    def spoilt(change: Callable[[Any], None]) -> str:
        path.unlink(missing_ok=True)
        pack(sound, path)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises((SchemaError, IntegrityError)) as error:
            open_store(path)
        return str(error.value)

    def hole(file: Any) -> None:
        document = file["corpus/arousal"].attrs["zarr.json"]
        del file["corpus/arousal"]
        huge = file["corpus"].create_dataset("arousal", shape=(2**33,), dtype="f8", chunks=(2**14,))
        huge.attrs["zarr.json"] = document.replace("[\n    6\n  ]", f"[\n    {2**33}\n  ]")

    def swell(file: Any) -> None:
        document = file["corpus/arousal"].attrs["zarr.json"]
        del file["corpus/arousal"]
        file["corpus"].create_dataset("arousal", shape=(6,), chunks=(6,), compression="gzip", dtype="f8").attrs[
            "zarr.json"
        ] = document

    assert "larger than what the file holds" in spoilt(hole)
    assert "compressed, virtual, external" in spoilt(swell)
    assert "a link" in spoilt(lambda file: file["corpus"].__setitem__("more", h5py.SoftLink("/corpus/made")))
    assert "a link" in spoilt(lambda file: file["corpus"].__setitem__("more", h5py.ExternalLink("/etc/x.h5", "/")))
    assert "shape: expected" in spoilt(
        lambda file: file["corpus/arousal"].attrs.__setitem__(
            "zarr.json", '{"node_type": "array", "data_type": "float64"}'
        )
    )
