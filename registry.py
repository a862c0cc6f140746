"""One way to look things up by name: encoders, heads, fusions and corpora all use it.

Third parties add entries through an entry point; see docs/encoders.md and docs/stage2.md for examples to copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from .errors import ConfigError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to entries of one kind. Refuses duplicates; an unknown name says which are known.

    Args:
        kind: the word used in messages, such as "encoder".
        group: entry point group whose objects are called with this registry the first time it is read.
    """

    def __init__(self, kind: str, *, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T] = {}
        self._plugins_loaded = False

    def register(self, name: str, entry: T) -> T:
        """Add `entry` and return it. Raises `ConfigError` if the name is taken."""
        if name in self._entries:
            raise ConfigError(f"{self.kind} {name!r}: registered twice. Choose another name.")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Return the entry called `name`. Raises `UnknownName` with the nearest known name."""
        self._load_plugins()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(self._entries)

    def items(self) -> Iterator[tuple[str, T]]:
        """Return (name, entry) pairs in order of registration."""
        self._load_plugins()
        return iter(self._entries.items())

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group=self.group):
            try:
                point.load()(self)
            except Exception as error:
                raise ConfigError(
                    f"plug-in {point.name!r} ({point.value}, group {self.group}): failed to load: {error}. "
                    f"Fix or uninstall the package that provides it."
                ) from error
