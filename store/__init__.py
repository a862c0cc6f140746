"""The store: a Zarr v3 hierarchy of corpora and encoders that anyone can read. Needs numpy and zarr only."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .read import Column, Corpus, EncoderGroup, Frames, Ledger, Store, open_store
    from .schema import Products
    from .write import (
        ColumnData,
        EncoderWriter,
        Registered,
        UnitData,
        create_store,
        drop,
        register_clips,
        register_encoder,
    )

__all__ = [
    "Column",
    "ColumnData",
    "Corpus",
    "EncoderGroup",
    "EncoderWriter",
    "Frames",
    "Ledger",
    "Products",
    "Registered",
    "Store",
    "UnitData",
    "create_store",
    "drop",
    "open_store",
    "register_clips",
    "register_encoder",
]

_READING = frozenset({"Column", "Corpus", "EncoderGroup", "Frames", "Ledger", "Store", "open_store"})


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the command line answers before zarr is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "schema" if name == "Products" else "read" if name in _READING else "write"
    return getattr(import_module(f".{module}", __name__), name)
