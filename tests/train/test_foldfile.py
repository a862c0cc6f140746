"""Folds as a file."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxcache.errors import ConfigError
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.foldfile import write_folds
from voxcache.train.grid import Plan
from voxcache.train.plan import plan

Make = Callable[..., Store]


def planned(store: Store, **split: Any) -> Plan:
    """Return the plan of one head with a split."""
    return plan(TrainConfig.model_validate({"heads": ["knn"], "split": split}), store)


SPLITS: list[dict[str, Any]] = [
    {"folds": 4, "seed": 7},
    {"folds": 3, "group": "none"},
    {"kind": "logo"},
    {"kind": "predefined"},
]


@pytest.mark.parametrize("split", SPLITS)
def test_folds_survive_a_file_in_any_order(make_store: Make, tmp_path: Path, split: dict[str, Any]) -> None:
    """Written, shuffled and read again, folds of every kind are the same, and so is whether they keep groups."""
    store = make_store(split=lambda i: ("train", "train", "dev", "test")[i % 4], failed={"alpha": (3,)})
    first = planned(store, **split)
    assert write_folds(tmp_path / "folds.csv", first.corpora) == 60
    header, *lines = (tmp_path / "folds.csv").read_text().splitlines()
    random.Random(0).shuffle(lines)
    (tmp_path / "folds.csv").write_text("\n".join([header, *lines]) + "\n")
    again = planned(store, **{"from": str(tmp_path / "folds.csv")})
    one, other = first.corpora[0].split, again.corpora[0].split
    np.testing.assert_array_equal(one.fold, other.fold)
    assert (one.n_folds, one.grouped) == (other.n_folds, other.grouped)
    assert "folds.csv" in other.text


def test_clips_that_differ_are_listed(make_store: Make, tmp_path: Path) -> None:
    """Clips that the file lacks, does not know or lists twice are each counted and named."""
    store, path = make_store(), tmp_path / "folds.csv"
    write_folds(path, planned(store).corpora)
    rows = list(csv.reader(path.open()))
    path.write_text("\n".join(",".join(row) for row in [*rows[:-2], ["made", "clip-999", "0"]]) + "\n")
    with pytest.raises(ConfigError) as caught:
        planned(store, **{"from": str(path)})
    told = "\n".join(caught.value.problems)
    assert "2 clips with a label stand in the corpus but not in the file: clip-058, clip-059." in told
    assert "1 clips stand in the file but not among the labelled ones: clip-999." in told
    path.write_text("\n".join(",".join(row) for row in [*rows, rows[1]]) + "\n")
    with pytest.raises(ConfigError, match="1 clips are listed twice: clip-000"):
        planned(store, **{"from": str(path)})


def test_a_file_without_the_columns_or_no_file_is_refused(make_store: Make, tmp_path: Path) -> None:
    """Each names the file and what writes one."""
    store, path = make_store(), tmp_path / "folds.csv"
    with pytest.raises(ConfigError, match="cannot be read"):
        planned(store, **{"from": str(path)})
    path.write_text("name,part\na,0\n")
    with pytest.raises(ConfigError, match="expected the columns clip and fold, got name, part"):
        planned(store, **{"from": str(path)})


def test_a_preset_gives_way_to_few_speakers_and_says_so(make_store: Make) -> None:
    """With 4 speakers the preset's 5 folds become 4, one a speaker; 5 folds that were stated are refused."""
    store = make_store(n_speakers=4)
    split = planned(store).corpora[0].split
    assert (split.n_folds, split.grouped) == (4, True)
    assert split.text == "4 stratified folds, one for each speaker: 5 need as many"
    with pytest.raises(ConfigError, match="5 folds need as many groups, column 'speaker' has 4"):
        planned(store, folds=5)


def test_train_and_test_that_keep_groups_count_as_grouped(make_store: Make, tmp_path: Path) -> None:
    """A file of roles keeps groups where no tested speaker is trained on; with `group: none` they are ignored."""
    store, path = make_store(), tmp_path / "folds.csv"
    lines = [f"clip-{i:03d},{'test' if i // 3 % 10 < 3 else 'train'}" for i in range(60)]
    path.write_text("\n".join(["clip,fold", *lines]) + "\n")
    assert planned(store, **{"from": str(path)}).corpora[0].split.grouped
    assert not planned(store, **{"from": str(path), "group": "none"}).corpora[0].split.grouped


def test_lines_without_a_fold_are_named(make_store: Make, tmp_path: Path) -> None:
    """An empty cell and a short line are no fold, whatever the others hold."""
    store, path = make_store(), tmp_path / "folds.csv"
    lines = [f"clip-{i:03d},{('train', 'test')[i % 2]}" for i in range(60)]
    path.write_text("\n".join(["clip,fold", *lines[:-2], "clip-058,", "clip-059"]) + "\n")
    with pytest.raises(ConfigError) as caught:
        planned(store, **{"from": str(path)})
    first, second = caught.value.problems
    assert "line 60: expected a clip and its fold, got 'clip-058' and ''" in first
    assert "line 61: expected a clip and its fold, got 'clip-059' and ''" in second
