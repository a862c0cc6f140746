"""Verification finds any damage to any object of a store, and nothing in a sound one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_store import Made, fill, register

from voxcache.errors import StoreError
from voxcache.store import Products, open_store
from voxcache.store.verify import verify


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with every product."""
    path = tmp_path_factory.mktemp("sound") / "s.zarr"
    made = Made()
    fill(register(path, made, Products(std=True, frames=(2,))), made)
    return path


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "a flipped bit": _flip,
    "a zeroed file": lambda data: bytes(len(data)),
    "a truncated file": lambda data: data[:-5],
    "an empty file": lambda data: b"",
    "a deleted file": lambda data: None,
}


def _found(path: Path) -> list[str]:
    try:
        return [str(damage) for damage in verify(open_store(path))]
    except StoreError as error:
        return [str(error)]


def test_a_sound_store_has_no_damage(sound: Path) -> None:
    """Verification of an undamaged store returns nothing."""
    assert verify(open_store(sound)) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_object_is_found(sound: Path, tmp_path: Path, damage: str) -> None:
    """Whichever file of the store is damaged, verification reports something."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sound, path)
    unnoticed = []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole = file.read_bytes()
        broken = DAMAGES[damage](whole)
        file.unlink() if broken is None else file.write_bytes(broken)
        if not _found(path):
            unnoticed.append(str(file.relative_to(path)))
        file.write_bytes(whole)
    assert unnoticed == []
    assert _found(path) == []


@pytest.mark.parametrize("array", ["pooled", "pooled_std", "status", "sha256", "frames/layer_02"])
def test_swapped_shards_are_found_by_unit_and_clips(sound: Path, tmp_path: Path, array: str) -> None:
    """Two intact shards that changed places are named with their units and clips."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sound, path)
    first, second = (sorted(file for file in (path / "corpus/made" / array / "c").rglob("*") if file.is_file()))[:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    found = _found(path)
    assert any("unit 0 (4 clips, clip-000.wav to clip-003.wav)" in line for line in found)
    assert any("unit 1 (4 clips, clip-004.wav to clip-007.wav)" in line for line in found)


@pytest.mark.parametrize("group", ["corpus", "corpus/made"])
def test_an_edited_attribute_is_found(sound: Path, tmp_path: Path, group: str) -> None:
    """A changed licence or origin of weights does not pass."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sound, path)
    document = json.loads((path / group / "zarr.json").read_text())
    document["attributes"]["voxcache"]["licence" if group == "corpus" else "weights_origin"] = "hub:somewhere/else"
    (path / group / "zarr.json").write_text(json.dumps(document))
    assert any("edited since they were written" in line for line in _found(path))
