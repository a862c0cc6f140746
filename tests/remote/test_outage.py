"""Extraction to S3 by the real command while the server does not answer for a while, or no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import voxcache
from servers import Server

from voxcache.store import open_store
from voxcache.store.verify import verify

pytest.importorskip("obstore")

PIPELINE = """
store: {store}
corpora:
  bursts: {{adapter: synthetic, n_speakers: 4, clips_per_class_per_speaker: 1, seed: 0}}
encoders: [logmel]
extract: {{unit_clips: 3}}
"""


def from_unit(unit: int, seconds: float) -> Callable[[str, str], bool]:
    """Return a rule that refuses everything for some seconds, from the first embeddings of a unit on."""
    began: list[float] = []
    lock = threading.Lock()

    def refuse(method: str, path: str) -> bool:
        with lock:
            if not began and method == "PUT" and path.endswith(f"/pooled/c/{unit}/0/0"):
                began.append(time.monotonic())
            return bool(began) and time.monotonic() < began[0] + seconds

    return refuse


def test_extraction_outlasts_an_outage(s3: Server, tmp_path: Path) -> None:
    """A server that answers 503 for three seconds amid an extraction costs no more than those, and all is there."""
    where = "s3://bucket/outlasts/cries.zarr"
    (tmp_path / "p.yaml").write_text(PIPELINE.format(store=where))
    s3.traffic.refuse = from_unit(3, 3.0)
    done = voxcache("extract", "p.yaml", cwd=tmp_path)
    assert "no answer" in done.stderr
    assert "answers again" in done.stderr
    store = open_store(where)
    assert store.corpus("bursts").encoder("logmel").ledger().counts()["ok"] == 24
    assert verify(store) == []


def test_extraction_ends_in_a_lasting_outage_and_goes_on_later(s3: Server, tmp_path: Path) -> None:
    """After VOXCACHE_OUTAGE_S, waited for once, the command ends with code 3 and how to go on; the same command does."""
    where = "s3://bucket/ends/cries.zarr"
    (tmp_path / "p.yaml").write_text(PIPELINE.format(store=where))
    s3.traffic.refuse = from_unit(3, 1e9)
    done = voxcache("extract", "p.yaml", cwd=tmp_path, code=3, VOXCACHE_OUTAGE_S="1")
    assert "no answer for 1 s" in done.stderr
    assert "tried again" not in done.stderr
    assert "run the same command again when the store is back" in done.stderr
    assert "VOXCACHE_OUTAGE_S" in done.stderr
    assert "Traceback" not in done.stderr
    s3.traffic.refuse = lambda method, path: False
    left = open_store(where).corpus("bursts").encoder("logmel").ledger().counts()
    assert 0 < left["missing"] < 24
    again = voxcache("extract", "p.yaml", cwd=tmp_path)
    assert f"bursts x logmel: {left['missing']} of 24 clips to embed" in again.stderr
    assert verify(open_store(where)) == []
