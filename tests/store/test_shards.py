"""Direct reading of shards gives what zarr gives, and does not pass damage on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import zarr
from made_store import Made, register

from voxcache.errors import IntegrityError
from voxcache.store import Products, open_store
from voxcache.store.shards import open_shards


class Long(Made):
    """Clips of more frames than one chunk holds."""

    @property
    def lengths(self) -> np.ndarray:
        return np.full(self.n, 600)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of three units, the last one short, with frames; unit 1 is not there yet."""
    made = Made()
    writer = register(tmp_path / "s.zarr", made, Products(frames=(2,)))
    for unit, rows in writer.todo().items():
        if unit != 1:
            writer.commit(unit, rows, made.unit(rows, writer.products))
    return tmp_path / "s.zarr"


def test_layers_and_frames_equal_those_of_zarr(path: Path) -> None:
    """Every layer and any range of frames is what zarr reads, shards that were never written included."""
    group = zarr.open_group(str(path), mode="r")["corpus/made"]
    pooled, frames = open_shards(group["pooled"]), open_shards(group["frames/layer_02"])
    assert pooled is not None
    assert frames is not None
    for layer in range(3):
        np.testing.assert_array_equal(pooled.layers([layer])[:, 0], group["pooled"][:, layer])
    np.testing.assert_array_equal(pooled.layers([2, 0]), group["pooled"][:][:, [2, 0]])
    starts, stops = [0, 2, 200, 300], [3, 255, 256, 300]
    for start, stop, values in zip(starts, stops, frames.many(starts, stops), strict=True):
        np.testing.assert_array_equal(values, group["frames/layer_02"][start:stop])


@pytest.mark.parametrize("where", [30, -30], ids=["values", "index"])
@pytest.mark.parametrize(("array", "shard"), [("pooled", "2/0/0"), ("frames/layer_02", "2/0")])
def test_a_flipped_bit_is_refused(path: Path, array: str, shard: str, where: int) -> None:
    """Values or index: damage raises, with the file and what to do."""
    file = path / "corpus/made" / array / "c" / shard
    data = bytearray(file.read_bytes())
    data[where] ^= 1
    file.write_bytes(data)
    encoder = open_store(path).corpus("corpus").encoder("made")
    with pytest.raises(IntegrityError, match=r"damaged \(.*checksum\)\. `voxcache store verify`"):
        encoder.pooled(0) if array == "pooled" else encoder.frames(2).read([8])


def test_other_codecs_are_left_to_zarr(tmp_path: Path) -> None:
    """An array that is compressed or not sharded is not read directly."""
    group = zarr.create_group(str(tmp_path / "x.zarr"))
    plain = group.create_array("plain", shape=(4, 2), chunks=(2, 2), dtype="f4")
    packed = group.create_array("packed", shape=(4, 2), chunks=(2, 2), shards=(4, 2), dtype="f4")
    assert open_shards(plain) is None
    assert open_shards(packed) is None


def test_a_forked_process_reads_too(tmp_path: Path) -> None:
    """A reader that compared checksums in two threads works in a child that has only one of them."""
    made = Long()
    writer = register(tmp_path / "s.zarr", made, Products(frames=(2,)))
    for unit, rows in writer.todo().items():
        writer.commit(unit, rows, made.unit(rows, writer.products))
    rows = np.arange(made.n)
    expected = open_store(tmp_path / "s.zarr").corpus("corpus").encoder("made").frames(2).read(rows)

    child = os.fork()
    if child == 0:
        signal.alarm(20)
        found = open_store(tmp_path / "s.zarr").corpus("corpus").encoder("made").frames(2).read(rows)
        os._exit(0 if all(map(np.array_equal, found, expected)) else 1)
    assert os.waitpid(child, 0)[1] == 0
