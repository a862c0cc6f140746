"""How every clip ended, by encoder and product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import schema
from .schema import OK


@dataclass(frozen=True)
class Ledger:
    """How every clip ended: `status` uint8 [clip] (0 missing, 1 ok, 2 failed, 3 stale) and `reason` str [clip]."""

    status: np.ndarray
    reason: np.ndarray

    @property
    def ok(self) -> np.ndarray:
        """Rows that hold an embedding of the registered audio, bool [clip]."""
        return np.asarray(self.status == OK)

    def counts(self, among: np.ndarray | None = None) -> dict[str, int]:
        """Return the number of clips by status name; of those where `among`, bool [clip], is true."""
        status = self.status if among is None else self.status[among]
        return {name: int((status == code).sum()) for code, name in enumerate(schema.STATUS_NAMES)}
