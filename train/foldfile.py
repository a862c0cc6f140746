"""Folds as a file: one line a clip, so that they can be kept, sent to others and compared.

corpus,clip,fold
cries,hungry/a.wav,0
cries,tired/b.wav,1

`fold` is a number or a name (each fold is tested once), or train, dev, test and unused.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from ..words import some
from .clips import Clips
from .config import SplitConfig
from .grid import CorpusPlan
from .splits import DEV, ROLES, TRAIN_ONLY, UNUSED, keeps_groups, roles

COLUMNS = ("corpus", "clip", "fold")
_NAMES = {TRAIN_ONLY: "train", DEV: "dev", UNUSED: "unused"}
_SHOWN = 8


def write_folds(path: str | Path, corpora: Sequence[CorpusPlan]) -> int:
    """Write the folds of every clip that carries a label, usable or not; return the number of clips."""
    rows = [row for corpus in corpora for row in _rows(corpus)]
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return len(rows)


def _rows(corpus: CorpusPlan) -> Iterable[tuple[str, str, str]]:
    by_role = bool({TRAIN_ONLY, DEV} & set(corpus.dealt.values()))
    for clip, fold in sorted(corpus.dealt.items()):
        tested = "test" if by_role and corpus.split.n_folds == 1 else str(fold)
        yield corpus.name, clip, _NAMES.get(fold, tested)


def folds_from(clips: Clips, config: SplitConfig) -> tuple[np.ndarray, int, str, bool]:
    """Return the folds that the file `config.source` gives these clips; see `splits.assign`.

    Raises:
        ConfigError: no such file or columns; lines without a clip or fold; clips that it lacks, lists twice or that the corpus
            does not have.
    """
    path = Path(str(config.source))
    given = _read(path, clips.corpus)
    ids = [str(clip) for clip in clips.ids]
    problems = [
        *_listed(
            path, clips.corpus, "clips with a label stand in the corpus but not in the file", set(ids) - set(given)
        ),
        *_listed(path, clips.corpus, "clips stand in the file but not among the labelled ones", set(given) - set(ids)),
    ]
    if problems:
        raise ConfigError(problems)
    values = [given[clip] for clip in ids]
    if set(values) <= {*ROLES, "unused"}:
        fold, n_folds, _ = roles(clips.corpus, ["" if value == "unused" else value for value in values], config.tested)
        text = f"train and {config.tested} of {path.name}"
    else:
        fold, n_folds = _numbered(path, clips.corpus, values)
        text = f"{n_folds} folds of {path.name}"
    return fold, n_folds, text, keeps_groups(clips, config, fold, n_folds)


def _numbered(path: Path, corpus: str, values: Sequence[str]) -> tuple[np.ndarray, int]:
    role = {name: number for number, name in _NAMES.items()}
    names = sorted(
        set(values) - set(role), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )
    if len(names) < 2 and not (names and "train" in values):
        raise ConfigError(f"{path}, corpus {corpus!r}: expected two folds or more, got {names}. Complete the file.")
    number = {name: index for index, name in enumerate(names)} | role
    return np.array([number[value] for value in values], dtype=np.int16), len(names)


def _read(path: Path, corpus: str) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            lines = [(table.line_num, row) for row in table if (row.get("corpus") or corpus) == corpus]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"train.split.from: {path} cannot be read ({error}). `voxcache folds --out` writes such a file."
        ) from None
    missing = [name for name in ("clip", "fold") if name not in columns]
    if missing:
        raise ConfigError(
            f"train.split.from: {path}: expected the columns clip and fold, got {', '.join(columns) or 'none'}. "
            f"`voxcache folds --out` writes such a file."
        )
    rows = [(number, row["clip"] or "", (row["fold"] or "").strip().lower()) for number, row in lines]
    problems = [
        f"train.split.from: {path}, line {number}: expected a clip and its fold, got {clip!r} and {fold!r}. Complete it; "
        f"`unused` leaves a clip out."
        for number, clip, fold in rows
        if not (clip and fold)
    ]
    if problems:
        more = f"{path}: {len(problems) - _SHOWN} more lines lack a clip or its fold."
        raise ConfigError([*problems[:_SHOWN], more] if len(problems) > _SHOWN else problems)
    names = [clip for _, clip, _ in rows]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if problems := _listed(path, corpus, "clips are listed twice", twice):
        raise ConfigError(problems)
    return {clip: fold for _, clip, fold in rows}


def _listed(path: Path, corpus: str, what: str, clips: Iterable[str]) -> list[str]:
    names = sorted(clips)
    if not names:
        return []
    return [
        f"train.split.from: {path}, corpus {corpus!r}: {len(names)} {what}: {some(names, _SHOWN)}. "
        f"Correct the file, or write a new one with `voxcache folds --out`."
    ]
