"""Which clips of a corpus an experiment uses, and why the others are not among them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, TrainError, nearest
from ..store.schema import WHY_NOT
from ..words import together, with_names
from .design import UNNAMED
from .listed import Listed, listed
from .sameaudio import Audio
from .scores import METRICS
from .targets import TARGET_METRICS

if TYPE_CHECKING:
    from ..store import Corpus, EncoderGroup


@dataclass(frozen=True)
class Clips:
    """The usable clips of a corpus, in order of their ids, so that nothing depends on their order in the store.

    Attributes:
        corpus: its name.
        rows: rows in the store, int64 [clip].
        ids: str [clip].
        y: index into `classes`, int64 [clip]; or continuous targets, float64 [clip, target].
        classes: names in alphabetical order; none where targets are predicted.
        group: group of each clip, str [clip]; None where no group column is known. Unnamed clips are a group each.
        group_column: the column `group` comes from.
        split: value of the corpus' own split column, str [clip], or None.
        n_total: clips of the corpus that are listed.
        excluded: reason and number of clips, most first; a clip counts once, under its first reason.
        targets: names of the continuous targets; none where classes are predicted.
        audio: where the audio of each clip lies; None where that is not known.
        beside: reason and number of clips that the store has, but that are not listed.
        n_merged: how many of those listed a merge brought in.
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
    targets: tuple[str, ...] = ()
    audio: Audio | None = None
    beside: tuple[tuple[str, int], ...] = ()
    n_merged: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def used_text(self) -> str:
        """ "455 of 457 clips used", with the reasons where some are not, and what the store has besides."""
        text = f"{len(self)} of {self.n_total} clips used"
        if self.excluded:
            text += f" ({self.left_out})"
        if self.n_merged:
            text += f"; {self.n_merged} of the {self.n_total} were brought in by a merge"
        return f"{text}; left out besides: {self.besides}" if self.beside else text

    @property
    def left_out(self) -> str:
        """Listed clips that are not used, by reason: "2 without a value in 'label'; 1 mfcc: not extracted yet"."""
        return "; ".join(f"{count} {reason}" for reason, count in self.excluded)

    @property
    def besides(self) -> str:
        """Clips of the store that are not listed, by reason: "10 not listed now"."""
        return "; ".join(f"{count} {reason}" for reason, count in self.beside)

    @cached_property
    def counts(self) -> np.ndarray:
        """Clips of each class, int64 [class]."""
        return np.bincount(self.y, minlength=len(self.classes)) if self.classes else np.zeros(0, dtype=np.int64)

    @property
    def strata(self) -> np.ndarray:
        """What folds hold equal shares of, int64 [clip]: classes; with continuous targets clips alone."""
        return np.zeros(len(self), dtype=np.int64) if self.targets else self.y

    @property
    def n_outputs(self) -> int:
        """Numbers predicted of a clip: one a class, or one a target."""
        return len(self.targets or self.classes)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return TARGET_METRICS if self.targets else METRICS

    @property
    def main_metric(self) -> str:
        """The score that says which of several is best."""
        return "spearman" if self.targets else "uar"

    @cached_property
    def content(self) -> str:
        """Hash of ids, labels and groups."""
        digest = hashlib.sha256("\0".join(self.targets or self.classes).encode())
        group = self.group if self.group is not None else np.full(len(self), "", dtype=object)
        for clip, label, name in zip(self.ids, self.y.tolist(), group, strict=True):
            digest.update(f"{clip}\0{label}\0{name}\n".encode())
        return digest.hexdigest()

    def take(self, keep: np.ndarray, excluded: tuple[tuple[str, int], ...]) -> Clips:
        """Return the clips where `keep` is true."""
        return replace(
            self,
            rows=self.rows[keep],
            ids=self.ids[keep],
            y=self.y[keep],
            group=None if self.group is None else self.group[keep],
            split=None if self.split is None else self.split[keep],
            audio=None if self.audio is None else self.audio.take(keep),
            excluded=(*self.excluded, *excluded),
        )


def labelled(corpus: Corpus, target: str | tuple[str, ...], group: str, chosen: Listed | None = None) -> Clips:
    """Return the clips that are listed (see `listed.listed`) and carry a label, or a value for every continuous target.

    Raises:
        ConfigError: no such column, fewer than two classes, or several columns of which one holds no numbers.
    """
    names = (target,) if isinstance(target, str) else target
    columns = [_column(corpus, name) for name in names]
    chosen = listed(corpus, None) if chosen is None else chosen
    if any(values.dtype.kind == "f" for values in columns) or len(names) > 1:
        y, given = _numbers(corpus, names, columns, chosen.rows)
        classes: tuple[str, ...] = ()
    else:
        y, given = columns[0], chosen.rows & (columns[0] != "")
    order = np.argsort(corpus.clip.astype(str), kind="stable")
    rows = order[given[order]]
    if y.ndim == 2:
        learnt = y[rows]
    else:
        classes, learnt = _classes(corpus, names[0], y[rows])
    column = group_column(corpus, group)
    missing = int((chosen.rows & ~given).sum())
    return Clips(
        corpus.name,
        rows.astype(np.int64),
        corpus.clip[rows],
        learnt,
        classes,
        None if column is None else _groups(corpus, column, rows),
        column,
        _split_column(corpus, rows),
        int(chosen.rows.sum()),
        ((f"without a value in {', '.join(map(repr, names))}", missing),) if missing else (),
        names if y.ndim == 2 else (),
        beside=chosen.beside,
        n_merged=chosen.n_merged,
    )


def _classes(corpus: Corpus, name: str, labels: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    classes, y = np.unique(labels.astype(str), return_inverse=True)
    if len(classes) < 2:
        found = f"only {str(classes[0])!r}" if len(classes) else "no label at all"
        raise ConfigError(
            f"corpus {corpus.name!r}, column {name!r}: expected at least two classes, got {found}. "
            f"Name another column as `target`."
        )
    return tuple(str(label) for label in classes), y.astype(np.int64)


def _numbers(
    corpus: Corpus, names: tuple[str, ...], columns: list[np.ndarray], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return float64 [clip, target], and which clips have them all, bool [clip]."""
    problems = [
        f"train.target, corpus {corpus.name!r}: column {name!r} holds words; expected numbers beside other targets. "
        f"Name columns of numbers, or one column of labels."
        for name, values in zip(names, columns, strict=True)
        if values.dtype.kind != "f"
    ]
    if problems:
        raise ConfigError(problems)
    y = np.stack(columns, axis=1).astype(np.float64)
    given = np.asarray(rows & np.isfinite(y).all(axis=1))
    if given.sum() < 2:
        raise ConfigError(
            f"train.target, corpus {corpus.name!r}: expected clips with a value in each of {', '.join(names)}, got "
            f"{int(given.sum())}. Name other columns."
        )
    return y, given


def usable(clips: Clips, encoders: list[EncoderGroup]) -> Clips:
    """Return the clips that every one of `encoders` has embedded, so that their scores compare the same clips.

    Raises:
        TrainError: no clip is left, or those of one class only.
    """
    keep = np.ones(len(clips), dtype=bool)
    lost: list[tuple[str, str, str, str]] = []
    for encoder in encoders:
        ledger = encoder.ledger()
        status = ledger.status[clips.rows]
        for index in np.flatnonzero(keep & (status != 1)):
            why = str(ledger.reason[clips.rows[index]])
            lost.append((str(clips.ids[index]), encoder.name, WHY_NOT[int(status[index])], why))
        keep &= status == 1
    kept = clips.take(keep, _counted(lost))
    if not len(kept):
        raise TrainError(
            f"corpus {clips.corpus!r}: no clip has an embedding by every encoder ({kept.used_text}). "
            f"Run `voxcache extract`, or choose fewer encoders."
        )
    if kept.classes and len(np.unique(kept.y)) < 2:
        raise TrainError(
            f"corpus {clips.corpus!r}: expected at least two classes among the clips with an embedding by every encoder, got "
            f"only {kept.classes[int(kept.y[0])]!r} ({kept.used_text}). Run `voxcache extract`, or choose fewer encoders."
        )
    return kept


def _counted(lost: list[tuple[str, str, str, str]]) -> tuple[tuple[str, int], ...]:
    """Return reason and number of clips, most first, of (clip, encoder, how it ended, why)."""
    found: list[tuple[str, int]] = []
    for place in dict.fromkeys((encoder, ended) for _, encoder, ended, _ in lost):
        encoder, ended = place
        pairs = ((clip, why) for clip, *rest, why in lost if tuple(rest) == place)
        for why, names in together(pairs).items():
            found.append((f"{encoder}: {ended}{f': {with_names(why, names)}' if why else ''}", len(names)))
    return tuple(sorted(found, key=lambda pair: -pair[1]))


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


def _column(corpus: Corpus, target: str) -> np.ndarray:
    if target not in corpus.columns:
        known = sorted(corpus.columns)
        raise ConfigError(
            f"train.target, corpus {corpus.name!r}: no column {target!r}{nearest(target, known)} "
            f"Columns: {', '.join(known) or 'none'}."
        )
    return corpus.columns[target].values


def _groups(corpus: Corpus, name: str, rows: np.ndarray) -> np.ndarray:
    values = corpus.columns[name].values[rows]
    named = [str(value) not in ("", "nan") for value in values]
    return np.array(
        [
            str(v) if known else f"{UNNAMED}{clip}"
            for v, known, clip in zip(values, named, corpus.clip[rows], strict=True)
        ],
        dtype=object,
    )


def _split_column(corpus: Corpus, rows: np.ndarray) -> np.ndarray | None:
    for column in corpus.columns.values():
        if column.role == "split":
            return np.asarray([str(value) for value in column.values[rows]], dtype=object)
    return None
