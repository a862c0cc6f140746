"""The manifest of a pack: what every object of it weighed and hashed to, so that anyone can check what arrived.

It is a group of two arrays. `manifest/sha256sums` is a text, byte for byte, in one object without codecs: in a folder,
`sha256sum -c manifest/sha256sums/c/0` checks it without any of our code. `manifest/bytes` has the sizes in the same order.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from .files import move

MANIFEST = "manifest"
"""Group at the root of a packed store."""
SUMS = f"{MANIFEST}/sha256sums/c/0"
"""Object that is a text for `sha256sum -c`."""


@dataclass(frozen=True)
class Manifest:
    """Names, SHA-256 and bytes of all objects but the manifest's own."""

    names: tuple[str, ...]
    sha256: tuple[str, ...]
    n_bytes: tuple[int, ...]


def write_manifest(folder: Path, lines: Sequence[str]) -> Manifest:
    """List every object of a store in one more group of it; `lines` say what it holds."""
    found = sorted(item for item in folder.rglob("*") if item.is_file())
    listed = Manifest(
        tuple(item.relative_to(folder).as_posix() for item in found),
        tuple(file_sha256(item) for item in found),
        tuple(item.stat().st_size for item in found),
    )
    text = "".join(f"{sha}  {name}\n" for name, sha in zip(listed.names, listed.sha256, strict=True)).encode()
    group = zarr.create_group(LocalStore(folder), path=MANIFEST, attributes={"packed": list(lines)})
    _add(group, "sha256sums", "byte", np.frombuffer(text, dtype=np.uint8))
    _add(group, "bytes", "object", np.array(listed.n_bytes, dtype=np.int64))
    return listed


def _add(group: zarr.Group, name: str, axis: str, values: np.ndarray) -> None:
    chunks = (max(1, len(values)),)
    array = group.create_array(
        name, shape=values.shape, chunks=chunks, dtype=values.dtype, compressors=None, dimension_names=[axis]
    )
    array[:] = values


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(root: zarr.Group) -> Manifest | None:
    """Return the manifest of a packed store, None where the store is no pack. Raises `ValueError` where it is broken."""
    if MANIFEST not in root:
        return None
    text, sizes = (np.asarray(cast(Any, root[f"{MANIFEST}/{name}"])[:]) for name in ("sha256sums", "bytes"))
    lines = text.tobytes().decode().splitlines()
    if len(lines) != len(sizes) or any(line[64:66] != "  " for line in lines):
        raise ValueError("expected one line of SHA-256 and name for each size")
    return Manifest(tuple(line[66:] for line in lines), tuple(line[:64] for line in lines), tuple(map(int, sizes)))


def manifest_problems(root: zarr.Group) -> Iterator[tuple[str, str]]:
    """Yield (object, what is wrong) for every object of a pack that is not as its manifest says."""
    try:
        listed = read_manifest(root)
    except Exception as error:  # whatever a broken array raises
        yield (
            f"{MANIFEST}",
            f"cannot be read: {str(error).splitlines()[0][:120] if str(error) else type(error).__name__}",
        )
        return
    if listed is None:
        return
    prototype = default_buffer_prototype()
    for name, sha, n_bytes in zip(listed.names, listed.sha256, listed.n_bytes, strict=True):
        try:
            found = sync(root.store_path.store.get(name, prototype))
        except Exception as error:
            yield name, f"cannot be read: {type(error).__name__}"
            continue
        data = None if found is None else found.to_bytes()
        if data is None:
            yield name, "is not there, though the manifest lists it"
        elif len(data) != n_bytes:
            yield name, f"expected {n_bytes} bytes, got {len(data)}"
        elif hashlib.sha256(data).hexdigest() != sha:
            yield name, "not the bytes that were packed"


def forget_manifest(path: Path) -> None:
    """Remove the manifest of a packed folder that is about to be written to: it would call every addition damage."""
    folder = path / MANIFEST
    if folder.is_dir():
        trash = path / f".{MANIFEST}.{uuid.uuid4().hex}.dropped"
        move(folder, trash)
        shutil.rmtree(trash, ignore_errors=True)
