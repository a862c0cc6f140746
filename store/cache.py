"""Parts of remote objects kept on this machine, so that what was read once is not fetched again.

An entry's name follows from where the store lies, its uuid, the object, the object's version (the server's tag and the size) and
the range of bytes: an object that changes has another name, and what was kept of the old one is never found again. Entries
appear by renaming, carry a checksum, and are removed longest-unused first; any number of processes may share the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from crc32c import crc32c

from ..errors import ConfigError
from ..folders import cache_dir

LIMIT_GB = 10.0
KEPT_SHARE = 0.9
"""Share of the limit that is left after removing."""
CHECK_SHARE = 0.02
"""Share of the limit that one process writes before it looks at the folder's size again."""
FRESH_S = 60.0
"""An entry's time of use is not renewed more often than this."""


def open_cache() -> Cache | None:
    """Return the cache of this machine, or None where `VOXCACHE_CACHE_GB` is 0."""
    text = os.environ.get("VOXCACHE_CACHE_GB", "")
    try:
        limit = float(text) if text else LIMIT_GB
    except ValueError:
        raise ConfigError(f"VOXCACHE_CACHE_GB: expected a number of gigabytes, got {text!r}.") from None
    return Cache(cache_dir() / "remote", int(limit * 1e9)) if limit > 0 else None


class Cache:
    """A folder of entries by name, of at most about `limit_bytes`."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._unchecked = limit_bytes
        self._usable = True

    def get(self, *name: object) -> bytes | None:
        """Return an entry, None where there is none. One that is not whole is removed."""
        path = self._path(name)
        try:
            stored = path.read_bytes()
            if time.time() - path.stat().st_mtime > FRESH_S:
                os.utime(path)
        except OSError:
            return None
        data = stored[:-4]
        if len(stored) < 4 or _crc(data) != stored[-4:]:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return data

    def has(self, *name: object) -> bool:
        """Return whether there is an entry."""
        return self._path(name).exists()

    def put(self, data: bytes, *name: object) -> None:
        """Keep an entry. A full or read-only disk is no error: the next read fetches again."""
        if not self._usable or len(data) > self.limit_bytes * KEPT_SHARE:
            return
        path = self._path(name)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_bytes(data + _crc(data))
            partial.replace(path)
        except OSError:
            self._usable = False
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            return
        self._unchecked += len(data) + 4
        if self._unchecked > self.limit_bytes * CHECK_SHARE:
            self._unchecked = 0
            self.evict()

    def evict(self) -> None:
        """Remove what was not used for longest until the folder is well below its limit."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if total <= self.limit_bytes:
            return
        for _, size, path in entries:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size
            if total <= self.limit_bytes * KEPT_SHARE:
                return

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                found = path.stat()
                yield found.st_mtime, found.st_size, path

    def _path(self, name: tuple[object, ...]) -> Path:
        digest = hashlib.sha256("\0".join(map(str, name)).encode()).hexdigest()
        return self.folder / digest[:2] / digest[2:]


def _crc(data: bytes) -> bytes:
    return int(crc32c(data)).to_bytes(4, "little")
