"""`torch.compile` for the blocks of an encoder: the layers that come out between them are heard as before."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from .encoders.base import Encoder


def compile_blocks(encoder: Encoder) -> int:
    """Compile every transformer block of an encoder, in place; return how many.

    Blocks, not the whole model: hooks between them pool each layer as it comes out, and would break one graph into as
    many. Lengths stay symbolic, or every new batch shape would be compiled anew.
    """
    blocks = list(_blocks(encoder))
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=True)
    return len(blocks)


def _blocks(encoder: Encoder) -> Iterator[nn.Module]:
    """Yield the members of the longest list of modules of each model that the encoder holds."""
    for model in vars(encoder).values():
        if isinstance(model, nn.Module):
            lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
            if lists:
                yield from max(lists, key=_n_parameters)


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
