"""Precision of the convolutions that encoders run in half precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from voxcache.extract.encoders.inference import exact_inference, to_precision


@pytest.mark.parametrize("per_group", [1, 2, 4, 8, 12, 16, 48, 64])
def test_bfloat16_convolutions_compute_what_they_say(per_group: int) -> None:
    """For any number of channels a group, a bfloat16 convolution is within 1 % of the same one in float32."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv1d(4 * per_group, 4 * per_group, 16, groups=4))
    half = to_precision(copy.deepcopy(whole), "cpu", "bfloat16")
    states = torch.randn(1, 4 * per_group, 60)
    with exact_inference():
        expected, got = whole(states), half(states.bfloat16())
    assert got.dtype == torch.bfloat16
    assert (got.float() - expected).norm() / expected.norm() < 1e-2
