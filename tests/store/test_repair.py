"""Clearing damage and filling again ends with a sound store that equals the undamaged one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register, register_corpus

from voxcache.store import Products, create_store, open_store
from voxcache.store.repair import clear
from voxcache.store.verify import Damage, verify

PRODUCTS = Products(std=True, frames=(2,))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_every_damaged_chunk_can_be_computed_again(tmp_path: Path, damage: str) -> None:
    """After clear and one more run, any chunk that was damaged is sound again and all values are as they were."""
    made, sound = Made(), tmp_path / "sound.zarr"
    fill(register(sound, made, PRODUCTS), made)
    chunks = [file.relative_to(sound) for file in sorted(sound.rglob("c/**/*")) if file.is_file()]
    for chunk in chunks:
        path = tmp_path / "damaged.zarr"
        shutil.copytree(sound, path)
        data = bytearray((path / chunk).read_bytes())
        data[len(data) // 2] ^= 4
        (path / chunk).unlink() if damage == "delete" else (path / chunk).write_bytes(data)
        assert clear(create_store(path), verify(open_store(path))) == [], chunk
        fill(register(path, made, PRODUCTS), made)
        assert verify(open_store(path)) == [], chunk
        _same(path, made)
        shutil.rmtree(path)


def _same(path: Path, made: Made) -> None:
    encoder = open_store(path).corpus("corpus").encoder("made")
    np.testing.assert_array_equal(encoder.pooled_all(), np.stack([made.pooled(row) for row in range(made.n)]))
    np.testing.assert_array_equal(encoder.frames(2).read([7])[0], made.frames(7))


def test_only_the_damaged_unit_is_computed_again(tmp_path: Path) -> None:
    """One flipped bit costs one unit, not the encoder."""
    made, path = Made(), tmp_path / "s.zarr"
    fill(register(path, made), made)
    shard = path / "corpus/made/pooled/c/1/0/0"
    shard.write_bytes(shard.read_bytes()[:-3])
    clear(create_store(path), verify(open_store(path)))
    assert fill(register(path, made), made) == made.unit_rows


class _Unreadable(Made):
    """Made clips whose failed ones have no frames, as files that cannot be read."""

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each clip."""
        return np.where(np.isin(np.arange(self.n), self.failed), 0, super().lengths)


class _Longer(Made):
    """Made clips of which the second has changed and is longer now."""

    @property
    def hashes(self) -> list[str]:
        """Content hash of each clip."""
        return [sha if row != 1 else "f" * 64 for row, sha in enumerate(super().hashes)]

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each clip."""
        return super().lengths + (np.arange(self.n) == 1)


@pytest.mark.parametrize(
    ("history", "damaged", "unit"),
    [((_Unreadable(failed=(6,)),), 1, 1), ((Made(), _Longer()), 3, 0)],
    ids=["a clip without frames", "a clip placed again"],
)
def test_frames_of_other_units_are_left_alone(
    tmp_path: Path, history: tuple[Made, ...], damaged: int, unit: int
) -> None:
    """A damaged unit takes no other unit's frames with it, though a clip of its own lies at 0 or far behind the others."""
    path, made = tmp_path / "s.zarr", history[-1]
    for then in history:
        fill(register(path, then, PRODUCTS), then)
    shards = path / "corpus/made/frames/layer_02/c"
    before = {shard.name: (shard / "0").read_bytes() for shard in shards.iterdir()}
    own = {str(damaged), str(unit)}
    (shards / str(damaged) / "0").write_bytes(b"damaged")
    found = verify(open_store(path))
    assert [(item.array, item.unit) for item in found] == [("layer_02", unit)]
    assert clear(create_store(path), found) == []
    assert {shard.parent.name for shard in shards.glob("*/0")} == before.keys() - own
    assert fill(register(path, made, PRODUCTS), made) == made.unit_rows
    assert verify(open_store(path)) == []
    assert all((shards / name / "0").read_bytes() == before[name] for name in before.keys() - own)


def test_ids_of_which_there_is_no_copy_are_named(tmp_path: Path) -> None:
    """Damaged ids of a corpus without an encoder cannot be cleared, which is said; nothing ends in a traceback."""
    register_corpus(tmp_path / "s.zarr", Made())
    left = clear(create_store(tmp_path / "s.zarr"), [Damage("corpus", None, "clip", None, "damaged")])
    assert len(left) == 1
    assert "cannot be cleared (no encoder keeps a copy of the ids)" in left[0]
