"""Each recipe in miniature, through the real command: made audio in the releases' layouts, small networks, one epoch."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from command import voxcache

from voxcache.errors import ConfigError
from voxcache.rehearse import rehearse


@pytest.mark.parametrize(
    ("name", "n_corpora", "n_encoders"),
    [
        pytest.param("reno", 3, 8, marks=pytest.mark.slow),
        pytest.param("voc2vec", 6, 13, marks=pytest.mark.slow),
        ("emotion-share", 1, 5),
    ],
)
def test_a_recipe_runs_from_audio_to_tables(tmp_path: Path, name: str, n_corpora: int, n_encoders: int) -> None:
    """Every corpus, encoder, head and fusion of the recipe ends in the tables; of RENO's pairs, that of figure 3 and the last."""
    voxcache("rehearse", name, "mini", "--clips", "2", "--seeds", "1", "--epochs", "1", "--small", cwd=tmp_path)
    path = tmp_path / "mini" / f"{name}.yaml"
    config = yaml.safe_load(path.read_text())
    if name == "voc2vec":
        config["encoders"] = [encoder for encoder in config["encoders"] if encoder["name"] != "opensmile-compare"]
        n_encoders -= 1
    fusion = config["train"].get("fusion")
    if fusion:
        fusion["pairs"] = [["audio-mamba-tiny", "hubert-base"], fusion["pairs"][-1]]
        config["train"]["heads"] = ["fcn", {"name": "cnn", "hidden": [16]}]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    workers = "2" if name == "emotion-share" else "1"
    done = voxcache("run", path, "--device", "cpu", "--workers", workers, "--log", "log.jsonl", cwd=tmp_path)
    assert "RANDOM WEIGHTS" in done.stdout
    assert '"event": "finished"' in (tmp_path / "log.jsonl").read_text()
    with (tmp_path / "mini" / "results" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    n_heads, n_fusions = len(config["train"]["heads"]), 4 if fusion else 0
    assert len(rows) == n_corpora * (n_encoders * n_heads + n_fusions)
    assert len({row["corpus"] for row in rows}) == n_corpora


def test_a_rehearsal_keeps_what_is_there_and_refuses_what_it_cannot_make(tmp_path: Path) -> None:
    """A corpus whose folder exists is left as it is; an adapter without a layout of ours, and an unknown recipe, are named."""
    real = tmp_path / "real"
    real.mkdir()
    recipe = {"corpora": {"a": {"adapter": "vivae", "root": str(real)}}, "encoders": ["logmel", "wavlm-base"]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    written = yaml.safe_load(rehearse(tmp_path / "r.yaml", tmp_path / "out").read_text())
    assert written["corpora"]["a"]["root"] == str(real)
    assert written["encoders"][0] == {"name": "logmel"}
    assert written["encoders"][1] == {"name": "wavlm-base", "as": "wavlm-base-random", "weights": "random", "seed": 1}
    recipe["corpora"]["a"] = {"adapter": "manifest", "manifest": "clips.csv", "root": str(tmp_path / "gone")}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ConfigError, match="expected an adapter whose release can be imitated"):
        rehearse(tmp_path / "r.yaml", tmp_path / "out")
    with pytest.raises(ConfigError, match="expected a pipeline file or one of emotion-share, reno, voc2vec"):
        rehearse("rino", tmp_path / "out")
