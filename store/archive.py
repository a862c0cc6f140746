"""A store in one .zip: entries stored as they are, so that any zarr reads them in place and plain unzip restores the folder."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import zarr

from ..errors import SchemaError
from . import guard
from .files import move
from .zipped import ZippedStore

EPOCH = (1980, 1, 1, 0, 0, 0)
"""One date for every entry: the same store gives the same bytes, and nobody learns when it was made."""


def is_archive(path: str | Path) -> bool:
    """Return whether a path means one .zip rather than a folder."""
    return Path(path).suffix.lower() == ".zip"


def is_one_file(path: str | Path) -> bool:
    """Return whether a path means a store in one file, which is read and not added to."""
    return Path(path).suffix.lower() in {".zip", ".h5"}


def write_archive(folder: Path, path: Path) -> None:
    """Put a folder into one .zip, uncompressed, and wait until the disk has it; `path` appears whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for item in sorted(item for item in folder.rglob("*") if item.is_file()):
                    entry = zipfile.ZipInfo(item.relative_to(folder).as_posix(), EPOCH)
                    entry.external_attr = 0o644 << 16
                    with item.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                        while block := source.read(1 << 20):
                            target.write(block)
            file.flush()
            os.fsync(file.fileno())
        move(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def archive_root(path: str | Path) -> zarr.Group:
    """Return the root group of a store in a .zip, for reading.

    Raises:
        SchemaError: not a zip, entries that are compressed (they could swell to any size) or lie outside, no Zarr group.
        IntegrityError: entries twice, over one another or beyond the end, or documents that no store has.
    """
    path = Path(path)
    if not path.is_file():
        raise SchemaError(f"store {path}: expected a .zip file, found none. Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        problem = next((text for text in map(entry_problem, entries) if text), None)
        if problem is None:
            guard.entries(
                [(entry.filename, entry.header_offset, entry.file_size) for entry in entries],
                path.stat().st_size,
                f"store {path}",
            )
            return zarr.open_group(ZippedStore(path, entries), mode="r", zarr_format=3)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, NotImplementedError, EOFError, struct.error) as error:
        raise SchemaError(
            f"store {path}: expected a .zip with a Zarr group at its top, got something else ({error}). Ask for it again, "
            f"made with `voxcache store pack`."
        ) from error
    raise SchemaError(f"store {path}: {problem} Unzip it only if you trust it; a packed store has no such entry.")


def entry_problem(entry: zipfile.ZipInfo) -> str | None:
    """Return what is wrong with an entry of a .zip, None for one as `write_archive` makes it."""
    name = entry.filename
    if stat.S_ISLNK(entry.external_attr >> 16):
        return f"entry {name[:80]!r} is a link."
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        return f"entry {name[:80]!r} lies outside of it."
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return f"entry {name[:80]!r}: expected it stored, got it compressed or encrypted."
    return None
