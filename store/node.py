"""A group of a store: its attributes, its members, its arrays, with errors that say where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, TypeVar, cast

import numpy as np
import zarr
from zarr.core.sync import sync

from ..errors import IntegrityError, StoreError, nearest
from . import guard
from .schema import ATTRS

T = TypeVar("T")


def member_groups(group: zarr.Group) -> list[tuple[str, zarr.Group]]:
    """Return the groups in a group by name: listed, or by the inventories in its attributes where a server cannot list."""
    if group.store_path.store.supports_listing:
        return list(group.groups())
    about = cast(dict[str, Any], group.attrs.get(ATTRS, {}))
    names = [name for inventory in ("corpora", "encoders") for name in about.get(inventory, ())]
    found = zip(names, at_once(group, [partial(group.get, name) for name in names]), strict=True)
    return [(name, node) for name, node in found if isinstance(node, zarr.Group)]


def at_once(group: zarr.Group, reads: Sequence[Callable[[], T]]) -> list[T]:
    """Return what each of several reads of a store returns; behind a network they wait for their answers side by side."""
    if not getattr(group.store_path.store, "far", False):
        return [read() for read in reads]
    with ThreadPoolExecutor(max(1, len(reads))) as waiting:
        return list(waiting.map(lambda read: read(), reads))


@contextmanager
def named(where: str) -> Iterator[None]:
    """Add to an error of a document the place of its store: where documents are read, only their keys are known."""
    try:
        yield
    except IntegrityError as error:
        error.add_note(where)
        raise


class Node:
    """A group of a store and what it says about itself."""

    _look = staticmethod(guard.shape)

    def __init__(self, group: zarr.Group, path: str) -> None:
        self.group = group
        self.path = path

    @cached_property
    def attrs(self) -> dict[str, Any]:
        """What the store says about this group."""
        return dict(cast(dict[str, Any], self.group.attrs.get(ATTRS, {})))

    @property
    def n_bytes(self) -> int | None:
        """Bytes of all objects below it, None where a server cannot list them."""
        store, path = self.group.store_path.store, self.group.path
        return int(sync(store.getsize_prefix(path and f"{path}/"))) if store.supports_listing else None

    def _child(self, kind: str, name: str, known: Sequence[str]) -> zarr.Group:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise StoreError(f"{kind} {name!r}: not in {self.path}{nearest(name, known)} It holds: {listed}.")
        return cast(zarr.Group, self.group[name])

    def _groups(self, kind: str) -> tuple[str, ...]:
        try:
            with named(f"in {self.path}"):
                members = [(name, node.attrs.get(ATTRS)) for name, node in member_groups(self.group)]
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{self.path}: a zarr.json below it cannot be read ({error}). Restore it from a copy, or remove that "
                f"folder and extract again."
            ) from error
        return tuple(sorted(name for name, about in members if isinstance(about, dict) and about.get("kind") == kind))

    @property
    def _lengths(self) -> dict[str, int]:
        """Lengths of axes that its arrays have to have, as far as they are known."""
        return {}

    def _array(self, name: str) -> Any:
        try:
            with named(f"in {self.path}"):
                array = self.group[name]
        except (KeyError, ValueError, TypeError) as error:
            missing = isinstance(error, KeyError)
            raise IntegrityError(
                f"{self.path}: array {name!r} {'is not there' if missing else f'cannot be read ({error})'}. Run `voxcache "
                f"store verify`, or extract again."
            ) from error
        self._look(array, name, self.path, self._lengths)
        return array

    def _read(self, name: str, selection: Any = slice(None)) -> np.ndarray:
        """Return part of an array. Raises `IntegrityError` naming it where a checksum does not match or bytes are gone."""
        array = self._array(name)
        try:
            return np.asarray(array[selection])
        except (ValueError, RuntimeError, TypeError, KeyError, OSError, MemoryError) as error:
            raise IntegrityError(
                f"{self.path}/{name}: damaged ({error}). `voxcache store verify` names the units and clips, with "
                f"`--repair` they are computed again."
            ) from error
