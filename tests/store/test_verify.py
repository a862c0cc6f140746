"""Verification finds any damage to any object of a store, and nothing in a sound one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import voxcache
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
    "a zeroed page": lambda data: (
        data[: len(data) // 3] + bytes(len(data[len(data) // 3 : 2 * len(data) // 3])) + data[2 * len(data) // 3 :]
    ),
    "an empty file": lambda data: b"",
    "a deleted file": lambda data: None,
}


MORE_DAMAGES = {"a zeroed file", "a zeroed page", "an empty file"}


def _found(path: Path) -> list[str]:
    try:
        return [str(damage) for damage in verify(open_store(path))]
    except StoreError as error:
        return [str(error)]


def test_a_sound_store_has_no_damage(sound: Path) -> None:
    """Verification of an undamaged store returns nothing."""
    assert verify(open_store(sound)) == []


def _said(name: str) -> tuple[str, ...]:
    """Return what the line about a damaged object has to hold: its corpus, encoder, array, unit and clips."""
    corpus, *rest = name.split("/")
    if rest[-1] == "zarr.json":
        return (corpus, *rest[-2:-1])
    if rest[0] != "made":
        return (f"{corpus}, {rest[0]}",)
    array = "/".join(rest[1:]).partition("/c/")[0]
    return ("corpus/made", array.rpartition("/")[2], *_unit_of(array, rest))


def _unit_of(array: str, rest: list[str]) -> tuple[str, ...]:
    if "c" not in rest or array in {"clip", "layer", "frames/start", "frames/length"}:
        return ()
    unit = int(rest[rest.index("c") + 1])
    first, last = 4 * unit, min(4 * unit + 3, Made().n - 1)
    return (f"unit {unit} ({last - first + 1} clips, clip-{first:03d}.wav to clip-{last:03d}.wav)",)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=pytest.mark.slow) if name in MORE_DAMAGES else name for name in DAMAGES]
)
def test_damage_to_any_object_is_found_and_named_by_place(sound: Path, tmp_path: Path, damage: str) -> None:
    """Whichever file is damaged, one line of what is found names its corpus, encoder, array, unit and clips; mended, nothing is."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sound, path)
    unnamed = {}
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = str(file.relative_to(path))
        whole = file.read_bytes()
        broken = DAMAGES[damage](whole)
        file.unlink() if broken is None else file.write_bytes(broken)
        if broken != whole:
            found = _found(path)
            said = () if name == "zarr.json" else _said(name)  # the store's own: anything
            if not any(all(part in line for part in said) for line in found):
                unnamed[name] = found
        file.write_bytes(whole)
    assert unnamed == {}
    assert _found(path) == []


@pytest.mark.parametrize("fact", ["role", "description"])
def test_an_edited_fact_about_a_column_is_found(sound: Path, tmp_path: Path, fact: str) -> None:
    """A group column that was made a plain one, or described otherwise, is named, though its values are whole."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sound, path)
    document = json.loads((path / "corpus/label/zarr.json").read_text())
    document["attributes"][fact] = "meta"
    (path / "corpus/label/zarr.json").write_text(json.dumps(document))
    assert _found(path) == ["corpus, label: its role or description was edited"]


def test_the_command_ends_with_1_where_something_is_damaged(sound: Path, tmp_path: Path) -> None:
    """`store verify` prints one line a damage and how many there are, and its exit code says so to scripts."""
    path = tmp_path / "s.zarr"
    shutil.copytree(sound, path)
    assert "every object read, nothing damaged" in voxcache("store", "verify", path, cwd=tmp_path).stdout
    shard = path / "corpus/made/pooled/c/1/0/0"
    shard.write_bytes(b"")
    said = voxcache("store", "verify", path, cwd=tmp_path, code=1).stdout
    assert "corpus/made, pooled, unit 1 (4 clips, clip-004.wav to clip-007.wav): " in said
    assert f"{path}: 1 damaged" in said


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
