"""Reading a store: a root of corpora, each with clips, label columns and encoders. Needs numpy and zarr, nothing else.

store = open_store("store.zarr")
corpus = store.corpus("donate-a-cry")
x = corpus.encoder("wavlm-base").pooled(layer=-1)     # [clip, feature] float32
y = corpus.columns["label"].values                    # [clip]
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import zarr

from ..errors import SchemaError
from . import guard, schema
from .archive import archive_root, is_archive
from .backend import DurableStore
from .corpus import Column, Corpus
from .encoder import EncoderGroup
from .frames import Frames
from .ledger import Ledger
from .location import Url, place
from .node import Node, named
from .schema import ATTRS
from .swap import recover

__all__ = [
    "Column",
    "Corpus",
    "EncoderGroup",
    "Frames",
    "Ledger",
    "Store",
    "check_schema",
    "open_root",
    "open_store",
]


def open_store(path: str | Path) -> Store:
    """Open a store for reading.

    Raises:
        SchemaError: nothing there, not a voxcache store, or one of a newer schema.
    """
    return Store(open_root(path, writable=False), str(path))


def open_root(path: str | Path, *, writable: bool) -> zarr.Group:
    """Return the root group of an existing store, at a path or a URL, after checking its schema."""
    with named(f"in store {place(path)}"):
        return _open_root(path, writable=writable)


def _open_root(path: str | Path, *, writable: bool) -> zarr.Group:
    where = place(path)
    if isinstance(where, Url):
        from .remote_open import remote_root

        root = remote_root(where, writable=writable)
        check_schema(root, where.shown)
        return root
    path = where
    guard.local_path(path)
    recover(path)
    if not path.exists():
        raise SchemaError(f"store {path}: not found. Check the path, or make one with `voxcache extract`.")
    if is_archive(path):
        if writable:
            raise SchemaError(f"store {path}: a .zip can be read, not written to. Unzip it into a folder first.")
        root = archive_root(path)
        check_schema(root, path)
        return root
    if path.suffix.lower() == ".h5" and path.is_file():
        if writable:
            raise SchemaError(f"store {path}: an .h5 can be read, not written to. Pack it into a folder first.")
        from .hdf5 import h5_root

        root = h5_root(path)
        check_schema(root, path)
        return root
    try:
        root = zarr.open_group(
            DurableStore(path, read_only=not writable), mode="r+" if writable else "r", zarr_format=3
        )
    except (FileNotFoundError, ValueError, KeyError, NotADirectoryError) as error:
        raise SchemaError(
            f"store {path}: expected a Zarr v3 group, got {'a folder' if path.is_dir() else 'a file'} without one. "
            f"Point at a store made by voxcache, or choose a path that does not exist yet."
        ) from error
    check_schema(root, path)
    return root


def check_schema(root: zarr.Group, path: str | Path) -> None:
    """Raise `SchemaError` unless `root` is a store this version reads."""
    about = root.attrs.get(ATTRS)
    if not isinstance(about, dict) or "schema" not in about:
        raise SchemaError(f"store {path}: a Zarr group, but not a voxcache store. Choose another path.")
    version = about["schema"]
    if not isinstance(version, int) or not 1 <= version <= schema.SCHEMA:
        raise SchemaError(
            f"store {path}: expected schema 1 to {schema.SCHEMA}, got {version!r}. It was written by "
            f"{about.get('created_by', 'another version')}; install a voxcache at least as new."
        )


class Store(Node):
    """A store: corpora by name. `path` is for people, without passwords; `source` is what `open_store` takes again."""

    def __init__(self, group: zarr.Group, path: str) -> None:
        where = place(path)
        super().__init__(group, str(where))
        self.source = where.text if isinstance(where, Url) else path

    @cached_property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora it holds."""
        return self._groups("corpus")

    @property
    def uuid(self) -> str:
        """Identity of the store, given when it was made."""
        return str(self.attrs["uuid"])

    def corpus(self, name: str) -> Corpus:
        """Return one corpus. Raises `StoreError` with the names there are."""
        return Corpus(self._child("corpus", name, self.corpora), f"{self.path}/{name}", name)
