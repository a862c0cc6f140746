"""Looks at files, arrays and tables of contents before they are read, so that a store that was damaged or made to harm is refused
with a sentence and little memory.

Every document passes `checked` (see `document`), every file of a folder `own_file`, every array `shape` or `column`; large reads
pass `backed`.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from zarr.abc.buffer import Buffer
from zarr.core.sync import sync

from .document import MAX_DOCUMENT_BYTES, document, refuse

CLIP_BYTES = 8
"""Least bytes that an id takes: the length of the text, which is not empty, and a pointer in memory."""
FREE_BYTES = 2**30
"""What may be read without a look at whether the disk holds it: a unit in which every clip failed has no objects."""
SAMPLED = 64
MAX_REMEMBERED = 65_536
_INSIDE: set[tuple[str, str]] = set()
SLACK_ROWS = 2**16
"""Rows that an array may be longer than its corpus says: another process may just be registering clips."""
AXES: dict[str, tuple[str, ...]] = {
    "clip": ("clip",),
    "layer": ("layer",),
    "status": ("clip",),
    "reason": ("clip",),
    "sha256": ("clip",),
}
AXES |= {"pooled": ("clip", "layer", "feature"), "pooled_std": ("clip", "layer", "feature")}
AXES |= {"frames/start": ("clip",), "frames/length": ("clip",)}
KINDS = {"pooled": "f", "pooled_std": "f", "status": "u", "frames": "f", "frames/start": "i", "frames/length": "i"}
KINDS |= {"done": "i", "digest": "i", "layer": "i"}


def shape(array: Any, name: str, where: str, lengths: Mapping[str, int]) -> None:
    """Look at an array of an encoder before it is read.

    Args:
        name: path within its group, such as "pooled" or "frames/layer_08".
        lengths: clips, layers, features and units by axis, as the attributes say.

    Raises:
        IntegrityError: its axes or its type are not those of that array.
    """
    folder = name.partition("/")[0]
    axes = AXES.get(name) or {"frames": ("frame", "feature"), "done": ("unit",), "digest": ("unit",)}.get(
        folder, ("clip",)
    )
    _require(array, f"{where}/{name}", axes, KINDS.get(name) or KINDS.get(folder), lengths)


def column(array: Any, name: str, where: str, lengths: Mapping[str, int]) -> None:
    """Look at an array of a corpus before it is read, as `shape` does: a label may be called as an encoder's array is."""
    _require(array, f"{where}/{name}", ("clip",), "i" if name == "n_samples" else None, lengths)


def _require(array: Any, where: str, axes: Sequence[str], kind: str | None, lengths: Mapping[str, int]) -> None:
    found = tuple(getattr(array, "shape", ()))
    if len(found) != len(axes):
        raise refuse(where, f"an array [{', '.join(axes)}]", list(found))
    for axis, n in zip(axes, found, strict=True):
        exact = axis in {"layer", "feature"}
        if axis in lengths and (n != lengths[axis] if exact else n > 2 * lengths[axis] + SLACK_ROWS):
            raise refuse(where, f"{lengths[axis]} {axis}s", list(found))
    if kind is not None and np.dtype(array.dtype).kind != kind:
        raise refuse(where, {"f": "floats", "u": "bytes", "i": "whole numbers"}[kind], str(array.dtype))


def all_rows(values: np.ndarray, n_rows: int, where: str) -> np.ndarray:
    """Return the values of a column. Raises `IntegrityError` where it is shorter than its corpus."""
    if len(values) != n_rows:
        raise refuse(where, f"{n_rows} rows", f"{len(values)}")
    return values


def frame_places(start: np.ndarray, length: np.ndarray, array: Any, where: str) -> None:
    """Raise `IntegrityError` unless every clip's frames lie within the array."""
    n_frames = int(array.shape[0])
    if len(start) != len(length):
        raise refuse(where, "a start for each length", f"{len(start)} and {len(length)}")
    inside = (start >= 0) & (length >= 0) & (length <= n_frames) & (start <= n_frames - length)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise refuse(
            where, f"places within {n_frames} frames", f"start {start[row]}, length {length[row]} in row {row}"
        )


def own_file(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Look at a file of a store's folder before it is opened; one that is not there is fine.

    Raises:
        IntegrityError: no regular file (a pipe would never end), or a link out of the store.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.islink(path):
            return
        raise refuse(str(path), "a file", "a link to nothing") from None
    except (OSError, ValueError) as error:
        raise refuse(str(path), "a readable file", str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise refuse(str(path), "a regular file", "a pipe, socket or device")
    if found.st_size > MAX_DOCUMENT_BYTES and os.path.basename(path) == "zarr.json":
        raise refuse(str(path), f"up to {MAX_DOCUMENT_BYTES} bytes", f"{found.st_size} bytes")
    linked = os.path.islink(path)
    if not (_inside(str(root), str(path)) if linked else _inside(str(root), os.path.dirname(path))):
        raise refuse(str(path), "a file within the store", "a link out of it (`cp -rL` makes a copy without links)")


def _inside(root: str, path: str) -> bool:
    """Return whether a path, all links followed, lies within a folder. Remembered: a store has few folders, many files."""
    if (root, path) in _INSIDE:
        return True
    real = os.path.realpath(root)
    try:
        found = os.path.commonpath([real, os.path.realpath(path)]) == real
    except ValueError:  # on another drive of Windows
        found = False
    if found and len(_INSIDE) < MAX_REMEMBERED:
        _INSIDE.add((root, path))
    return found


def entries(names: Sequence[tuple[str, int, int]], n_bytes: int, where: str) -> None:
    """Look at the table of contents of a .zip: (name, offset, bytes) of each entry in a file of `n_bytes`.

    Raises:
        IntegrityError: a name twice, or entries that overlap or reach beyond the file.
    """
    seen: set[str] = set()
    end = 0
    for name, offset, size in sorted(names, key=lambda entry: entry[1]):
        if name in seen:
            raise refuse(where, "each entry once", f"{name!r} twice")
        seen.add(name)
        if size < 0 or offset < end or offset + size > n_bytes:
            raise refuse(where, "entries one after another within the file", f"{name!r}: {size} bytes at {offset}")
        end = offset + size
    folded = {name.casefold() for name in seen}
    if len(folded) < len(seen):
        raise refuse(where, "entries that differ in more than case", "some that do not")


def local_path(path: Path) -> None:
    """Raise `IntegrityError` where what is to be opened as a store is a pipe, socket or device, or a circle of links."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise refuse(str(path), "a folder or file", error.strerror or str(error)) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise refuse(str(path), "a folder or file", "a pipe, socket or device")


def backed(array: Any, first: int, n_rows: int, where: str, *, row_bytes: int | None = None) -> None:
    """Look whether a large read has the objects it is to come from: what is absent would be filled, in memory, at no cost.

    A few of the objects, drawn at random, are asked for their size.

    Raises:
        IntegrityError: more than `FREE_BYTES` are claimed, and an object that should hold part of them does not.
    """
    width = row_bytes or int(np.dtype(array.dtype).itemsize * math.prod(array.shape[1:]))
    if n_rows * width <= FREE_BYTES:
        return
    rows = int((array.shards or array.chunks)[0])
    numbers = range(first // rows, -(-(first + n_rows) // rows))
    asked = {numbers[-1], *(random.randrange(numbers.start, numbers.stop) for _ in range(SAMPLED))}
    keys = [f"{array.store_path.path}/c/{'/'.join([str(n), *('0' for _ in array.shape[1:])])}" for n in sorted(asked)]
    least = min(rows, n_rows) * width // 2
    for key, size in zip(keys, sync(_sizes(array.store_path.store, keys)), strict=True):
        if size < least and key != keys[-1]:
            raise refuse(where, f"{n_rows} rows", f"{size} bytes in {key}")
        if size == 0:
            raise refuse(where, f"{n_rows} rows", f"nothing in {key}")


async def _sizes(store: Any, keys: Sequence[str]) -> list[int]:
    return list(await asyncio.gather(*(_size(store, key) for key in keys)))


async def _size(store: Any, key: str) -> int:
    try:
        return int(await store.getsize(key))
    except (FileNotFoundError, KeyError):
        return 0


B = TypeVar("B", bound=Buffer)


def checked(key: str, found: B | None, byte_range: object = None) -> B | None:
    """Return what a backend read of `key`; a document is looked at first, those of older Zarr formats are not there.

    Format 2 is not ours, and its codecs may run code (`numcodecs` has one that unpickles).
    """
    name = key.rpartition("/")[2]
    if name in {".zarray", ".zgroup", ".zattrs", ".zmetadata"}:
        return None
    if name == "zarr.json" and found is not None and byte_range is None:
        document(key, found.to_bytes())
    return found
