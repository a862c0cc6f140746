"""Folders: the cache of this machine, and where the results of a store are."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def results_beside(store: str | Path) -> Path:
    """Return the folder of the results of a store that names no other: beside it, for a URL in the working directory."""
    from .store.location import Url, place

    where = place(store)
    name = where.name.removesuffix(".zip").removesuffix(".zarr") + ".results"
    return Path(name) if isinstance(where, Url) else where.with_name(name)


def cache_dir() -> Path:
    """Return the folder for what can be made again: `VOXCACHE_CACHE`, else the platform's cache folder."""
    if override := os.environ.get("VOXCACHE_CACHE"):
        return Path(override)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "voxcache"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "voxcache" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxcache"
