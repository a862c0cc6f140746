"""Hears the layers of a transformers model as they come out, so that they never stand in memory together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .base import Emit


class Listener:
    """Hooks on the blocks of one model; silent outside `to`."""

    def __init__(self, blocks: Iterable[Any]) -> None:
        self._emit: Emit | None = None
        first, *others = blocks
        first.register_forward_pre_hook(self._before_first, with_kwargs=True)
        for layer, block in enumerate([first, *others][: len(others)], start=1):
            block.register_forward_hook(lambda _block, _args, out, layer=layer: self._hear(layer, out))

    @contextmanager
    def to(self, emit: Emit) -> Iterator[None]:
        """Emit layers 0 to one before the last while the block runs; the last is the model's own output."""
        self._emit = emit
        try:
            yield
        finally:
            self._emit = None

    def _before_first(self, _block: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._hear(0, args[0] if args else kwargs["hidden_states"])

    def _hear(self, layer: int, out: torch.Tensor | tuple[Any, ...]) -> None:
        if self._emit is not None:
            self._emit(layer, out[0] if isinstance(out, tuple) else out)
