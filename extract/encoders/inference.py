"""The state torch is in while an encoder runs, and the precision its weights are in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from .base import Dtype

Model = TypeVar("Model", bound=nn.Module)


@contextmanager
def exact_inference() -> Iterator[None]:
    """Record no gradients, and keep cuDNN's convolutions in float32.

    By default they use TF32 where a GPU has it: 10 mantissa bits, and a kernel chosen by shape, so that the same clip
    would differ by about 1e-3 between batches.
    """
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def to_precision(model: Model, device: str, dtype: Dtype) -> Model:
    """Move a model to a device and a precision, its convolutions such that they compute what they say.

    oneDNN 3.10 (torch 2.11) on CPUs with AMX gives bfloat16 convolutions of 3 to 15 channels a group results that are off
    by 100 %; those stay in float32. The published models have 1, 48, 64 or 512.
    """
    model = model.to(device=device, dtype=getattr(torch, dtype))
    if device == "cpu" and dtype == "bfloat16":
        for module in model.modules():
            if isinstance(module, nn.Conv1d) and 2 < module.in_channels // module.groups < 16:
                module.float()
                module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
                module.register_forward_hook(lambda _module, _inputs, states: states.bfloat16())
    return model
