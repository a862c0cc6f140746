"""Reduced precision says what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_files import tone, write_wav

from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import Pipeline, check
from voxcache.store import open_store


def test_bfloat16_is_compared_with_float32_on_the_users_clips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bfloat16 run prints and keeps its error, which is that of 8 bits of mantissa: neither zero nor gross."""
    for label in "ab":
        (tmp_path / "audio" / label).mkdir(parents=True)
        for i in range(3):
            write_wav(tmp_path / "audio" / label / f"{i}.wav", tone(0.4 + i / 3, 16_000, hz=200 + 90 * i), 16_000)
    data = {
        "store": str(tmp_path / "s.zarr"),
        "corpora": {"tones": {"root": str(tmp_path / "audio")}},
        "encoders": [{"name": "wav2vec2-mini", "dtype": "bfloat16"}],
    }
    extract(check(Pipeline, data, where="test"), Reporter())
    found = open_store(tmp_path / "s.zarr").corpus("tones").encoder("wav2vec2-mini-random").attrs["precision_error"]
    assert 1e-4 < found["median"] < 5e-2
    assert "bfloat16 differs from float32 by median" in capsys.readouterr().err
