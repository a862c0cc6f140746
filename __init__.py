"""voxcache: embed audio once with every frozen foundation model, then experiment all day from the store."""

import os
import sys
from typing import TYPE_CHECKING, Any

from .waiting import wait_briefly

if sys.platform == "darwin":
    # torch reads it when it is loaded: operations that MPS lacks run on the CPU, and torch warns of it once
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__version__ = "0.1.0"

wait_briefly()  # before anything imports torch

if TYPE_CHECKING:
    from .predict import load_head
    from .store import Store, open_store

__all__ = ["Store", "__version__", "load_head", "open_store"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `import voxcache` costs nothing."""
    if name == "load_head":
        from .predict import load_head

        return load_head
    if name in {"Store", "open_store"}:
        from . import store

        return getattr(store, name)
    raise AttributeError(f"module 'voxcache' has no attribute {name!r}")
