"""A store opens without us: plain zarr, xarray and dask in a process that cannot import voxcache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.store import Products

MADE = Made(n=11, unit_rows=4, failed=(2,))
BLOCK = """
import sys, warnings
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "voxcache":
            raise ImportError("voxcache is not here")
sys.meta_path.insert(0, Blocked())
warnings.simplefilter("error")
import numpy as np
equal = np.testing.assert_array_equal
expected = np.load(folder + "/expected.npy")
store = folder + "/s.zarr"
"""

READERS = {
    "zarr": """
import zarr
group = zarr.open_group(store, mode="r")["corpus/made"]
equal(group["pooled"][:], expected)
equal(group["clip"][:].tolist(), [f"clip-{i:03d}.wav" for i in range(11)])
equal(group["status"][:], [1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1])
assert group["reason"][2] == "made to fail"
start, length = group["frames/start"][:], group["frames/length"][:]
equal(group["frames/layer_02"][start[5] : start[5] + length[5]], np.load(folder + "/frames.npy"))
assert group["pooled"].metadata.dimension_names == ("clip", "layer", "feature")
""",
    "open_zarr": """
import xarray
ds = xarray.open_zarr(store, group="corpus/made", consolidated=False)
equal(ds.pooled.sel(clip="clip-004.wav", layer=2).values, expected[4, 2])
equal(ds.pooled.sel(clip=["clip-007.wav", "clip-001.wav"], layer=0).values, expected[[7, 1], 0])
equal(ds.pooled.values, expected)
equal(ds.status.values, [1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1])
assert ds.pooled.dtype == np.float32 and ds.status.dtype == np.uint8
assert set(ds.indexes) == {"clip", "layer"}
""",
    "open_datatree": """
import xarray
tree = xarray.open_datatree(store, engine="zarr", consolidated=False)
made = tree["corpus/made"]
equal(made.pooled.sel(clip="clip-004.wav", layer=2).values, expected[4, 2])
assert tree["corpus"].label.sel(clip="clip-004.wav").item() == "class 1"
equal(tree["corpus"].arousal.values, np.arange(11) / 7)
""",
    "dask": """
import dask.array
pooled = dask.array.from_zarr(store, component="corpus/made/pooled")
assert pooled.chunks[1] in {(1, 1, 1), (3,)} and pooled.chunks[0] == (4, 4, 3), pooled.chunks
equal(pooled.compute(), expected)
""",
}


@pytest.mark.parametrize("reader", READERS)
def test_it_opens_without_us(tmp_path: Path, reader: str) -> None:
    """Values, ids, ledger, frames and labels are exactly those that were written, without a warning, and without voxcache."""
    pytest.importorskip({"zarr": "zarr", "dask": "dask.array"}.get(reader, "xarray"))
    fill(register(tmp_path / "s.zarr", MADE, Products(frames=(2,))), MADE)
    np.save(tmp_path / "expected.npy", np.stack([MADE.pooled(row) for row in range(MADE.n)]))
    np.save(tmp_path / "frames.npy", MADE.frames(5))  # type: ignore[arg-type]
    code = f"folder = {str(tmp_path)!r}\n{BLOCK}\n{READERS[reader]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
