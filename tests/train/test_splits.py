"""Folds: groups never in two of them, nothing lost, the same from the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxcache.errors import ConfigError
from voxcache.store.read import Store
from voxcache.train import clips as clips_module
from voxcache.train import splits
from voxcache.train.clips import Clips
from voxcache.train.config import SplitConfig
from voxcache.train.sense import doubtful


def made_clips(y: list[int], group: list[int] | None, split: list[str] | None = None) -> Clips:
    """Return clips of these classes and groups."""
    n = len(y)
    return Clips(
        "made",
        np.arange(n),
        np.array([f"clip-{i:03d}" for i in range(n)], dtype=object),
        np.array(y),
        tuple(f"class {i}" for i in range(max(y) + 1)),
        None if group is None else np.array([f"s{g}" for g in group], dtype=object),
        None if group is None else "speaker",
        None if split is None else np.array(split, dtype=object),
        n,
    )


def split_of(clips: Clips, **config: Any) -> splits.Split:
    """Return the split that a configuration makes of them."""
    return splits.finish(clips, *splits.assign(clips, SplitConfig(**config)))


CLIPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=12, max_size=60)


@settings(max_examples=60, deadline=None)
@given(CLIPS, st.integers(2, 5), st.integers(0, 3))
def test_no_group_stands_in_two_folds(pairs: list[tuple[int, int]], folds: int, seed: int) -> None:
    """For any labels and groups, every clip is tested once, no group in two folds, no fold is empty, nothing leaks."""
    group = [g for _, g in pairs]
    clips = made_clips([y for y, _ in pairs], group)
    if len(set(group)) < folds:
        with pytest.raises(ConfigError, match="need as many groups"):
            split_of(clips, folds=folds, seed=seed)
        return
    split = split_of(clips, folds=folds, seed=seed)
    assert set(split.fold) == set(range(folds))
    assert all(len(set(split.fold[np.array(group) == g])) == 1 for g in set(group))
    assert split.leaked is not None
    assert split.leaked.sum() == 0


@settings(max_examples=40, deadline=None)
@given(CLIPS, st.integers(2, 5))
def test_inner_splits_come_from_the_training_clips_alone(pairs: list[tuple[int, int]], folds: int) -> None:
    """What early stopping watches is neither tested nor trained on, and shares no group with either where groups are kept."""
    group = np.array([g for _, g in pairs])
    clips = made_clips([y for y, _ in pairs], list(group))
    for kept_together in ("auto", "none"):
        if kept_together == "auto" and len(set(group)) < folds:
            continue
        split = split_of(clips, folds=folds, group=kept_together)
        for fold in range(folds):
            train, inner = splits.inner_split(clips, split, fold, seed=0, share=0.2)
            assert sorted([*train, *inner]) == sorted(split.train(fold))
            assert not set(train) & set(inner)
            if kept_together == "auto" and len(set(group[split.train(fold)])) > 1:
                assert not set(group[train]) & set(group[inner])


def test_classes_are_spread_as_evenly_as_can_be() -> None:
    """Without groups, each class's clips per fold differ by at most one."""
    y = [0] * 23 + [1] * 14 + [2] * 6
    split = split_of(made_clips(y, None), folds=5)
    for label in range(3):
        counts = np.bincount(split.fold[np.array(y) == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_grouped_folds_are_stratified() -> None:
    """With many small groups, every fold's share of a rare class is near the corpus' own."""
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.2).astype(int)
    split = split_of(made_clips(list(y), list(np.arange(400) // 4)), folds=5)
    shares = [y[split.test(fold)].mean() for fold in range(5)]
    assert max(abs(share - y.mean()) for share in shares) < 0.03
    assert np.bincount(split.fold).max() - np.bincount(split.fold).min() <= 8


def test_leaks_are_counted_one_clip_at_a_time() -> None:
    """The count equals a search, for every tested clip, for a training clip of its group."""
    rng = np.random.default_rng(0)
    group = list(rng.integers(0, 12, 50))
    split = split_of(made_clips(list(rng.integers(0, 2, 50)), group), folds=5, group="none")
    expected = [
        sum(
            any(group[other] == group[clip] and split.fold[other] != fold for other in range(50))
            for clip in split.test(fold)
        )
        for fold in range(5)
    ]
    assert split.leaked is not None
    assert split.leaked.tolist() == expected
    assert any(note.startswith(f"LEAK: {sum(expected)} of 50 tested clips") for note in split.notes)


def test_a_split_survives_reordering(make_store: Callable[..., Store]) -> None:
    """Folds belong to clip ids: a store with its clips in another order gives every id the same fold."""
    corpus = make_store().corpus("made")
    clips = clips_module.labelled(corpus, "label", "auto")
    order = np.random.default_rng(0).permutation(corpus.n_clips)

    class Reordered:
        """The same corpus with its rows in another order."""

        name, n_clips, clip, listing = "made", corpus.n_clips, corpus.clip[order], corpus.listing
        columns: ClassVar = {
            name: type(column)(name, column.role, "", column.values[order]) for name, column in corpus.columns.items()
        }

    other = clips_module.labelled(Reordered(), "label", "auto")  # type: ignore[arg-type]
    assert list(other.ids) == list(clips.ids)
    assert splits.assign(other, SplitConfig())[0].tolist() == splits.assign(clips, SplitConfig())[0].tolist()
    assert other.content == clips.content


def test_seeds_decide_folds() -> None:
    """The same seed gives the same folds, another seed others."""
    clips = made_clips([i % 2 for i in range(40)], None)
    assert split_of(clips, seed=1).content == split_of(clips, seed=1).content
    assert split_of(clips, seed=1).content != split_of(clips, seed=2).content


def test_train_dev_test_columns_are_kept() -> None:
    """Clips marked train, devel and test take just those parts; unmarked ones take none."""
    names = ["train"] * 6 + ["devel"] * 3 + ["test"] * 3 + [""]
    clips = made_clips([i % 2 for i in range(13)], None, names)
    split = split_of(clips, kind="predefined")
    assert (split.n_folds, split.test(0).tolist(), split.dev.tolist()) == (1, [9, 10, 11], [6, 7, 8])
    train, inner = splits.inner_split(clips, split, 0, seed=0, share=0.2)
    assert (train.tolist(), inner.tolist()) == ([0, 1, 2, 3, 4, 5], [6, 7, 8])


@pytest.mark.parametrize(("speaker", "kept"), [([0, 0, 1, 1, 2, 2, 3, 3] * 2, True), ([0, 1, 2, 3] * 4, False)])
def test_the_corpus_own_split_may_keep_groups(speaker: list[int], *, kept: bool) -> None:
    """Where no tested speaker is trained on, inner parts keep speakers apart, too; `group: none` lets them mix."""
    names = ["train"] * 6 + ["test"] * 2
    clips = made_clips([0, 1] * 8, speaker, names * 2)
    split = split_of(clips, kind="predefined")
    assert split.grouped is kept
    assert not split_of(clips, kind="predefined", group="none").grouped
    train, inner = splits.inner_split(clips, split, 0, seed=0, share=0.3)
    assert clips.group is not None
    if kept:
        assert not set(clips.group[train]) & set(clips.group[inner])


def test_named_folds_are_kept() -> None:
    """A split column of other names is one fold a name."""
    split = split_of(made_clips([0, 1, 0, 1], None, ["b", "a", "b", "a"]), kind="predefined")
    assert (split.n_folds, split.fold.tolist()) == (2, [1, 0, 1, 0])


def test_leaving_one_group_out_tests_each_group_alone() -> None:
    """Every fold is one group."""
    split = split_of(made_clips([0, 1] * 6, [0, 0, 1, 1, 2, 2] * 2), kind="logo")
    assert split.n_folds == 3
    assert [len(split.test(fold)) for fold in range(3)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("group", "config", "message"),
    [
        ([0, 1, 2] * 4, {"folds": 5}, "5 folds need as many groups, column 'speaker' has 3"),
        (None, {"kind": "logo"}, "needs a group column"),
        (None, {"kind": "predefined"}, "needs a split column"),
        (None, {"folds": 13}, "13 folds need as many clips, there are 12"),
    ],
)
def test_splits_that_cannot_be_are_refused(group: list[int] | None, config: dict[str, Any], message: str) -> None:
    """Each says what is missing and what to write instead."""
    with pytest.raises(ConfigError, match=message):
        split_of(made_clips([0, 1] * 6, group), **config)


def test_rare_classes_are_named() -> None:
    """A class of one clip is kept and said to be unlearnable, one in fewer folds than there are said to be tested in few."""
    clips = made_clips([0] * 20 + [1] * 3 + [2], None)
    notes = doubtful(clips, split_of(clips, folds=5), "label")
    assert any("'class 2' (1 clip) is never both trained on and tested" in note for note in notes)
    assert any("'class 1' (3 clips) is tested in 3 of 5 folds" in note for note in notes)
