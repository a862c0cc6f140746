from __future__ import annotations

from pathlib import Path

import pytest
from command import voxcache
from servers import Server

from voxcache.errors import ConfigError
from voxcache.store.merge import merge
from voxcache.store.pack import pack

pytest.importorskip("obstore")

SECRET = "wJalrXUtnFEMI-K7MDENG"
STORE = "s3://bucket/commands/cries.zarr"
PIPELINE = f"""
store: {STORE}
corpora:
  bursts: {{adapter: synthetic, n_speakers: 4, clips_per_class_per_speaker: 1, seed: 0}}
encoders: [logmel]
train: {{heads: [logreg], split: {{folds: 2, group: speaker}}, seeds: [0]}}
"""


def test_extract_to_a_bucket_and_train_from_it(s3: Server, tmp_path: Path) -> None:
    """Both stages run on S3; a second training fetches next to nothing; no key lands in any file or line."""
    (tmp_path / "p.yaml").write_text(PIPELINE)
    said = [voxcache("extract", "p.yaml", cwd=tmp_path).stdout]
    assert "24 of 24 ok" in voxcache("store", "status", STORE, cwd=tmp_path).stdout
    said += [voxcache("train", "p.yaml", cwd=tmp_path).stdout]
    (tmp_path / "cries.results").rename(tmp_path / "first.results")
    s3.traffic.clear()
    said += [voxcache("train", "p.yaml", cwd=tmp_path).stdout]
    fetched = [path for _, path in s3.traffic.requests if path != "/bucket"]
    assert set(fetched) == {"/bucket/commands/cries.zarr/zarr.json"}
    assert "nothing damaged" in voxcache("store", "verify", STORE, cwd=tmp_path).stdout
    assert SECRET not in "".join(said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_copies_are_written_to_this_machine(tmp_path: Path) -> None:
    """`pack` and `merge` into a URL are refused before anything is read."""
    with pytest.raises(ConfigError, match="expected a folder or file on this machine"):
        pack(tmp_path / "nothing.zarr", "s3://bucket/out.zarr")
    with pytest.raises(ConfigError, match="expected a folder or file on this machine"):
        merge([tmp_path / "nothing.zarr"], "s3://bucket/out.zarr")
