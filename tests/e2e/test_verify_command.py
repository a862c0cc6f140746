"""`voxcache store verify` on a store that stage 1 made: damage is named, repaired, and embeddings come out again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bad_files import tone, write_wav
from command import voxcache

from voxcache.errors import AudioError
from voxcache.extract import recheck
from voxcache.extract.progress import Reporter
from voxcache.pipeline import load_pipeline
from voxcache.store import open_store


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Nine tones of two classes, embedded, with the pipeline file beside the store."""
    for i in range(9):
        folder = tmp_path / "audio" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_wav(folder / f"{i}.wav", tone(0.3 + i / 20, 16_000, hz=200 + 50 * i), 16_000)
    data = {
        "store": "s.zarr",
        "corpora": {"tones": {"root": "audio"}},
        "encoders": ["mfcc", "wav2vec2-mini"],
        "extract": {"unit_clips": 4, "batch_s": 3},
    }
    (tmp_path / "p.yaml").write_text(json.dumps(data))
    voxcache("extract", "p.yaml", cwd=tmp_path)
    return tmp_path


def test_a_flipped_bit_is_named_and_repaired(made: Path) -> None:
    """The damaged unit is named with exit code 1; --repair computes just that again, to the same values."""
    before = open_store(made / "s.zarr").corpus("tones").encoder("mfcc").pooled()
    shard = made / "s.zarr/tones/mfcc/pooled/c/1/0/0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    found = voxcache("store", "verify", "s.zarr", cwd=made, code=1)
    assert "tones/mfcc, pooled, unit 1 (4 clips, a/8.wav to b/5.wav): cannot be read" in found.stdout
    repaired = voxcache("store", "verify", "s.zarr", "--repair", "p.yaml", cwd=made)
    assert "s.zarr: repaired; every object read, nothing damaged" in repaired.stdout
    assert "tones x mfcc: 4 of 9 clips to embed" in repaired.stderr
    np.testing.assert_array_equal(open_store(made / "s.zarr").corpus("tones").encoder("mfcc").pooled(), before)


@pytest.mark.slow
def test_embeddings_come_out_again_and_others_do_not(made: Path) -> None:
    """Embedding a sample again agrees; with other weights under the same name it is found to differ."""
    again = voxcache("store", "verify", "s.zarr", "--re-embed", "3", "--pipeline", "p.yaml", cwd=made)
    assert again.stdout.count("3 clips embedded again") == 2
    assert "DIFFERS" not in again.stdout
    pipeline = json.loads((made / "p.yaml").read_text())
    pipeline["encoders"][1] = {"name": "wav2vec2-mini", "seed": 1}
    (made / "p.yaml").write_text(json.dumps(pipeline))
    other = voxcache("store", "verify", "s.zarr", "--re-embed", "3", "--pipeline", "p.yaml", cwd=made, code=3)
    assert "tones x wav2vec2-mini-random: 3 clips embedded again" in other.stderr
    assert "DIFFERS" in other.stderr


def test_clips_that_fail_now_differ_and_changed_ones_are_left_out(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no clip can be decoded any more nothing agrees; what has other audio than the store knows is not compared."""
    config = load_pipeline(made / "p.yaml").model_copy(update={"store": str(made / "s.zarr")})
    monkeypatch.chdir(made)
    for name in ("a/0.wav", "b/1.wav"):
        write_wav(made / "audio" / name, tone(0.4, 16_000, hz=900), 16_000)
    for result in recheck.re_embed(config, 100, Reporter(quiet=True)):
        assert (result.n_clips, result.n_changed, result.agrees) == (7, 2, True)
        assert ", 2 left out, whose audio changed since: agrees" in str(result)
    monkeypatch.setattr(recheck, "read_clip", lambda clip: AudioError(f"{clip.path}: no longer"))
    for result in recheck.re_embed(config, 3, Reporter(quiet=True)):
        assert result.worst == np.inf
        assert "DIFFERS" in str(result)


def test_dropping_an_encoder_asks_first(made: Path) -> None:
    """Without --yes the command asks, and no answer changes nothing; with it the encoder is gone."""
    voxcache("store", "drop", "s.zarr", "tones/mfcc", cwd=made, code=1)
    assert open_store(made / "s.zarr").corpus("tones").encoders == ("mfcc", "wav2vec2-mini-random")
    voxcache("store", "drop", "s.zarr", "tones/mfcc", "--yes", cwd=made)
    assert open_store(made / "s.zarr").corpus("tones").encoders == ("wav2vec2-mini-random",)
    voxcache("store", "verify", "s.zarr", cwd=made)
