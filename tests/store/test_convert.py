"""The same numbers for torch, dask and xarray as for numpy."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.errors import IntegrityError, StoreError
from voxcache.store import EncoderGroup, Products, open_store
from voxcache.store.archive import write_archive

MADE = Made(n=11, unit_rows=4, failed=(2,))


@pytest.fixture(params=["folder", "zip"])
def encoder(tmp_path: Path, request: pytest.FixtureRequest) -> EncoderGroup:
    """One encoder of eleven clips in three units, its third clip failed, from a folder and from a .zip."""
    path = tmp_path / "s.zarr"
    fill(register(path, MADE, Products(std=True, frames=(2,))), MADE)
    if request.param == "zip":
        write_archive(path, tmp_path / "s.zip")
        path = tmp_path / "s.zip"
    return open_store(path).corpus("corpus").encoder("made")


def expected() -> np.ndarray:
    """Return what was written, [clip, layer, feature]."""
    return np.stack([MADE.pooled(row) for row in range(MADE.n)])


@pytest.mark.parametrize("rows", [[], [3], [10, 0, 0, 5, 2], range(1, 9), np.arange(11) % 3 == 0])
def test_some_rows_are_those_of_the_whole(encoder: EncoderGroup, rows: object) -> None:
    """Rows in any order, repeated or as a mask, are the rows of the whole layer, NaN where a clip failed."""
    wanted = np.asarray(rows) if len(rows) else np.zeros(0, dtype=int)  # type: ignore[arg-type]
    np.testing.assert_array_equal(encoder.pooled(1, rows=rows), expected()[wanted, 1])  # type: ignore[arg-type]
    np.testing.assert_array_equal(encoder.pooled_std(1, rows=rows), expected()[wanted, 1] * 2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(encoder.pooled_all(rows=rows), expected()[wanted])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "message"), [([11], "from 0 to 10, got 11"), ([-1], "got -1"), ([0.5], "whole numbers")]
)
def test_rows_that_no_clip_has_are_refused(encoder: EncoderGroup, rows: list[float], message: str) -> None:
    """A row beyond the corpus, a negative one and a fraction are refused with what was expected."""
    with pytest.raises(StoreError, match=message):
        encoder.pooled(0, rows=rows)  # type: ignore[arg-type]


def test_torch_shares_the_memory(encoder: EncoderGroup) -> None:
    """Tensors hold what numpy holds, pooled vectors and frames."""
    torch = pytest.importorskip("torch")
    found = encoder.to_torch(1, rows=[4, 1])
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected()[[4, 1], 1])
    for row, frames in zip([0, 5], encoder.frames(2).to_torch([0, 5]), strict=True):
        np.testing.assert_array_equal(frames.numpy(), MADE.frames(row))


def test_dask_chunks_are_those_of_the_store(encoder: EncoderGroup) -> None:
    """A dask array has one chunk a unit and layer, computes to the stored values, and survives being sent to a worker."""
    pytest.importorskip("dask.array")
    lazy = encoder.to_dask()
    assert lazy.chunks == ((4, 4, 3), (1, 1, 1), (4,))
    np.testing.assert_array_equal(lazy.compute(scheduler="threads"), expected())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy[1:6, 2, ::2])).compute(), expected()[1:6, 2, ::2])
    np.testing.assert_array_equal(encoder.to_dask("pooled_std")[4].compute(), expected()[4] * 2)


def test_xarray_selects_by_clip_and_layer(encoder: EncoderGroup) -> None:
    """A Dataset selects by clip id and layer and carries the label columns; a DataTree holds one Dataset an encoder."""
    pytest.importorskip("xarray")
    found = encoder.to_xarray()
    np.testing.assert_array_equal(found.pooled.sel(clip="clip-004.wav", layer=2).values, expected()[4, 2])
    assert found.label.sel(clip="clip-004.wav").item() == "class 1"
    assert list(found.status.values[:4]) == [1, 1, 2, 1]
    tree = encoder.corpus.to_xarray()
    np.testing.assert_array_equal(tree["made/pooled"].values, expected())
    assert "arousal" in tree.coords


def test_frames_survive_being_sent_to_a_worker(encoder: EncoderGroup) -> None:
    """A reader of frames that has read can be pickled, and reads the same on the other side."""
    frames = encoder.frames(2)
    frames.read([0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(frames)).read([5])[0], MADE.frames(5))


@pytest.mark.parametrize("array", ["pooled", "frames/layer_02"])
def test_a_shard_that_is_gone_is_not_read_as_nothing(tmp_path: Path, array: str) -> None:
    """Values that the ledger counts and that are not there raise; zarr alone would return NaN for them."""
    path = tmp_path / "s.zarr"
    fill(register(path, MADE, Products(frames=(2,))), MADE)
    for file in (path / "corpus/made" / array / "c/1").rglob("*"):
        if file.is_file():
            file.unlink()
    encoder = open_store(path).corpus("corpus").encoder("made")
    with pytest.raises(IntegrityError, match=r"is not there, though the ledger counts it\. Restore"):
        encoder.pooled(0) if array == "pooled" else encoder.frames(2).read([4])


@pytest.mark.parametrize(
    ("hidden", "call"), [("torch", "to_torch"), ("dask", "to_dask"), ("xarray", "to_xarray"), ("dask", "to_xarray")]
)
def test_an_absent_package_names_its_install_command(tmp_path: Path, hidden: str, call: str) -> None:
    """Without torch, dask or xarray the store reads as before, and asking for one says what to install."""
    fill(register(tmp_path / "s.zarr", MADE), MADE)
    code = f"""
import sys; sys.modules[{hidden!r}] = None
import voxcache
encoder = voxcache.open_store({str(tmp_path / "s.zarr")!r}).corpus("corpus").encoder("made")
assert encoder.pooled(0).shape == (11, 4)
encoder.{call}()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"ConfigError: {hidden}: expected it" in done.stderr
    assert "pip install 'voxcache[" in done.stderr
