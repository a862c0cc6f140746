"""A Mac's GPU that is not there: tensors on it lie in this machine's memory, and it lacks what the real one lacks.

What it fakes: `torch.backends.mps` and `torch.mps` answer; a tensor that is moved to "mps", or made there, says that it is there,
and so does what is computed from it. What it keeps of the real one: no float64, and no way to numpy but through `cpu()`. What it is
not: Apple's kernels. Parameters of modules keep saying "cpu".
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

NAME, MEMORY_BYTES = "Apple M9", 2**34


class OnMps(torch.Tensor):
    """A tensor that says it is on the GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Return "mps"."""
        return torch.device("mps")


class _Moving(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "numpy" and isinstance(args[0], OnMps):
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first.")
        wanted = [str(value) for value in (*args, kwargs.get("device")) if isinstance(value, str | torch.device)]
        moves, leaves = "mps" in wanted, name == "cpu" or (name == "to" and "cpu" in wanted)
        args, kwargs = tree_map(_here, (args, kwargs)) if moves else (args, kwargs)
        found = func(*args, **kwargs)
        if leaves:
            return tree_map(lambda x: x.as_subclass(torch.Tensor) if isinstance(x, torch.Tensor) else x, found)
        return tree_map(lambda x: _there(x) if moves or isinstance(x, OnMps) else x, found)


def _here(value: object) -> object:
    return torch.device("cpu") if isinstance(value, str | torch.device) and str(value) == "mps" else value


def _there(value: object) -> object:
    if not isinstance(value, torch.Tensor):
        return value
    if value.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    return value if isinstance(value, OnMps) else value.as_subclass(OnMps)


@contextlib.contextmanager
def made_mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Let torch find a Mac's GPU; give how often it was waited for and its memory was freed."""
    told: Counter[str] = Counter()
    monkeypatch.setattr(
        torch.backends.mps, "is_available", cache(lambda: True)
    )  # torch's own is cached, and asked for that
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: NAME)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: MEMORY_BYTES)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.mps, name, lambda name=name: told.update([name]))
    with _Moving():
        yield told
