"""EmotionShare (ComParE 2023, Hume-Prosody): how many listeners heard each of nine emotions; lab/*.csv beside wav/.

lab/train.csv, lab/devel.csv and lab/test.csv have a column filename and one an emotion; the test labels are "?" unless
a file test.unmasked.csv lies beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ...errors import ConfigError
from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan, clip_id, id_problems, raise_all
from .files import corpus_root
from .tables import Table, read_table

EMOTIONS = (
    *("Anger", "Boredom", "Calmness", "Concentration", "Determination", "Excitement", "Interest", "Sadness"),
    "Tiredness",
)
SPLITS = {
    "train": ("train.csv",),
    "dev": ("devel.csv", "dev.csv"),
    "test": ("test.unmasked.csv", "test.csv"),
}
"""Name of each split here, and of its table in the release, in order of preference."""

PUBLISHED = {"dev": 9_925, "test": 10_143}
"""Clips a split, counted in predictions that another team published; the size of train was not found."""

MASKED = frozenset({"", "?"})
COLUMNS = (
    *(Column(name, "target", f"part of the listeners who heard {name.lower()}", "float") for name in EMOTIONS),
    Column("split", "split", "train, dev or test, as released"),
)


def scan(name: str, config: CorpusConfig) -> CorpusScan:
    """Return the clips that the tables below `config.root` list; audio that is missing is not an error here.

    Raises:
        ConfigError: no tables, columns that are missing, shares that are no numbers, or a clip listed twice.
    """
    root = corpus_root(name, config)
    tables = {split: path for split, names in SPLITS.items() if (path := _find(root, names))}
    if not tables:
        raise ConfigError(
            f"root of corpus {name}, {root}: expected lab/train.csv, lab/devel.csv and lab/test.csv, got none of them. "
            f"Ask the organisers for the data ({EMOTION_SHARE.about.homepage}) and name its folder."
        )
    problems: list[str] = []
    clips: list[ClipSource] = []
    for split, path in tables.items():
        clips += _clips(read_table(path), split, _audio_folder(root), problems)
    problems += id_problems((f"clip {clip.clip} of {clip.values['split']}", clip.clip) for clip in clips)
    raise_all(problems)
    about = EMOTION_SHARE.about
    return CorpusScan(
        name,
        "emotion-share",
        about.licence,
        about.citation,
        about.homepage,
        COLUMNS,
        tuple(clips),
        tuple(_notes(clips)),
    )


def _find(root: Path, names: Sequence[str]) -> Path | None:
    places = [root / folder / name for name in names for folder in ("lab", "label", "labels", ".")]
    return next((path for path in places if path.is_file()), None)


def _audio_folder(root: Path) -> Path:
    return next((root / folder for folder in ("wav", "raw/wav", "audio") if (root / folder).is_dir()), root)


def _clips(table: Table, split: str, folder: Path, problems: list[str]) -> list[ClipSource]:
    missing = [name for name in ("filename", *EMOTIONS) if name not in table.columns]
    if missing:
        problems.append(
            f"table {table.path.name}: expected columns filename, {', '.join(EMOTIONS)}, got none called "
            f"{', '.join(missing)}. Use the tables of the release."
        )
        return []
    clips = []
    for index, row in enumerate(table.rows):
        shares = {emotion: _share(row[emotion], table.where(index), emotion, problems) for emotion in EMOTIONS}
        clips.append(
            ClipSource(clip_id(row["filename"]), str(folder / row["filename"]), None, None, {**shares, "split": split})
        )
    return clips


def _share(text: str, where: str, emotion: str, problems: list[str]) -> float:
    if text in MASKED:
        return math.nan
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        problems.append(f"{where}: expected a number or ? for {emotion}, got {text!r}. Use the tables of the release.")
    return share


def _notes(clips: Sequence[ClipSource]) -> list[str]:
    notes = []
    for split in SPLITS:
        here = [clip for clip in clips if clip.values["split"] == split]
        masked = sum(clip.values[EMOTIONS[0]] != clip.values[EMOTIONS[0]] for clip in here)
        published = f", {PUBLISHED[split]} known" if PUBLISHED.get(split, len(here)) != len(here) else ""
        notes.append(f"{split}: {len(here)} clips{published}" + (f", {masked} without labels" if masked else ""))
    return [*notes, "no speakers in the tables: folds of your own may share them; keep the released split"]


EMOTION_SHARE = Adapter(
    name="emotion-share",
    summary="shares of listeners for 9 emotions, train, dev and test (ComParE 2023)",
    scan=scan,
    about=About(
        licence="not public: by agreement with the organisers",
        citation="Schuller, B. W. et al.: The ACM Multimedia 2023 Computational Paralinguistics Challenge: Emotion Share "
        "& Requests. Proc. ACM Multimedia 2023.",
        homepage="http://www.compare.openaudio.eu",
    ),
)
