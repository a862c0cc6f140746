"""Embeddings that are known to be wrong: every command that meets them says so, and extraction makes them anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command import voxcache
from small_run import small, written

from voxcache.extract.plan import Estimate, estimate, plan_corpora, plan_encoders
from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import Pipeline, load_pipeline
from voxcache.store import create_store, open_store
from voxcache.store.keys import key_hash
from voxcache.store.layout import update_attributes
from voxcache.store.recalled import RECALLED, recalled

GENERIC = {"extractor": "generic-1", "features": "ASTFeatureExtractor"}


def test_what_is_recalled() -> None:
    """The generic path's first version is recalled, HEAR modules above 16 kHz too, and nothing else; each has a reason."""
    assert all(entry.reason for entry in RECALLED)
    assert "padding" in str(recalled(GENERIC))
    assert "16 kHz" in str(recalled({"extractor": "hear-1", "sample_rate_hz": 48_000}))
    others = [
        {"extractor": "hear-1", "sample_rate_hz": 16_000},
        {"extractor": "generic-2"},
        {"extractor": "speech-1"},
        {},
    ]
    assert [recalled(key) for key in others] == [None] * 4


def test_recalled_embeddings_are_named_everywhere_and_made_anew(tmp_path: Path) -> None:
    """`status`, `train`, the report, `merge` and a dry run name them; `extract` makes them anew, and only them."""
    train = {"heads": ["linear"], "encoders": ["logmel", "mfcc"], "split": {"folds": 2}, "seeds": [0]}
    config = written(small(tmp_path, encoders=["logmel", "mfcc"], train=train), tmp_path)
    extract(load_pipeline(config), Reporter(quiet=True))
    right = open_store(tmp_path / "s.zarr").corpus("bursts").encoder("mfcc").pooled()
    group = create_store(tmp_path / "s.zarr").corpus("bursts").encoder("mfcc").group
    update_attributes(group, {"key": GENERIC, "key_hash": key_hash(GENERIC)})

    status = voxcache("store", "status", "s.zarr", cwd=tmp_path, code=5).stdout
    assert "mfcc: its embeddings are recalled: they are means over the padding" in status
    assert "logmel: its" not in status
    assert "bursts/mfcc: its embeddings are recalled" in _said(voxcache("train", config, cwd=tmp_path))
    assert "bursts/mfcc: its embeddings are recalled" in (tmp_path / "s.results" / "report.html").read_text()
    merged = voxcache("store", "merge", "s.zarr", "--into", "both.zarr", cwd=tmp_path).stdout
    assert "bursts/mfcc: its embeddings are recalled" in merged
    foreseen = _estimates(load_pipeline(config))
    assert [(e.encoder, e.clips_to_do, e.note) for e in foreseen] == [
        ("logmel", 0, ""), ("mfcc", 36, "what is there is recalled and made anew"),
    ]  # fmt: skip

    assert "bursts x mfcc: the embeddings are recalled" in _said(voxcache("extract", config, cwd=tmp_path))
    anew = open_store(tmp_path / "s.zarr").corpus("bursts").encoder("mfcc")
    assert recalled(anew.key) is None
    np.testing.assert_array_equal(anew.pooled(), right)
    assert [e.clips_to_do for e in _estimates(load_pipeline(config))] == [0, 0]


def _estimates(config: Pipeline) -> list[Estimate]:
    """Return what a dry run would say."""
    corpora = plan_corpora(config, Reporter(quiet=True))
    store = open_store(config.store)
    return [estimate(plan, corpus, store, config.extract) for corpus in corpora for plan in plan_encoders(config)]


def _said(done: object) -> str:
    return " ".join((str(getattr(done, "stdout", "")) + str(getattr(done, "stderr", ""))).split())
