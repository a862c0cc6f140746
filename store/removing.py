"""Removing a corpus or an encoder, under the writer lock."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import zarr
from zarr.storage import LocalStore

from ..errors import SchemaError, VoxcacheError
from .files import move
from .layout import described, update_attributes


def drop(parent: zarr.Group, store_path: str | Path, name: str) -> None:
    """Remove a corpus from a store, or an encoder from a corpus, in one step that a kill cannot leave half done."""
    if name not in parent:
        raise SchemaError(f"{name}: not in {parent.path or store_path}. Nothing was removed.")
    inventory = "encoders" if described(parent).get("kind") == "corpus" else "corpora"
    update_attributes(parent, {inventory: [kept for kept in described(parent).get(inventory, ()) if kept != name]})
    store = parent.store_path.store
    if not isinstance(store, LocalStore):
        from .remote_open import drop_remote

        drop_remote(parent, name)
        return
    path = Path(store.root) / parent.path / name
    trash = path.with_name(f".{name}.{uuid.uuid4().hex}.dropped")
    try:
        move(path, trash)
    except OSError as error:
        raise VoxcacheError(f"{path.name}: cannot be removed: {error.strerror}. Check the permissions.") from error
    shutil.rmtree(trash, ignore_errors=True)
