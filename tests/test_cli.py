"""What the command line makes of its options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxcache.cli import _load
from voxcache.cli_predict import requests
from voxcache.errors import ConfigError
from voxcache.pipeline import Pipeline, check
from voxcache.train.execute import pick_device


def test_the_device_named_is_that_of_both_stages(tmp_path: Path) -> None:
    """`voxcache run --device cpu` trains on the CPU, too."""
    (tmp_path / "p.yaml").write_text(json.dumps({"extract": {"unit_clips": 4}, "train": {"seeds": [5]}}))
    config = _load(tmp_path / "p.yaml", None, "cpu")
    assert (config.extract.device, config.train.device) == ("cpu", "cpu")
    assert (config.extract.unit_clips, config.train.seeds) == (4, (5,))
    assert pick_device(config.train.device) == "cpu"


@pytest.mark.parametrize("device", ["cuda:77", "gpu"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    """Training does not take another one instead."""
    with pytest.raises(ConfigError, match=f"train.device: {device} asked for"):
        pick_device(device)


def test_every_encoder_is_known_by_its_name_in_the_store() -> None:
    """Hub ids as folders, `as:` as stated, random weights by their ending, also where only the card says that they are."""
    encoders = ["logmel", {"name": "a/b", "weights": "random"}, "a/b", {"name": "mfcc", "as": "mine", "weights": "x"}]
    asked = requests(check(Pipeline, {"encoders": encoders}, where="test"))
    assert asked["logmel"] == asked["logmel-random"] == {"name": "logmel"}
    assert asked["a--b"] == {"name": "a/b"}
    assert asked["a--b-random"] == {"name": "a/b", "weights": "random"}
    assert asked["mine"] == {"name": "mfcc", "as": "mine", "weights": "x"}
    assert len(asked) == 5
