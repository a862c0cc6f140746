"""The commands that share stores say what they did, and do it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from made_store import Made, fill, register
from typer.testing import CliRunner

from voxcache.cli_share import add_commands
from voxcache.cli_store import app as store_commands
from voxcache.errors import ConfigError, StoreError
from voxcache.store import open_store
from voxcache.store.verify import verify


def _run(*arguments: str | Path) -> str:
    app = typer.Typer()
    add_commands(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_store_goes_round(tmp_path: Path) -> None:
    """Packed to one file, merged, labelled, exported and imported again, the store is sound and each step is told."""
    made, path, out = Made(), tmp_path / "s.zarr", tmp_path / "out.zarr"
    fill(register(path, made), made)
    said = _run("pack", path, tmp_path / "s.zip", "--encoder", "made", "--pooled-only")
    assert "made: 10 of 11 clips, 1 failed, 3 layers x 4, pooled, licence unknown" in said
    assert "11 clips, licence CC0-1.0, columns arousal, label" in said
    assert "corpus: 11 new clips; made: 10 clips embedded, 1 failed" in _run("merge", tmp_path / "s.zip", "--into", out)
    (tmp_path / "l.csv").write_text("file,mood\nclip-001.wav,sad\nother,sad\n")
    said = _run("label", out, "corpus", tmp_path / "l.csv", "--id", "file", "--class", "mood")
    assert "1 clips labelled; columns: mood" in said
    assert "1 not in corpus: other" in said
    assert "10 not in l.csv: clip-000.wav, clip-002.wav" in said
    assert "10 clips with embeddings" in _run("export", out, "corpus", "made", tmp_path / "x.npz", "--layer", "0")
    said = _run("import", out, "corpus", "again", tmp_path / "x.npz", "--fact", "licence=MIT")
    assert "corpus x again: 10 clips with embeddings" in said
    store = open_store(out)
    assert verify(store) == []
    again, original = (store.corpus("corpus").encoder(name) for name in ("again", "made"))
    np.testing.assert_array_equal(again.pooled(), original.pooled(0))
    assert again.key["licence"] == "MIT"


def test_labels_only_and_wrong_facts(tmp_path: Path) -> None:
    """A pack of labels only has no encoder; a fact without a value is refused by its text."""
    made, path = Made(), tmp_path / "s.zarr"
    fill(register(path, made), made)
    _run("pack", path, tmp_path / "labels.zarr", "--labels-only", "--hash-ids", "--corpus", "corpus")
    assert open_store(tmp_path / "labels.zarr").corpus("corpus").encoders == ()
    with pytest.raises(ConfigError, match="--fact 'MIT': expected name=value"):
        _run("import", path, "corpus", "x", tmp_path / "x.npz", "--fact", "MIT")


def test_a_url_of_any_protocol_may_be_merged_from(tmp_path: Path) -> None:
    """A source keeps both slashes of its URL, also where its protocol is none of the usual ones."""
    with pytest.raises(StoreError, match=r"store teleport://host/s\.zarr: "):
        _run("merge", "teleport://host/s.zarr", "--into", tmp_path / "out.zarr")


def test_what_cannot_be_embedded_again_is_said_before_anything_is_read(tmp_path: Path) -> None:
    """`--re-embed` without `--pipeline` is refused at once: here nothing is there to be read."""
    result = CliRunner().invoke(store_commands, ["verify", str(tmp_path / "s.zarr"), "--re-embed", "3"])
    assert isinstance(result.exception, ConfigError)
    assert "Name the pipeline file with --pipeline" in str(result.exception)
