"""Experiments that cannot mean anything are refused, and clips, classes and folds in vain are said, before training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import voxcache

from voxcache.errors import ConfigError
from voxcache.store import ColumnData
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.plan import plan
from voxcache.train.run import run

from .conftest import MadeCorpus

Make = Callable[..., Store]


def notes(store: Store, **config: Any) -> tuple[str, ...]:
    """Return the notes of the plan of one corpus."""
    return plan(TrainConfig.model_validate({"heads": ["knn"], **config}), store).corpora[0].notes


def refused(store: Store, **config: Any) -> str:
    """Return why a plan is refused."""
    with pytest.raises(ConfigError) as caught:
        notes(store, **config)
    (problem,) = caught.value.problems
    return str(problem)


def test_the_group_as_target_is_refused(make_store: Make, tmp_path: Path) -> None:
    """Speakers apart and to be told: nothing can be learnt, with the number of clips, in a dry run of the command, too."""
    store = make_store(path=tmp_path / "s.zarr")
    said = refused(store, target="speaker")
    assert "none of the 60 tested clips has a clip of its 'speaker' among those that its fold trains on" in said
    assert "`group: none` to tell known speakers apart" in said
    (tmp_path / "p.yaml").write_text("store: s.zarr\ntrain: {target: speaker, heads: [knn]}\n")
    done = voxcache("train", "p.yaml", "--dry-run", cwd=tmp_path, code=2)
    assert "none of the 60 tested clips" in done.stderr
    known = notes(store, target="speaker", split={"group": "none"})
    assert any("the target is 'speaker' itself: known speakers are told apart" in note for note in known)
    assert not any(note.startswith("LEAK") for note in known)


def test_one_speaker_a_class_is_refused_or_said(make_store: Make) -> None:
    """Where speakers are apart no tested class is trained on; where they are not, to know the speaker is to know the class."""
    store = make_store(n_speakers=3, speaker_decides_class=True)
    for split in ({}, {"kind": "logo"}):
        said = refused(store, split=split)
        assert "none of the 60 tested clips" in said
        assert "each class comes from one speaker alone" in said
    said_of_none = notes(store, split={"group": "none"})
    assert any("every class comes from one speaker alone (60 clips)" in note for note in said_of_none)


def test_a_class_that_a_fold_does_not_train_on_is_said_with_its_clips(make_store: Make, tmp_path: Path) -> None:
    """A class of the test part alone, and one that a single speaker makes: how many tested clips can only be got wrong."""
    store = make_store(
        label=lambda i: "only-tested" if i % 10 == 9 else "xy"[i % 2],
        split=lambda i: "test" if i % 10 >= 8 else "train",
    )
    said = notes(store, split={"kind": "predefined"})
    assert "class 'only-tested' (6 clips) is never both trained on and tested: it can only be got wrong" in said
    total = "6 of 12 tested clips are of a class that their fold does not train on: no model can get them right"
    assert total in said
    config = TrainConfig.model_validate({"heads": ["knn"], "split": {"kind": "predefined"}, "device": "cpu"})
    run(config, store, tmp_path / "out", quiet=True)
    assert total in (tmp_path / "out" / "report.md").read_text()
    assert total in (tmp_path / "out" / "report.html").read_text()


def test_classes_that_stand_in_one_fold_alone_are_counted_together(make_store: Make) -> None:
    """Two classes of one fold each: both are named, and their clips are added up."""
    store = make_store(split=lambda i: "ab"[i % 2], label=lambda i: "z" if i % 2 else "xyz"[i // 2 % 3])
    said = notes(store, split={"kind": "predefined"})
    x = sum(i % 2 == 0 and i // 2 % 3 == 0 for i in range(60))
    assert f"class 'x' ({x} clips) is never both trained on and tested: it can only be got wrong" in said
    assert any(note.startswith(f"{2 * x} of 60 tested clips are of a class") for note in said)


def test_training_on_one_class_alone_is_refused(make_store: Make) -> None:
    """A split whose training part has one class teaches nothing, although that class is tested."""
    store = make_store(split=lambda i: "train" if i < 40 else "test", label=lambda i: "x" if i < 40 or i % 2 else "y")
    said = refused(store, split={"kind": "predefined"})
    assert "in each of 1 folds all training clips are of one class" in said
    assert "20 clips would be tested" in said


def test_a_target_with_one_value_is_refused(make_store: Make) -> None:
    """A column of one number has nothing to predict."""

    class Constant(MadeCorpus):
        """Its target is 0.5 everywhere."""

        def target(self, index: int) -> np.ndarray:
            return np.full(self.n, 0.5)

    said = refused(make_store(Constant(targets=("valence",))), target="valence", heads=["ridge"])
    assert "column 'valence' has one value for all 60 clips" in said


def test_a_fold_of_one_clip_is_said(make_store: Make, tmp_path: Path) -> None:
    """Leaving one speaker out, two of whom have one and two clips: the folds and their sizes are named."""

    class Uneven(MadeCorpus):
        """s0 has one clip, s1 two."""

        def columns(self) -> list[ColumnData]:
            given = super().columns()
            speakers = [f"s{0 if i == 0 else 1 if i < 3 else 2 + i % 3}" for i in range(self.n)]
            next(column for column in given if column.role == "group").values[:] = speakers
            return given

    said = notes(make_store(Uneven()), split={"kind": "logo"})
    assert any(note.startswith("2 of 5 folds test fewer than 5 clips (fold 0: 1, fold 1: 2)") for note in said)
    assert not any("fewer than" in note for note in notes(make_store(path=tmp_path / "even.zarr")))


@dataclass(frozen=True)
class Torn(MadeCorpus):
    """Clips 40 to 44 have the bytes of clips 0 to 4; labels run on, so that some of them differ."""

    def sha256(self, i: int) -> str:
        """Return the hash of the file."""
        return f"a{i - 40 if 40 <= i < 45 else i:03d}"


def test_the_same_audio_under_two_labels_is_said(make_store: Make) -> None:
    """The number of clips, of recordings and some ids are given; copies with one label are not among them."""
    made = Torn()
    torn = [i for i in range(5) if made.y[i] != made.y[i + 40]]
    assert torn
    said = notes(make_store(made))
    (note,) = [note for note in said if "hold the same audio as a clip with another label" in note]
    assert note.startswith(f"{2 * len(torn)} clips hold the same audio")
    assert f"({len(torn)} recordings: 'clip-000'" in note


def test_a_corpus_that_means_nothing_is_left_out_of_all(make_store: Make) -> None:
    """With `corpora: all`, it is named with the reason and the others are planned."""
    store = make_store(MadeCorpus(), MadeCorpus(name="lone", n_speakers=3, speaker_decides_class=True, audio="b"))
    made = plan(TrainConfig.model_validate({"heads": ["knn"]}), store)
    assert [corpus.name for corpus in made.corpora] == ["made"]
    assert any("'lone' is left out" in note and "none of the 60 tested clips" in note for note in made.notes)
