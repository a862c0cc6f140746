"""Clearing damage and filling again ends with a sound store that equals the undamaged one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.store import Products, create_store, open_store
from voxcache.store.repair import clear
from voxcache.store.verify import verify

PRODUCTS = Products(std=True, frames=(2,))


@pytest.mark.filterwarnings("ignore::UserWarning")
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
