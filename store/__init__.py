"""The store: a Zarr v3 hierarchy of corpora and encoders that anyone can read. Needs numpy and zarr only."""

from .read import Column, Corpus, EncoderGroup, Frames, Ledger, Store, open_store
from .schema import Products
from .write import ColumnData, EncoderWriter, Registered, UnitData, create_store, drop, register_clips, register_encoder

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
