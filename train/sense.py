"""Experiments that cannot mean what their numbers seem to say: found before anything is trained.

Where no fold can learn anything that it tests, the experiment is refused; where some clips, classes or folds are in vain, it is
said, with their number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..words import plural, some
from .clips import Clips
from .splits import Split

FEW = 5
"""Tested clips below which a fold is named: each of them moves its accuracy by 20 points or more."""
_SHOWN = 5


def in_vain(clips: Clips, split: Split) -> np.ndarray:
    """Return which clips are tested in a fold whose training clips hold none of their class, bool [clip]."""
    found = np.zeros(len(clips), dtype=bool)
    if clips.targets:
        return found
    for fold in range(split.n_folds):
        test = split.test(fold)
        learnt = np.bincount(clips.y[split.train(fold)], minlength=len(clips.classes)) > 0
        found[test] = ~learnt[clips.y[test]]
    return found


def senseless(clips: Clips, split: Split, target: str) -> list[str]:
    """Return why nothing can be learnt that is tested: one sentence each, with what to do."""
    where = f"train.target, corpus {clips.corpus!r}"
    n_tested = int((split.fold >= 0).sum())
    if clips.targets:
        return [
            f"{where}: column {name!r} has one value for all {len(clips)} clips: there is nothing to predict. Name another column."
            for name, values in zip(clips.targets, clips.y.T, strict=True)
            if len(np.unique(values)) < 2
        ]
    if n_tested and in_vain(clips, split).sum() == n_tested:
        return [
            f"{where}: none of the {n_tested} tested clips has a clip of its {target!r} among those that its fold trains on"
            f"{_because(clips, split, target)}"
        ]
    folds = [fold for fold in range(split.n_folds) if len(split.test(fold))]
    if folds and all(len(np.unique(clips.y[split.train(fold)])) < 2 for fold in folds):
        return [
            f"{where}: in each of {len(folds)} folds all training clips are of one class: there is nothing to tell apart "
            f"({n_tested} clips would be tested). Use another split."
        ]
    return []


def _because(clips: Clips, split: Split, target: str) -> str:
    column = clips.group_column
    if target == column:
        return (
            f": {column!r} is also the column whose values are kept apart. Name another `group`, or `group: none` to tell known "
            f"{column}s apart."
        )
    if split.grouped and clips.group is not None and not _several_groups(clips).any():
        return (
            f": each class comes from one {column} alone, and no {column} is both trained on and tested. Record more {column}s "
            f"a class; with `group: none` a score would be that of knowing the {column}."
        )
    return ". Use another split or target."


def _several_groups(clips: Clips) -> np.ndarray:
    """Return which classes come from several groups, bool [class]."""
    assert clips.group is not None
    pairs = np.unique(np.stack([clips.y, np.unique(clips.group.astype(str), return_inverse=True)[1]]), axis=1)
    return np.asarray(np.bincount(pairs[0], minlength=len(clips.classes)) > 1)


def doubtful(clips: Clips, split: Split, target: str) -> list[str]:
    """Return what a reader must know of clips, classes and folds that cannot show anything."""
    return [
        *_classes(clips, split),
        *_one_group(clips, split, target),
        *_small_folds(clips, split),
        *_two_labels(clips),
        *_two_names(clips),
        *_altered(clips, split),
    ]


def _classes(clips: Clips, split: Split) -> Iterator[str]:
    """Say which classes are tested where they were not trained on, and which stand in few folds."""
    vain = in_vain(clips, split)
    lines, rest = [], 0
    for index, name in enumerate(clips.classes):
        mine = clips.y == index
        tested = split.fold[mine & (split.fold >= 0)]
        lost = int((vain & mine).sum())
        count = plural(int(mine.sum()), "clip")
        if lost:  # its clips are all in one fold, so it is all of them
            lines.append(f"class {name!r} ({count}) is never both trained on and tested: it can only be got wrong")
            rest += lost
        elif len(np.unique(tested)) < split.n_folds <= 20:
            few = f"is tested in {len(np.unique(tested))} of {split.n_folds} folds; the others score without it"
            lines.append(f"class {name!r} ({count}) {few}")
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"and {len(lines) - _SHOWN} more classes are tested in few folds, or where none of them was trained on"
    if rest:
        n_tested = int((split.fold >= 0).sum())
        yield f"{rest} of {n_tested} tested clips are of a class that their fold does not train on: no model can get them right"


def _one_group(clips: Clips, split: Split, target: str) -> Iterator[str]:
    if clips.group is None or clips.targets or split.grouped:
        return
    column = clips.group_column
    if target == column:
        yield f"the target is {column!r} itself: known {column}s are told apart, nothing is said of new ones"
        return
    alone = ~_several_groups(clips)
    if alone.any():
        names = [name for name, one in zip(clips.classes, alone, strict=True) if one]
        n_clips = plural(int(clips.counts[alone].sum()), "clip")
        which = (
            "every class comes"
            if alone.all()
            else f"{some([repr(name) for name in names])} come{'s' * (len(names) == 1)}"
        )
        yield f"{which} from one {column} alone ({n_clips}): knowing the {column} is knowing the class"


def _small_folds(clips: Clips, split: Split) -> Iterator[str]:
    sizes = {fold: len(split.test(fold)) for fold in range(split.n_folds)}
    small = {fold: size for fold, size in sizes.items() if 0 < size < FEW}
    if small:
        said = some([f"fold {fold}: {size}" for fold, size in small.items()])
        of_two = "; a correlation of two clips is 1 or -1" if clips.targets and min(small.values()) < 3 else ""
        yield (
            f"{len(small)} of {split.n_folds} folds test fewer than {FEW} clips ({said}): the score of such a fold says "
            f"next to nothing, and counts in the mean over folds as much as any other{of_two}"
        )


def _two_labels(clips: Clips) -> Iterator[str]:
    """Say which clips hold the same audio as one of another label, or of another value."""
    if clips.audio is None or not clips.audio.shared.any():
        return
    same = clips.audio.same
    labels = clips.y if clips.y.ndim == 1 else np.unique(clips.y, axis=0, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([same, labels]), axis=1)
    torn = np.bincount(pairs[0], minlength=int(same.max()) + 1) > 1
    mine = np.flatnonzero(torn[same])
    if len(mine):
        ids = some([repr(str(name)) for name in clips.ids[mine]])
        yield (
            f"{len(mine)} clips hold the same audio as a clip with another {'value' if clips.targets else 'label'} "
            f"({int(torn.sum())} recordings: {ids}): they cannot all be right. Correct the table, or leave them out"
        )


def _two_names(clips: Clips) -> Iterator[str]:
    """Say which clips hold audio that stands under several names of the group column."""
    if clips.audio is None or clips.group is None or not clips.audio.shared.any():
        return
    linked, names = clips.audio.linked, clips.group.astype(str)
    _, number = np.unique(names, return_inverse=True)
    pairs = np.unique(np.stack([linked, number]), axis=1)
    several = (np.bincount(pairs[0], minlength=int(linked.max()) + 1) > 1)[linked]
    if several.any():
        called = some([repr(str(name)) for name in dict.fromkeys(names[several])])
        yield (
            f"{int(several.sum())} clips hold audio that stands under several names of {clips.group_column} "
            f"({called}): are they one? Where groups are kept apart, these count as one"
        )


def _altered(clips: Clips, split: Split) -> Iterator[str]:
    """Say which tested clips are named like altered copies, or the original, of one that is trained on: a guess from names."""
    from .sameaudio import originals
    from .splits import count_leaks

    number = originals(clips.ids)
    if len(np.unique(number)) == len(clips):
        return
    n = int(count_leaks(split.fold, split.n_folds, number).sum())
    if n:
        yield (
            f"{n} of {int((split.fold >= 0).sum())} tested clips are named as if they were altered copies, or the original, "
            f"of a clip that is trained on (as a_noise.wav is of a.wav). Bytes cannot tell; if it is so, name a column "
            f"that holds the original as `group`"
        )
