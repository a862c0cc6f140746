"""Donate-a-Cry: phone recordings of crying babies, cleaned edition: a folder per reason, the rest in the file name.

Name: app instance (36 characters) - Unix time (seconds on iOS, milliseconds on Android) - app version - sex - age -
reason. An app instance is an installation of the app, the nearest there is to a baby. Its letters are capitals on iOS
and small on Android, and no instance occurs in both forms.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan, id_problems, raise_all
from .files import corpus_root, list_audio

PUBLISHED = {"hungry": 382, "discomfort": 27, "tired": 24, "belly_pain": 16, "burping": 8}
"""Clips a class in the cleaned edition, 457 in all; voc2vec, table II, has the same total."""

ABOUT = About(
    licence="ODbL-1.0 (database), DbCL-1.0 (contents)",
    citation="Veres, G.: donateacry-corpus, 2015. Cleaned edition: Rizal, A. N., Jan, J., Dürlich, L., Chen, S.: "
    "donateacry-corpus-cleaned-updated, KTH.",
    homepage="https://github.com/gveres/donateacry-corpus",
)

COLUMNS = (
    Column("label", "class", "reason of the cry: the folder"),
    Column("speaker", "group", "app instance: one installation, about one baby"),
    Column("sex", "meta", "as the parent tagged it: f, m"),
    Column("age", "meta", "as the parent tagged it: 0-4 weeks, 4-8 weeks, 2-6 months, 7-24 months, over 2 years"),
    Column("reason", "meta", "reason code in the file name; ch (cold or hot) was merged into discomfort"),
    Column("platform", "meta", "android or ios, by the letters of the app instance"),
    Column("recorded", "meta", "Unix time of the recording, in seconds"),
)

AGES = {"04": "0-4 weeks", "48": "4-8 weeks", "26": "2-6 months", "72": "7-24 months", "22": "over 2 years"}
REASONS = {"hu": "hungry", "bu": "burping", "bp": "belly_pain", "dc": "discomfort", "ti": "tired", "ch": "discomfort"}

_NAME = re.compile(r"([0-9A-Fa-f-]{36})-(\d+)-([\d.]+)-([mf])-(\d\d)-([a-z]{2})")


def scan(name: str, config: CorpusConfig) -> CorpusScan:
    """Return the clips of the cleaned edition below `config.root`. Raises `ConfigError` if there are none."""
    root = corpus_root(name, config)
    listing = list_audio(root)
    clips, strange, contrary = [], [], []
    for clip, path in listing.files.items():
        match, folder = _NAME.fullmatch(path.stem), path.parent.name
        if match is None or folder not in PUBLISHED:
            strange.append(clip)
            continue
        if REASONS.get(match[6]) != folder:
            contrary.append(clip)
        clips.append(ClipSource(clip, path, None, None, _values(match, folder)))
    if not clips:
        raise_all([f"root of corpus {name}, {root}: expected folders {', '.join(PUBLISHED)} with WAV files named as "
                   f"released, got none. Download the cleaned edition and name its folder."])  # fmt: skip
    raise_all(id_problems((f"file {clip.clip}", clip.clip) for clip in clips))
    notes = [count_note(clips, PUBLISHED), *_odd(strange, "ignored, not named as released"),
             *_odd(contrary, "in another folder than their reason code says; the folder is the label")]  # fmt: skip
    about = ABOUT
    return CorpusScan(
        name, "donate-a-cry", about.licence, about.citation, about.homepage, COLUMNS, tuple(clips), tuple(notes)
    )
