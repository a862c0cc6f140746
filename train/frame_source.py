"""Frames that stay in the store until a batch wants them, for corpora whose frames are more than memory should hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

Read = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class FrameSource(Sequence[np.ndarray]):
    """Frames of clips, [frame, feature] each, read anew whenever they are asked for.

    Attributes:
        read: returns the frames of clips int64 [clip], in their order.
        length: int64 [clip].
        dim: features of a frame.
    """

    read: Read
    length: np.ndarray
    dim: int

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.length)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """Return the frames of one clip, or of several."""
        if isinstance(index, slice):
            return self.read(np.arange(len(self))[index])
        return self.read(np.array([range(len(self))[index]]))[0]
