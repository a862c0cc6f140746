"""Which clips hold the same audio: the same file, by the hash of its bytes, or overlapping parts of one.

What bytes cannot tell is not found: a copy in another format, an altered (augmented) copy, a second recording of one event.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..store.schema import FILE_COLUMN, START_COLUMN

if TYPE_CHECKING:
    from ..store import Corpus
    from .clips import Clips

_RATE_HZ = 16_000
_TOUCH_S = 1e-3
"""Parts that share less are neighbours: their ends were rounded to samples."""


@dataclass(frozen=True)
class Audio:
    """Where each clip's audio lies.

    Attributes:
        file: number of its file, made of its content hash and so the same in every corpus, int64 [clip]; one without a hash
            is a file of its own.
        start_s, end_s: float64 [clip], in its file.
        unknown: whether it has no content hash, bool [clip].
    """

    file: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    unknown: np.ndarray

    def take(self, keep: np.ndarray) -> Audio:
        """Return the clips where `keep` is true."""
        return Audio(self.file[keep], self.start_s[keep], self.end_s[keep], self.unknown[keep])

    @cached_property
    def linked(self) -> np.ndarray:
        """Clips joined by audio that they share, directly or through others, have one number, int64 [clip]."""
        if len(np.unique(self.file)) == len(self.file):
            return np.arange(len(self.file))
        order = np.lexsort((self.start_s, self.file))
        number = np.empty(len(order), dtype=np.int64)
        current, file, reach = -1, self.file[order[0]], -np.inf
        for clip in order:
            if self.file[clip] != file or self.start_s[clip] >= reach - _TOUCH_S:
                current, file, reach = current + 1, self.file[clip], -np.inf
            reach = max(reach, self.end_s[clip])
            number[clip] = current
        return number

    @cached_property
    def shared(self) -> np.ndarray:
        """Whether another clip holds some of the same audio, bool [clip]."""
        return np.asarray(np.bincount(self.linked)[self.linked] > 1)

    @cached_property
    def same(self) -> np.ndarray:
        """Clips of one file and the same bounds have one number, int64 [clip]."""
        bounds = np.stack([self.file, np.round(self.start_s, 4), np.round(self.end_s, 4)], axis=1)
        return np.asarray(np.unique(bounds, axis=0, return_inverse=True)[1]).reshape(-1)

    def heard(self, tested: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return which of `tested` share audio with one of `others`, bool [tested]; both int64, rows."""
        found = np.zeros(len(tested), dtype=bool)
        by_file: dict[int, list[int]] = {}
        for row in others[self.shared[others]]:
            by_file.setdefault(int(self.file[row]), []).append(int(row))
        for place in np.flatnonzero(self.shared[tested]):
            clip = tested[place]
            rows = by_file.get(int(self.file[clip]), [])
            inside = (self.start_s[rows] < self.end_s[clip] - _TOUCH_S) & (
                self.end_s[rows] > self.start_s[clip] + _TOUCH_S
            )
            found[place] = bool(inside.any())
        return found


def audio_of(corpus: Corpus, rows: np.ndarray) -> Audio:
    """Return where the audio of some clips of a corpus lies, rows int64 [clip]."""
    hashes = np.array([str(sha) for sha in corpus.sha256[rows]], dtype=object)
    start = np.zeros(len(rows))
    if FILE_COLUMN in corpus.columns and START_COLUMN in corpus.columns:
        files = np.array([str(sha) for sha in corpus.columns[FILE_COLUMN].values[rows]], dtype=object)
        start = np.where(files == "", 0.0, np.nan_to_num(corpus.columns[START_COLUMN].values[rows].astype(np.float64)))
        hashes = np.where(files == "", hashes, files)
    unknown = np.asarray(hashes == "")
    file = np.array(
        [-1 - row if not sha else _number(sha) for row, sha in zip(rows, hashes, strict=True)], dtype=np.int64
    )
    length = np.maximum(corpus.n_samples[rows], 1) / _RATE_HZ
    length = np.maximum(length, 2 * _TOUCH_S)
    return Audio(file, start, start + length, unknown)


def _number(sha: str) -> int:
    return int.from_bytes(hashlib.blake2b(sha.encode(), digest_size=8).digest(), "big") >> 1


def across_corpora(corpora: Sequence[tuple[str, Audio | None]]) -> Iterator[str]:
    """Yield which corpora hold the same files, and in how many clips."""
    for (name, audio), (other, theirs) in itertools.combinations(corpora, 2):
        if audio is None or theirs is None:
            continue
        n = int(np.isin(audio.file[~audio.unknown], theirs.file[~theirs.unknown]).sum())
        if n:
            yield (
                f"{n} clips of {name!r} stand in {other!r}, too (the same file, whatever their speakers are called): the two "
                f"are not independent, and means over corpora count these clips twice"
            )


def audio_notes(clips: Clips, fold: np.ndarray, heard: np.ndarray | None, n_of_file: int) -> list[str]:
    """Return what a reader must know of clips that share audio, and whether it is on both sides of a fold.

    Args:
        n_of_file: tested clips of whose file some part is trained on.
    """
    audio = clips.audio
    if audio is None or heard is None:
        return ["no content hashes are known: the same audio may stand on both sides of a fold"]
    notes = []
    n_shared, n_unknown = int(audio.shared.sum()), int(audio.unknown.sum())
    if heard.any():
        notes.append(
            f"LEAK: {int(heard.sum())} of {int((fold >= 0).sum())} tested clips hold audio that is also trained on: the same "
            f"file, or an overlapping part of one. `split: {{kind: kfold, group: auto}}` keeps such clips in one fold."
        )
    elif n_shared:
        notes.append(
            f"{n_shared} clips hold audio of another one (the same file, or overlapping parts of one), none across folds"
        )
    if heard.sum() < n_of_file:
        notes.append(
            f"{n_of_file - int(heard.sum())} tested clips are parts of recordings of which other parts are trained on; "
            f"`split: {{group: {FILE_COLUMN}}}` keeps recordings together"
        )
    if n_unknown:
        notes.append(f"{n_unknown} clips have no content hash: whether they are copies is not known")
    return notes


def kept_together(clips: Clips, *, groups: bool) -> np.ndarray | None:
    """Return what no fold may divide, a number a clip, int64 [clip]: groups, and clips that share audio; None for neither.

    Groups that share audio are one. Without such, numbers follow the names of the groups.
    """
    shares = clips.audio is not None and bool(clips.audio.shared.any())
    if not groups or clips.group is None:
        return clips.audio.linked if shares and clips.audio is not None else None
    number = np.unique(clips.group.astype(str), return_inverse=True)[1]
    if not shares or clips.audio is None:
        return number
    linked = clips.audio.linked
    while True:
        least = np.full(int(linked.max()) + 1, len(clips), dtype=np.int64)
        np.minimum.at(least, linked, number)
        joined = np.full(int(number.max()) + 1, len(clips), dtype=np.int64)
        np.minimum.at(joined, number, least[linked])
        if (joined[number] == number).all():
            return number
        number = joined[number]


_ALTERED = re.compile(
    r"[-_. ](aug\w*|noise\w*|noisy|pitch\w*|speed\w*|sp\d\S*|stretch\w*|reverb\w*|rir\w*|volume\w*|shift\w*|crop\w*|mix\w*"
    r"|copy\w*|flip\w*)$",
    re.IGNORECASE,
)


def originals(ids: np.ndarray) -> np.ndarray:
    """Return a number a clip, int64 [clip]: the same for clips named as altered copies of one, such as a.wav, a_noise2.wav.

    A guess from names alone; a name counts as a copy's only where the original, or another copy, is there.
    """
    stems = []
    for name in map(str, ids):
        folder, _, base = name.rpartition("/")
        stem, dot, end = base.rpartition(".") if "." in base else (base, "", "")
        while found := _ALTERED.search(stem):
            stem = stem[: found.start()]
        stems.append(f"{folder}/{stem}{dot}{end}")
    counts = Counter(stems)
    kept = [stem if counts[stem] > 1 else f"\0{name}" for stem, name in zip(stems, ids, strict=True)]
    return np.asarray(np.unique(np.array(kept, dtype=str), return_inverse=True)[1])
