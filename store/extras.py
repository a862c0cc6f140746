"""Packages that not every user has: each is imported when it is asked for, or the error says what installs it."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import ConfigError

EXTRAS = {"torch": "train", "dask": "arrays", "xarray": "arrays", "h5py": "share", "pyarrow": "share"}
"""The extra of this package that brings each."""


def package(module: str, purpose: str = "this") -> Any:
    """Return a module, needed for `purpose`. Raises `ConfigError` naming the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ConfigError(
            f"{name}: expected it for {purpose}, it is not installed ({error}). Install it with: pip install "
            f"'voxcache[{EXTRAS[name]}]'"
        ) from error
