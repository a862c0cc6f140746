"""Who is trained on and who is tested: folds by clip id, deterministic from a seed, groups never in two folds.

Our own dealing, not scikit-learn's, so that a split is the same in every version and known without importing it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import ConfigError, TrainError
from .clips import Clips
from .config import SplitConfig
from .design import UNNAMED
from .sameaudio import Audio, audio_notes, kept_together
from .seeding import generator

TRAIN_ONLY, DEV, UNUSED = -1, -2, -3
ROLES = {"train": TRAIN_ONLY, "training": TRAIN_ONLY, "dev": DEV, "devel": DEV, "development": DEV, "val": DEV}
ROLES |= {"valid": DEV, "validation": DEV, "test": 0, "testing": 0, "eval": 0}


@dataclass(frozen=True)
class Split:
    """Folds of the usable clips.

    Attributes:
        fold: int16 [clip], the fold in which a clip is tested; TRAIN_ONLY, DEV (early stopping) or UNUSED otherwise.
        n_folds: number of folds.
        text: one sentence: what it is and what is done about groups.
        grouped: whether no group is both trained on and tested, and groups are not to be ignored.
        leaked: tested clips whose group is also trained on, int64 [fold]; None where no groups are known.
        notes: what a reader must know.
        heard: tested clips whose audio is also trained on: the same file, or an overlapping part of one, int64 [fold]; None
            where no content hashes are known.
    """

    fold: np.ndarray
    n_folds: int
    text: str
    grouped: bool
    leaked: np.ndarray | None
    notes: tuple[str, ...]
    ids: np.ndarray
    heard: np.ndarray | None = None

    @cached_property
    def content(self) -> str:
        """Hash of which clip id is tested in which fold."""
        digest = hashlib.sha256()
        for clip, fold in zip(self.ids, self.fold, strict=True):
            digest.update(f"{clip}\0{fold}\n".encode())
        return digest.hexdigest()

    def test(self, fold: int) -> np.ndarray:
        """Return the clips tested in a fold, int64 [test]."""
        return np.flatnonzero(self.fold == fold)

    def train(self, fold: int) -> np.ndarray:
        """Return the clips that may be trained on, dev clips apart, int64 [train]."""
        return np.flatnonzero((self.fold != fold) & (self.fold >= TRAIN_ONLY))

    @property
    def dev(self) -> np.ndarray:
        """Clips that the corpus sets aside for early stopping, int64 [dev]."""
        return np.flatnonzero(self.fold == DEV)


def assign(clips: Clips, config: SplitConfig, *, exact: bool = True) -> tuple[np.ndarray, int, str, bool]:
    """Return fold [clip], number of folds, a sentence, and whether groups are kept together.

    Args:
        exact: refuse fewer groups than folds; otherwise there are as many folds as groups.

    Raises:
        ConfigError: too few clips or groups, or no column to split by.
    """
    grouped = clips.group is not None and config.group != "none"
    if config.source is not None:
        from .foldfile import folds_from

        return folds_from(clips, config)
    if config.kind == "predefined":
        fold, n_folds, text = _predefined(clips, config.tested)
        return fold, n_folds, text, keeps_groups(clips, config, fold, n_folds)
    if config.kind == "logo":
        return (*_leave_one_out(clips), True)
    rng = generator(config.seed, "split")
    unit = kept_together(clips, groups=grouped) if config.group != "none" else None
    if grouped and unit is not None:
        names, group = np.unique(unit, return_inverse=True)
        if not exact and 2 <= len(names) < config.folds:
            few = f"{len(names)} stratified folds, one for each {clips.group_column}: {config.folds} need as many"
            return deal_groups(clips.strata, group, len(names), rng), len(names), few, True
        if len(names) < config.folds:
            raise ConfigError(
                f"train.split, corpus {clips.corpus!r}: {config.folds} folds need as many groups, column "
                f"{clips.group_column!r} has {len(names)}. Use `folds: {max(2, len(names))}`, `kind: logo`, or `group: none`."
            )
        text = f"{config.folds} stratified folds, no {clips.group_column} in two of them ({len(names)} groups)"
        return deal_groups(clips.strata, group, config.folds, rng), config.folds, text, True
    if len(clips) < config.folds:
        raise ConfigError(
            f"train.split, corpus {clips.corpus!r}: {config.folds} folds need as many clips, there are {len(clips)}."
            f" Use fewer folds."
        )
    text = f"{config.folds} stratified folds of single clips"
    if unit is not None:
        group = np.unique(unit, return_inverse=True)[1]
        return deal_groups(clips.strata, group, config.folds, rng), config.folds, f"{text}, copies together", False
    return deal(clips.strata, config.folds, rng), config.folds, text, False


def finish(clips: Clips, fold: np.ndarray, n_folds: int, text: str, grouped: bool, *, target: str = "") -> Split:
    """Return the split of `clips`, with its leaks counted.

    Args:
        target: the column to predict; where that is the group column, to know the group is what is asked, and none leaks.
    """
    leaked = None
    if clips.group is not None and target != clips.group_column:
        leaked = count_leaks(fold, n_folds, clips.group)
    heard = None if clips.audio is None else count_heard(fold, n_folds, clips.audio)
    parts = clips.audio is not None and len(np.unique(clips.audio.file)) < len(clips)
    n_of_file = int(count_leaks(fold, n_folds, clips.audio.file).sum()) if parts and clips.audio else 0
    notes = audio_notes(clips, fold, heard, n_of_file)
    if leaked is not None and leaked.any():
        notes.append(
            f"LEAK: {int(leaked.sum())} of {int((fold >= 0).sum())} tested clips have a clip of the same "
            f"{clips.group_column} among those trained on, so scores reward knowing the {clips.group_column}. "
            f"`split: {{kind: kfold, group: {clips.group_column}}}` keeps them apart."
        )
    empty = [str(index) for index in range(n_folds) if not np.any(fold == index)]
    if empty:
        notes.append(f"folds {', '.join(empty)} have no usable clip to test and are left out of the means")
    if clips.group is None:
        notes.append("no group (speaker) column is known: clips of one speaker may stand on both sides of a fold")
    else:
        n_unnamed = sum(str(name).startswith(UNNAMED) for name in clips.group)
        if n_unnamed:
            notes.append(f"{n_unnamed} clips name no {clips.group_column}; each counts as a group of its own")
    return Split(fold, n_folds, text, grouped, leaked, tuple(notes), clips.ids, heard)


def count_heard(fold: np.ndarray, n_folds: int, audio: Audio) -> np.ndarray:
    """Return how many tested clips of each fold share audio with a clip in training or dev, int64 [fold]."""
    found = np.zeros(n_folds, dtype=np.int64)
    if audio.shared.any():
        for index in range(n_folds):
            others = np.flatnonzero((fold != index) & (fold > UNUSED))
            found[index] = int(audio.heard(np.flatnonzero(fold == index), others).sum())
    return found


def deal(y: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return a fold for every clip, int16 [clip]: each class is shuffled and dealt out in turn, like cards."""
    fold = np.empty(len(y), dtype=np.int16)
    shuffled = rng.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    fold[by_class] = np.arange(len(y)) % n_folds
    return fold


def deal_groups(y: np.ndarray, group: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return a fold for every clip, int16 [clip], whole groups at a time, classes and sizes as even as they can be.

    Large groups first, each to the fold that keeps the variance over folds of the classes' shares (and of the number of
    clips) smallest: with shares v [fold, class] and the group's d [class], that is the fold with the least v . d.

    Args:
        y: int64 [clip]; group: int64 [clip], 0 to n_groups - 1.
    """
    counts = np.zeros((int(group.max()) + 1, int(y.max()) + 2))
    np.add.at(counts, (group, y), 1)
    counts[:, -1] = counts.sum(1)
    shares = counts / np.maximum(counts.sum(0), 1)
    order = rng.permutation(len(shares))
    order = order[np.argsort(-shares.max(1)[order], kind="stable")]
    held = np.zeros((n_folds, shares.shape[1]))
    fold_of = np.empty(len(shares), dtype=np.int16)
    for name in order:
        best = int(np.argmin(held @ shares[name]))  # an empty fold gives 0, so none stays empty
        fold_of[name] = best
        held[best] += shares[name]
    return np.asarray(fold_of[group])


def count_leaks(fold: np.ndarray, n_folds: int, group: np.ndarray) -> np.ndarray:
    """Return how many tested clips of each fold have a clip of the same group in training or dev, int64 [fold]."""
    _, number = np.unique(group.astype(str), return_inverse=True)
    leaked = np.zeros(n_folds, dtype=np.int64)
    for index in range(n_folds):
        seen = np.zeros(int(number.max()) + 1, dtype=bool)
        seen[number[(fold != index) & (fold > UNUSED)]] = True
        leaked[index] = int(seen[number[fold == index]].sum())
    return leaked


def keeps_groups(clips: Clips, config: SplitConfig, fold: np.ndarray, n_folds: int) -> bool:
    """Return whether folds that others made keep known groups together: none is both trained on and tested."""
    if clips.group is None or config.group == "none":
        return False
    return not count_leaks(fold, n_folds, clips.group).any()


def inner_split(
    clips: Clips, split: Split, fold: int, *, seed: int, share: float, rows: np.ndarray | None = None, name: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Return (trained on, watched by early stopping), int64 indices; both come from the training clips of `fold`.

    Whole groups where the split keeps groups together. The corpus' own dev clips where it has them. Nothing is watched
    where there is too little to set aside.

    Args:
        rows: part of the training clips of the fold, where a model is given no more; `name` sets its draw apart.
    """
    train = split.train(fold) if rows is None else rows
    if len(split.dev):
        return train, split.dev
    n_parts = max(2, round(1 / share))
    rng = generator(seed, fold, "inner") if not name else generator(seed, fold, name, "inner")
    part, n_parts = _parts(clips, split, train, n_parts, rng)
    return (train, train[:0]) if part is None else _smallest_part(train, part, n_parts, rng)


def inner_folds(
    clips: Clips, split: Split, fold: int, rows: np.ndarray, *, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (trained on, predicted) of each inner fold of `rows`, some training clips of `fold`, int64 each.

    What a search chooses by and what stacking is fitted on: the same for every candidate, head and experiment.

    Raises:
        TrainError: too few clips.
    """
    rng = generator(seed, fold, len(rows), "inner folds")
    part, n_parts = _parts(clips, split, rows, folds, rng)
    if part is None:
        raise TrainError(
            f"corpus {clips.corpus!r}, fold {fold}: {len(rows)} training clips are too few for {folds} inner folds. "
            f"Use fewer `inner_folds`, or no search and no stacking."
        )
    return [(rows[part != index], rows[part == index]) for index in range(n_parts) if (part == index).any()]


def _parts(
    clips: Clips, split: Split, rows: np.ndarray, n_parts: int, rng: np.random.Generator
) -> tuple[np.ndarray | None, int]:
    """Return the part of each of `rows`, whole groups where the split keeps them together, and how many; or too little."""
    unit = kept_together(clips, groups=split.grouped)
    if split.grouped and unit is not None:
        names, group = np.unique(unit[rows], return_inverse=True)
        if len(names) >= 2:
            n_parts = min(n_parts, len(names))
            return deal_groups(clips.strata[rows], group, n_parts, rng), n_parts
        unit = kept_together(clips, groups=False)
    if len(rows) < 2 * n_parts:
        return None, n_parts
    if unit is not None:
        names, group = np.unique(unit[rows], return_inverse=True)
        if len(names) >= n_parts:
            return deal_groups(clips.strata[rows], group, n_parts, rng), n_parts
    return deal(clips.strata[rows], n_parts, rng), n_parts


def _smallest_part(
    train: np.ndarray, part: np.ndarray, n_parts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return all parts but one, and that one: the one nearest to an even share, so that one huge group stays trained on."""
    sizes = np.bincount(part, minlength=n_parts)
    distance = np.abs(sizes - len(train) / n_parts)
    candidates = np.flatnonzero(distance == distance.min())
    chosen = int(rng.choice(candidates))
    return train[part != chosen], train[part == chosen]


def _predefined(clips: Clips, tested: str) -> tuple[np.ndarray, int, str]:
    if clips.split is None:
        raise ConfigError(
            f"train.split, corpus {clips.corpus!r}: `kind: predefined` needs a split column, the corpus has none. "
            f"Use `kind: kfold`."
        )
    values = [str(value).lower() for value in clips.split]
    names = sorted({value for value in values if value})
    if set(names) <= set(ROLES):
        return roles(clips.corpus, values, tested)
    if len(names) < 2:
        raise ConfigError(
            f"train.split, corpus {clips.corpus!r}: expected at least two folds in its split column, got {names}. "
            f"Use `kind: kfold`."
        )
    number = {name: index for index, name in enumerate(names)} | {"": UNUSED}
    return (
        np.array([number[value] for value in values], dtype=np.int16),
        len(names),
        f"the corpus' own {len(names)} folds",
    )


def roles(corpus: str, values: list[str], tested: str) -> tuple[np.ndarray, int, str]:
    """Return the fold of clips marked train, dev and test; with `tested` dev, no clip of the test part is used."""
    fold = np.array([ROLES.get(value, UNUSED) for value in values], dtype=np.int16)
    names = ", ".join(sorted({value for value in values if value}))
    if tested == "dev":
        fold = np.select([fold == DEV, fold == 0], [0, UNUSED], fold).astype(np.int16)
    if not (fold == TRAIN_ONLY).any() or not (fold == 0).any():
        raise ConfigError(
            f"train.split, corpus {corpus!r}: expected clips with a value, marked train and {tested}, got {names}. "
            f"Use `tested: {'test' if tested == 'dev' else 'dev'}`, `kind: kfold`, or complete the split column."
        )
    watched = "; what stops early is watched on part of train" if tested == "dev" else ""
    return fold, 1, f"the corpus' own {names.replace(', ', '/')}, tested on {tested}{watched}"


def _leave_one_out(clips: Clips) -> tuple[np.ndarray, int, str]:
    if clips.group is None:
        raise ConfigError(
            f"train.split, corpus {clips.corpus!r}: `kind: logo` needs a group column, the corpus has none. "
            f"Use `kind: kfold`, or name a column as `group`."
        )
    unit = kept_together(clips, groups=True)
    assert unit is not None
    names, fold = np.unique(unit, return_inverse=True)
    if len(names) < 2:
        raise ConfigError(
            f"train.split, corpus {clips.corpus!r}: `kind: logo` needs two groups, {clips.group_column!r} has one. "
            f"Use `kind: kfold` with `group: none`."
        )
    return fold.astype(np.int16), len(names), f"leave one {clips.group_column} out ({len(names)} folds)"
