"""The batch size is measured, within bounds, and does not change what is stored by more than rounding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_files import tone, write_wav

from voxcache.extract import calibrate as module
from voxcache.extract.calibrate import calibrate
from voxcache.extract.embed import Cutting
from voxcache.extract.encoders.base import Card, Emit, Encoder, FrameRule
from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.extract.units import ALONE
from voxcache.pipeline import Pipeline, check
from voxcache.store import open_store


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


@pytest.mark.parametrize(("corpus_s", "measured"), [(200.0, False), (2_000.0, True)])
def test_a_short_corpus_is_not_calibrated(corpus_s: float, measured: bool) -> None:
    """Measuring takes at most about a quarter of the corpus' time: where that does not fill the smallest batch, none is spent."""
    encoder = Timed(0.0, 0.001)
    began = time.monotonic()
    assert (calibrate(encoder, WAVES, Cutting(), corpus_s=corpus_s) is not None) is measured
    if measured:
        assert time.monotonic() - began < 2 * module.SHARE * 0.001 * corpus_s
    else:
        assert encoder.calls == 0


def test_one_clip_needs_no_calibration() -> None:
    """With fewer than two clips there is nothing to learn, which is not the same as to run them alone."""
    assert calibrate(Timed(0.0, 0.0), WAVES[:1], Cutting()) is None


def test_what_could_not_be_measured_is_measured_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tone and silence settle nothing; once there are more tones, a batch size is kept in the store."""
    monkeypatch.setattr(module, "SHARE", 100.0)  # short as the run is
    data = {
        "store": str(tmp_path / "s.zarr"),
        "corpora": {"tones": {"root": str(tmp_path / "audio")}},
        "encoders": ["logmel"],
    }
    config = check(Pipeline, data, where="test")
    for label in "ab":
        (tmp_path / "audio" / label).mkdir(parents=True)
    write_wav(tmp_path / "audio/a/0.wav", tone(0.5, 16_000), 16_000)
    write_wav(tmp_path / "audio/b/0.wav", 0 * tone(0.6, 16_000), 16_000)
    for more in (False, True):
        if more:
            for i in range(1, 4):
                write_wav(tmp_path / f"audio/b/{i}.wav", tone(0.5, 16_000), 16_000)
        outcome = extract(config, Reporter(quiet=True))[0]
        attributes = open_store(tmp_path / "s.zarr").corpus("tones").encoder("logmel").attrs
        assert outcome.counts["ok"] == (4 if more else 1)
        assert ("cpu" in attributes.get("batch_samples", {})) is more
