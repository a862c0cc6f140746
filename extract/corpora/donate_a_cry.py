"""Donate-a-Cry: phone recordings of crying babies, cleaned edition: a folder per reason, the rest in the file name.

Name: app instance (36 characters) - Unix time (seconds on iOS, milliseconds on Android) - app version - sex - age -
reason. An app instance is one installation of the app, the nearest there is to one baby. Its letters are capitals on
iOS and small on Android; no instance occurs in both forms, so ids are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .base import About, ClipSource, Column
from .releases import Part, Release, Values, odd_note

PUBLISHED = {"hungry": 382, "discomfort": 27, "tired": 24, "belly_pain": 16, "burping": 8}
"""Clips a class in the cleaned edition; voc2vec, table II, has the same total of 457."""

AGES = {"04": "0-4 weeks", "48": "4-8 weeks", "26": "2-6 months", "72": "7-24 months", "22": "over 2 years"}
REASONS = {"hu": "hungry", "bu": "burping", "bp": "belly_pain", "dc": "discomfort", "ti": "tired", "ch": "discomfort"}

_NAME = re.compile(
    r"(?P<instance>[0-9A-Fa-f-]{36})-(?P<time>\d+)-[\d.]+-(?P<sex>[mf])-(?P<age>\d\d)-(?P<reason>[a-z]+)"
)


def parse(clip: str) -> Values | None:
    """Return a clip's values from its path, such as hungry/<app instance>-1430742197-1.0-m-04-hu.wav."""
    *folders, name = clip.split("/")
    match = _NAME.fullmatch(name.rpartition(".")[0])
    if match is None or not folders or folders[-1] not in PUBLISHED:
        return None
    ios = match["instance"] != match["instance"].lower()
    return {
        "label": folders[-1],
        "speaker": match["instance"],
        "sex": match["sex"],
        "age": AGES.get(match["age"], match["age"]),
        "reason": match["reason"],
        "platform": "ios" if ios else "android",
        "recorded": match["time"][:10],
    }


def remarks(clips: Sequence[ClipSource]) -> list[str]:
    """Return notes on clips that lie in another folder than their reason code says, and on the number of groups."""
    contrary = [clip.clip for clip in clips if REASONS.get(str(clip.values["reason"])) != clip.values["label"]]
    n_groups = len({clip.values["speaker"] for clip in clips})
    return [f"{n_groups} app instances", *odd_note(contrary, "in another folder than their reason code says")]


DONATE_A_CRY = Release(
    name="donate-a-cry",
    summary="crying babies, 5 reasons, 457 phone recordings (cleaned edition)",
    about=About(
        licence="ODbL-1.0 (database), DbCL-1.0 (contents)",
        citation="Veres, G.: donateacry-corpus, 2015; cleaned by Rizal, A. N., Jan, J., Dürlich, L., Chen, S. (KTH): "
        "donateacry-corpus-cleaned-updated.",
        homepage="https://github.com/gveres/donateacry-corpus",
    ),
    columns=(
        Column("label", "class", "reason of the cry: the folder"),
        Column("speaker", "group", "app instance: one installation, about one baby"),
        Column("sex", "meta", "of the baby, as tagged: f, m"),
        Column("age", "meta", "of the baby, as tagged"),
        Column("reason", "meta", "code in the file name; ch (cold or hot) was merged into discomfort"),
        Column("platform", "meta", "android or ios, by the letters of the app instance"),
        Column("recorded", "meta", "Unix time of the recording, in seconds"),
    ),
    parse=parse,
    layout=f"folders {', '.join(PUBLISHED)} with files named <app instance>-<time>-<version>-<sex>-<age>-<reason>.wav",
    parts={"all": Part(n_published=sum(PUBLISHED.values()), published=PUBLISHED)},
    remarks=remarks,
)
