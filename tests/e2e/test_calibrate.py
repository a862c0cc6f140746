"""The batch size is measured, within bounds, and does not change what is stored by more than rounding."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from voxcache.extract import calibrate as module
from voxcache.extract.calibrate import ALONE, calibrate
from voxcache.extract.embed import Cutting
from voxcache.extract.encoders.base import Card, Emit, Encoder, FrameRule


class Timed(Encoder):
    """A fake encoder that takes a fixed time a call and a fixed time a padded second; it says what it fakes."""

    card = Card(name="timed", family="fake", source="none", dim=1, n_layers=1, frame=FrameRule("framed", 160, 400))
    device, dtype, weights_sha256, weights_origin, preprocessing = "cpu", "float32", "", "none", {}

    def __init__(self, per_call_s: float, per_second_s: float) -> None:
        self.per_call_s, self.per_second_s, self.calls = per_call_s, per_second_s, 0

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        self.calls += 1
        time.sleep(self.per_call_s + self.per_second_s * waves.numel() / 16_000)
        emit(0, torch.zeros(len(waves), self.card.frame.n_frames(max(n_samples)), 1))


WAVES = [np.zeros(8_000 + 400 * i, np.float32) for i in range(24)]


@pytest.mark.parametrize(("per_call_s", "per_second_s", "alone"), [(0.02, 0.0, False), (0.0, 0.01, True)])
def test_batches_are_made_where_they_pay(per_call_s: float, per_second_s: float, alone: bool) -> None:
    """An encoder whose cost is per call gets batches; one whose cost is per padded second runs clips alone."""
    assert (calibrate(Timed(per_call_s, per_second_s), WAVES, Cutting()) == ALONE) is alone


def test_a_slow_encoder_is_not_calibrated_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one clip takes longer than a pass may, no more than a few clips are spent on measuring."""
    monkeypatch.setattr(module, "MOST_S", 0.01)
    slow = Timed(0.02, 0.0)
    assert calibrate(slow, WAVES, Cutting()) == ALONE
    assert slow.calls <= 2


def test_one_clip_needs_no_calibration() -> None:
    """With fewer than two clips there is nothing to batch."""
    assert calibrate(Timed(0.0, 0.0), WAVES[:1], Cutting()) == ALONE
