"""CNVVE: six non-verbal voice expressions by 42 speakers; a folder per class, in the raw edition with sub-folders."""

from __future__ import annotations

from collections.abc import Sequence

from ...words import plural
from .base import About, ClipSource, Column
from .releases import Part, Release, Values

CLASSES = ("ahem", "confirm", "continuous", "decline", "hush", "psst")
N_SPEAKERS = 42


def parse(clip: str) -> Values | None:
    """Return a clip's values from its path, such as raw/hush/<sub-folder>/a.wav."""
    folders = clip.split("/")[:-1]
    place = next((i for i, folder in enumerate(folders) if folder.lower() in CLASSES), None)
    if place is None:
        return None
    return {"label": folders[place].lower(), "speaker": "/".join(folders[place + 1 :])}


def remarks(clips: Sequence[ClipSource]) -> list[str]:
    """Return a note that lets a reader judge whether sub-folders are speakers."""
    folders = {clip.values["speaker"] for clip in clips} - {""}
    if not folders:
        return ["no sub-folders: speakers are unknown in this edition, and folds may share them"]
    return [f"{plural(len(folders), 'sub-folder')} taken for speakers; {N_SPEAKERS} speakers were published"]


CNVVE = Release(
    name="cnvve",
    summary="non-verbal voice expressions, 6 classes, 42 speakers",
    about=About(
        licence="not verified; see the data set's page",
        citation="Hedeshy, R., Menges, R., Staab, S.: CNVVE: Dataset and Benchmark for Classifying Non-verbal Voice. "
        "Proc. INTERSPEECH 2023, 1553-1557. doi:10.21437/Interspeech.2023-201",
        homepage="https://doi.org/10.18419/darus-3897",
    ),
    columns=(
        Column("label", "class", "voice expression: the folder"),
        Column("speaker", "group", "sub-folder of the class; that it is the speaker is not stated by the release"),
    ),
    parse=parse,
    layout=f"folders {', '.join(CLASSES)}",
    parts={"raw": Part(n_published=950), "cleaned": Part(n_published=921)},
    remarks=remarks,
)
