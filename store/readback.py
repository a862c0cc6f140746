"""Whether what zarr writes here can be read by our own readers: asked once before anything is embedded.

A new release of zarr may change what the direct readers rely on. Then it is said before a night is spent, not after.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import zarr

from ..errors import StoreError
from .layout import encoder_specs
from .schema import Products
from .shards import Shards, open_shards

N_CLIPS, N_LAYERS, DIM = 2, 2, 3


def require_readback() -> None:
    """Write made embeddings of two clips into a temporary folder, as a store lays them out, and read them.

    Raises:
        StoreError: the values that are read are not those that were written, or reading fails.
        OSError: the temporary folder cannot be written to.
    """
    values = np.arange(N_CLIPS * N_LAYERS * DIM, dtype=np.float32).reshape(N_CLIPS, N_LAYERS, DIM)
    with tempfile.TemporaryDirectory(prefix="voxcache-", ignore_cleanup_errors=True) as folder:
        try:
            read = _written_and_read(Path(folder, "tried.zarr"), values)
        except OSError:
            raise
        except Exception as error:
            raise StoreError(_text(f"{type(error).__name__}: {error}")) from error
    if not np.array_equal(read, values):
        raise StoreError(_text("other values"))


def _written_and_read(path: Path, values: np.ndarray) -> np.ndarray:
    specs = encoder_specs(n_clips=N_CLIPS, unit_rows=N_CLIPS, n_layers=N_LAYERS, dim=DIM, products=Products())
    (pooled,) = [spec for spec in specs if spec.name == "pooled"]
    pooled.ensure(zarr.create_group(path), {})[:] = values
    array = zarr.open_group(path, mode="r")["pooled"]
    shards = open_shards(array)
    assert isinstance(array, zarr.Array)
    return shards.layers(range(N_LAYERS)) if isinstance(shards, Shards) else np.asarray(array[:])


def _text(why: str) -> str:
    return (
        f"zarr {version('zarr')}: expected to read back what was just written, got {why}. Nothing was embedded. This release "
        f"of zarr does not fit this release of voxcache: update voxcache, or install the zarr of its constraints.txt."
    )
