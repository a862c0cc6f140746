"""Whether what this environment writes can be read back here: asked once before anything is embedded.

A new release of zarr may change what the direct readers rely on. Then it is said before a night is spent, not after.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..errors import StoreError
from .commit import UnitData
from .placing import register_encoder
from .read import open_store
from .register import create_store, register_clips
from .schema import OK, Products

N_CLIPS, N_LAYERS, DIM, N_FRAMES = 2, 2, 3, 5


def require_readback() -> None:
    """Write a store of two made clips into a temporary folder and read it. Takes about a tenth of a second.

    Raises:
        StoreError: the values that are read are not those that were written, or reading fails.
    """
    pooled = np.arange(N_CLIPS * N_LAYERS * DIM, dtype=np.float32).reshape(N_CLIPS, N_LAYERS, DIM)
    frames = np.arange(N_CLIPS * N_FRAMES * DIM, dtype=np.float16).reshape(N_CLIPS, N_FRAMES, DIM)
    with tempfile.TemporaryDirectory(prefix="voxcache-", ignore_cleanup_errors=True) as folder:
        try:
            path = Path(folder, "tried.zarr")
            _write(path, pooled, frames)
            encoder = open_store(path).corpus("tried").encoder("made")
            read = [encoder.pooled(layer) for layer in range(N_LAYERS)]
            read_frames = encoder.frames(1).read(range(N_CLIPS))
        except Exception as error:
            raise StoreError(_text(f"{type(error).__name__}: {error}")) from error
    if not np.array_equal(np.stack(read, 1), pooled) or not np.array_equal(np.stack(read_frames), frames):
        raise StoreError(_text("other values are read than were written"))


def _write(path: Path, pooled: np.ndarray, frames: np.ndarray) -> None:
    corpus, _ = register_clips(
        create_store(path), "tried", clip=["a", "b"], sha256=["0" * 64, "1" * 64], n_samples=[16_000] * N_CLIPS
    )
    writer = register_encoder(
        corpus,
        "made",
        key={"weights": "none"},
        n_layers=N_LAYERS,
        dim=DIM,
        n_frames=np.full(N_CLIPS, N_FRAMES),
        products=Products(frames=(1,)),
        about={"card": {"name": "made"}, "weights_origin": "none"},
    )
    rows = np.arange(N_CLIPS)
    status, reason = np.full(N_CLIPS, OK, dtype=np.uint8), np.full(N_CLIPS, "", dtype=object)
    writer.commit(0, rows, UnitData(status, reason, pooled, None, {1: list(frames)}))


def _text(why: str) -> str:
    return (
        f"zarr {version('zarr')}: expected to read back what was just written, got {why}. Nothing was embedded. This release "
        f"of zarr does not fit this release of voxcache: update voxcache, or install the zarr of its constraints.txt."
    )
