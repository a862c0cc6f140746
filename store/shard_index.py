"""The index at the end of a shard: where each of its chunks lies."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from crc32c import crc32c

from ..errors import IntegrityError
from .zipped import Stretch

EMPTY = 2**64 - 1


def read_index(name: str, stretch: Stretch, file: BinaryIO, n_chunks: int, chunk_bytes: int) -> list[int | None]:
    """Return where each chunk begins in the file that holds the shard, None where it was never written.

    Args:
        chunk_bytes: bytes of a chunk, its checksum not counted; chunks of any other size are damage.

    Raises:
        IntegrityError: the index does not match its checksum, or points outside of the shard.
    """
    n_bytes = n_chunks * 16 + 4
    file.seek(stretch.offset + max(0, stretch.n_bytes - n_bytes))
    raw = file.read(n_bytes)
    if stretch.n_bytes < n_bytes or len(raw) < n_bytes or crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise IntegrityError(damaged(name, stretch, "its index does not match its checksum"))
    places: list[int | None] = []
    for offset, size in np.frombuffer(raw[:-4], "<u8").reshape(n_chunks, 2).tolist():
        if offset != EMPTY and (size != chunk_bytes + 4 or offset + size > stretch.n_bytes):
            raise IntegrityError(damaged(name, stretch, "its index points outside of it"))
        places.append(None if offset == EMPTY else stretch.offset + offset)
    return places


def damaged(name: str, stretch: Stretch, why: str) -> str:
    """Return the sentence about a damaged shard."""
    where = "/".join(stretch.path.parts[-4:])
    return (
        f"{name}, {where}: damaged ({why}). `voxcache store verify` names the units and clips, with `--repair` they are "
        f"computed again."
    )


def lost(name: str, what: str) -> str:
    """Return the sentence about values that the ledger counts and that are not there."""
    return (
        f"{name}: {what} is not there, though the ledger counts it. Restore it from a copy, or let `voxcache store verify "
        f"--repair` compute it again."
    )
