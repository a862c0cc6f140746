"""Which clips of a corpus an experiment uses, and why the others are not among them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, TrainError, nearest

if TYPE_CHECKING:
    from ..store import Corpus, EncoderGroup

_STATUS = {0: "not extracted yet", 2: "extraction failed", 3: "audio changed since extraction"}


@dataclass(frozen=True)
class Clips:
    """The usable clips of a corpus, in order of their ids, so that nothing depends on their order in the store.

    Attributes:
        corpus: its name.
        rows: rows in the store, int64 [clip].
        ids: str [clip].
        y: index into `classes`, int64 [clip].
        classes: names in alphabetical order.
        group: group of each clip, str [clip]; None where no group column is known. Unnamed clips are a group each.
        group_column: the column `group` comes from.
        split: value of the corpus' own split column, str [clip], or None.
        n_total: clips registered in the corpus.
        excluded: reason and number of clips, most first; a clip counts once, under its first reason.
    """

    corpus: str
    rows: np.ndarray
    ids: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    group: np.ndarray | None
    group_column: str | None
    split: np.ndarray | None
    n_total: int
    excluded: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def used_text(self) -> str:
        """ "455 of 457 clips used", with the reasons where some are not."""
        text = f"{len(self)} of {self.n_total} clips used"
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.excluded)
        return f"{text} ({reasons})" if reasons else text

    @cached_property
    def counts(self) -> np.ndarray:
        """Clips of each class, int64 [class]."""
        return np.bincount(self.y, minlength=len(self.classes))

    @cached_property
    def content(self) -> str:
        """Hash of ids, labels and groups."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        group = self.group if self.group is not None else np.full(len(self), "", dtype=object)
        for clip, label, name in zip(self.ids, self.y, group, strict=True):
            digest.update(f"{clip}\0{label}\0{name}\n".encode())
        return digest.hexdigest()

    def take(self, keep: np.ndarray, excluded: tuple[tuple[str, int], ...]) -> Clips:
        """Return the clips where `keep` is true."""
        return Clips(
            self.corpus,
            self.rows[keep],
            self.ids[keep],
            self.y[keep],
            self.classes,
            None if self.group is None else self.group[keep],
            self.group_column,
            None if self.split is None else self.split[keep],
            self.n_total,
            (*self.excluded, *excluded),
        )


def labelled(corpus: Corpus, target: str, group: str) -> Clips:
    """Return the clips that carry a label.

    Raises:
        ConfigError: no such column, not a class column, or fewer than two classes.
    """
    labels = _labels(corpus, target)
    has_label = labels != ""
    order = np.argsort(corpus.clip.astype(str), kind="stable")
    rows = order[has_label[order]]
    classes, y = np.unique(labels[rows].astype(str), return_inverse=True)
    if len(classes) < 2:
        found = f"only {str(classes[0])!r}" if len(classes) else "no label at all"
        raise ConfigError(
            f"corpus {corpus.name!r}, column {target!r}: expected at least two classes, got {found}. "
            f"Name another column as `target`."
        )
    ids = corpus.clip[rows]
    name = group_column(corpus, group)
    missing = int((~has_label).sum())
    return Clips(
        corpus.name,
        rows.astype(np.int64),
        ids,
        y.astype(np.int64),
        tuple(str(label) for label in classes),
        None if name is None else _groups(corpus, name, rows),
        name,
        _split_column(corpus, rows),
        corpus.n_clips,
        ((f"without a value in {target!r}", missing),) if missing else (),
    )


def usable(clips: Clips, encoders: list[EncoderGroup]) -> Clips:
    """Return the clips that every one of `encoders` has embedded, so that their scores compare the same clips.

    Raises:
        TrainError: no clip is left.
    """
    keep = np.ones(len(clips), dtype=bool)
    reasons: Counter[str] = Counter()
    for encoder in encoders:
        ledger = encoder.ledger()
        status = ledger.status[clips.rows]
        for index in np.flatnonzero(keep & (status != 1)):
            why = str(ledger.reason[clips.rows[index]])
            reasons[f"{encoder.name}: {_STATUS[int(status[index])]}{f': {why}' if why else ''}"] += 1
        keep &= status == 1
    kept = clips.take(keep, tuple(reasons.most_common()))
    if not len(kept):
        raise TrainError(
            f"corpus {clips.corpus!r}: no clip has an embedding by every encoder ({kept.used_text}). "
            f"Run `voxcache extract`, or choose fewer encoders."
        )
    return kept


def group_column(corpus: Corpus, group: str) -> str | None:
    """Return the name of the column that groups clips; the corpus' own also where `group` is "none", to count leaks.

    Raises:
        ConfigError: a column was named that is not there.
    """
    if group not in ("auto", "none"):
        if group in corpus.columns:
            return group
        known = sorted(corpus.columns)
        raise ConfigError(
            f"train.split.group, corpus {corpus.name!r}: no column {group!r}{nearest(group, known)} "
            f"Columns: {', '.join(known) or 'none'}."
        )
    named = [name for name, column in corpus.columns.items() if column.role == "group" and np.any(column.values != "")]
    return "speaker" if "speaker" in named else (named[0] if named else None)


def _labels(corpus: Corpus, target: str) -> np.ndarray:
    if target not in corpus.columns:
        known = sorted(corpus.columns)
        raise ConfigError(
            f"train.target, corpus {corpus.name!r}: no column {target!r}{nearest(target, known)} "
            f"Columns: {', '.join(known) or 'none'}."
        )
    column = corpus.columns[target]
    if column.values.dtype.kind == "f":
        raise ConfigError(
            f"train.target, corpus {corpus.name!r}: column {target!r} holds numbers; expected classes. "
            f"Name a column of labels."
        )
    return column.values


def _groups(corpus: Corpus, name: str, rows: np.ndarray) -> np.ndarray:
    values = corpus.columns[name].values[rows]
    named = [str(value) not in ("", "nan") for value in values]
    return np.array(
        [
            str(v) if known else f"(unnamed) {clip}"
            for v, known, clip in zip(values, named, corpus.clip[rows], strict=True)
        ],
        dtype=object,
    )


def _split_column(corpus: Corpus, rows: np.ndarray) -> np.ndarray | None:
    for column in corpus.columns.values():
        if column.role == "split":
            return np.asarray([str(value) for value in column.values[rows]], dtype=object)
    return None
