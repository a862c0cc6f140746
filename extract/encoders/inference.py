"""The state torch is in while an encoder runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_inference() -> Iterator[None]:
    """Record no gradients, and keep cuDNN's convolutions in float32.

    By default they use TF32 where a GPU has it: 10 mantissa bits, and a kernel chosen by shape, so that the same clip
    would differ by about 1e-3 between batches.
    """
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
