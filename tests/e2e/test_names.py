"""Names in a pipeline and a manifest, however hostile, make no file outside the store: by the real command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bad_files import tone, write_wav
from command import voxcache

from voxcache.store import open_store
from voxcache.store.verify import verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two tones, two levels below what a test may look at."""
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    for name in ("x.wav", "y.wav"):
        write_wav(inside / name, tone(0.3, 16_000), 16_000)
    return inside


def _extract(folder: Path, manifest: str, code: int, **pipeline: Any) -> str:
    (folder / "clips.csv").write_text(manifest, encoding="utf-8")
    data = {"store": "s.zarr", "corpora": {"mine": {"manifest": "clips.csv"}}, "encoders": ["mfcc"], **pipeline}
    (folder / "p.yaml").write_text(json.dumps(data), encoding="utf-8")
    return voxcache("extract", "p.yaml", cwd=folder, code=code).stderr


def _files(folder: Path) -> set[str]:
    """Return what lies beside and above the folder, the store and its lock left out."""
    everything = {item.relative_to(folder.parents[1]).as_posix() for item in folder.parents[1].rglob("*")}
    return {name for name in everything if not name.startswith(("a/b/s.zarr", "a/b/.s.zarr"))}


GOOD = "path,label\nx.wav,p\ny.wav,q\n"
HOSTILE: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("path,label,clip\nx.wav,p,../../up\n", {}, "clips.csv, row 2: expected a clip id inside the corpus"),
    ("path,label,clip\nx.wav,p,/etc/up\n", {}, "which is an absolute path"),
    (
        "path,label,clip\nx.wav,p,a\ny.wav,q,A\n",
        {},
        "clips.csv, row 2 and clips.csv, row 3: expected different clip ids",
    ),
    (f"path,label,clip\nx.wav,p,{'n' * 10_000}\n", {}, "longer than 1000 characters"),
    ("path,label,con\nx.wav,p,1\n", {}, "manifest clips.csv: column name 'con': expected"),
    (GOOD, {"encoders": [{"name": "mfcc", "as": "../../up"}]}, "encoder name '../../up': expected"),
    (GOOD, {"encoders": [{"name": "mfcc", "as": "zarr.json"}]}, "encoder name 'zarr.json': expected"),
    (GOOD, {"encoders": [{"name": "mfcc", "as": "LABEL"}]}, "encoder name 'LABEL': 'label' is there already"),
    (GOOD, {"corpora": {"../up": {"manifest": "clips.csv"}}}, "corpus name '../up': expected"),
    (GOOD, {"corpora": {"x" * 900: {"manifest": "clips.csv"}}}, "of 900 characters: expected"),
)


def test_hostile_names_are_refused_and_nothing_is_written_outside(folder: Path) -> None:
    """Each ends with exit code 2 and a sentence with its place; no file appears but the store and its lock."""
    _extract(folder, GOOD, 0, encoders=["mfcc"])
    for manifest, pipeline, message in HOSTILE:
        before = _files(folder)
        said = _extract(folder, manifest, 2, **pipeline)
        assert message in said, said
        assert len(said) < 2500
        assert _files(folder) == before
    assert verify(open_store(folder / "s.zarr")) == []


def test_odd_ids_are_data(folder: Path) -> None:
    """Ids like devices, our own arrays and documents are embedded as they are, and no file is called so."""
    ids = ["con", "zarr.json", "clip", ".lock", "a b/ü.wav", "sha256"]
    rows = "\n".join(f"x.wav,p,{name},{i / 20},{i / 20 + 0.05}" for i, name in enumerate(ids))
    _extract(folder, f"path,label,clip,start_s,end_s\n{rows}\n", 0)
    store = open_store(folder / "s.zarr")
    assert list(store.corpus("mine").clip) == ids
    assert verify(store) == []
    assert not {"con", ".lock", "ü.wav"} & {item.name for item in folder.rglob("*")}
