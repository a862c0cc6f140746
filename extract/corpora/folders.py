"""A corpus with one folder per class: root/laugh/a.wav. Folders below a class folder are part of it."""

from __future__ import annotations

from collections import Counter

from ...words import plural
from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan, id_problems, raise_all
from .files import AUDIO_EXTENSIONS, corpus_root, list_audio

LABEL = Column("label", "class", "name of the folder")


def scan(name: str, config: CorpusConfig) -> CorpusScan:
    """Return the clips below `config.root`, labelled by their first folder.

    Raises:
        ConfigError: no such folder, no audio in class folders, or ids that would clash on another system.
    """
    root = corpus_root(name, config)
    extensions = {f".{ending.lower().lstrip('.')}" for ending in config.extensions} or AUDIO_EXTENSIONS
    listing = list_audio(root, extensions)
    classes = {clip.split("/")[0] for clip in listing.files if "/" in clip}
    values = {name: {LABEL.name: name} for name in classes}  # one for all clips of a class
    clips = tuple(
        ClipSource(clip, path, None, None, values[clip.split("/")[0]])
        for clip, path in listing.files.items()
        if "/" in clip
    )
    if not clips:
        endings = ", ".join(sorted(extensions))
        raise_all([f"root of corpus {name}, {root}: expected a folder per class with audio ({endings}), got none."])
    raise_all(id_problems((f"file {clip}", clip) for clip in listing.files))
    notes = [*listing.notes, *single_labels(clips)]
    if loose := len(listing.files) - len(clips):
        notes.append(f"ignored {plural(loose, 'audio file')} outside class folders")
    about = FOLDERS.about
    return CorpusScan(name, "folders", about.licence, about.citation, about.homepage, (LABEL,), clips, tuple(notes))


def single_labels(clips: tuple[ClipSource, ...]) -> list[str]:
    """Return a note on labels that occur once: such a class is never both trained and tested."""
    counts = Counter(str(clip.values.get("label", "")) for clip in clips)
    once = [label for label, count in counts.items() if count == 1 and label]
    return [f"label {label!r} occurs once: no fold can both train and test it" for label in once[:5]] + (
        [f"{len(once) - 5} more labels occur once"] if len(once) > 5 else []
    )


FOLDERS = Adapter(
    name="folders",
    summary="a folder per class",
    scan=scan,
    options=frozenset({"extensions"}),
    about=About(),
)
