"""Writing a store: register clips (`register`), register an encoder (`placing`), then commit units (`commit`).

One process registers at a time, a unit has one writer at a time; `locks` sees to both.
"""

from __future__ import annotations

from .commit import EncoderWriter, UnitData
from .placing import check_key, register_encoder
from .register import ColumnData, Registered, create_store, register_clips
from .removing import drop

__all__ = [
    "ColumnData",
    "EncoderWriter",
    "Registered",
    "UnitData",
    "check_key",
    "create_store",
    "drop",
    "register_clips",
    "register_encoder",
]
