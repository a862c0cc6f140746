"""What a kill leaves at the two moments in which a store is neither old nor new."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import small

from voxcache.extract import jobs
from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.store import open_store
from voxcache.store.verify import verify

QUIET = Reporter(quiet=True)


def test_a_folder_that_holds_only_what_a_killed_first_run_left_becomes_the_store(tmp_path: Path) -> None:
    """The kill came before the root had its name."""
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / "zarr.json.0123abcd.partial").write_text("{")
    outcome = extract(small(tmp_path, encoders=["logmel"]), QUIET)[0]
    assert outcome.counts["ok"] == outcome.n_clips
    assert not list((tmp_path / "s.zarr").rglob("*.partial"))


def test_encoders_that_were_not_grown_before_a_kill_are_grown_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips were added; the encoder that is not part of the run that adds them is made as long by a later one."""
    extract(small(tmp_path, encoders=["logmel"]), QUIET)
    clip = next((tmp_path / "audio").rglob("*.wav"))
    corpus = {"root": str(tmp_path / "audio")}
    clip.with_name("one_more.wav").write_bytes(clip.read_bytes())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    grown = small(tmp_path, encoders=["mfcc"], corpora={"bursts": corpus})
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "grow_encoders", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(grown, QUIET)
    extract(grown, QUIET)
    held = open_store(tmp_path / "s.zarr").corpus("bursts")
    assert len(held.encoder("logmel").ledger().status) == held.n_clips == 37
    assert verify(open_store(tmp_path / "s.zarr")) == []
