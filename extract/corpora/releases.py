"""Published corpora whose labels stand in the names of their files and folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan, id_problems, plural, raise_all
from .files import corpus_root, list_audio

Values = Mapping[str, str | float]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A published corpus as its authors laid it out.

    Attributes:
        parse: a clip's id (its path below the root) to its values, or None if no such file belongs to the release.
        layout: what a right tree looks like, for the message when none is found.
        published: clips a class, where published; its sum must be `n_published`, if both are known.
        n_published: clips in all, or None where no number was published.
        remarks: more notes on the clips found.
    """

    name: str
    summary: str
    about: About
    columns: tuple[Column, ...]
    parse: Callable[[str], Values | None]
    layout: str
    n_published: int | None
    published: Mapping[str, int] = field(default_factory=dict)
    remarks: Callable[[Sequence[ClipSource]], list[str]] = lambda clips: []

    def adapter(self) -> Adapter:
        """Return the registry entry."""
        return Adapter(name=self.name, summary=self.summary, scan=self.scan, about=self.about)

    def scan(self, name: str, config: CorpusConfig) -> CorpusScan:
        """Return the clips below `config.root`, with counts beside the published ones. Raises `ConfigError` if none."""
        clips, notes = self.collect(name, config)
        notes = [count_note(clips, self.n_published, self.published), *notes, *self.remarks(clips)]
        return self.result(name, clips, notes)

    def collect(self, name: str, config: CorpusConfig) -> tuple[list[ClipSource], list[str]]:
        """Return the clips of the release below `config.root`, and notes on what else lies there."""
        root = corpus_root(name, config)
        listing = list_audio(root)
        clips, strange = [], []
        for clip, path in listing.files.items():
            values = self.parse(clip)
            if values is None:
                strange.append(clip)
            else:
                clips.append(ClipSource(clip, path, None, None, values))
        if not clips:
            raise_all([
                f"root of corpus {name}, {root}: expected {self.layout}, got {plural(len(listing.files), 'audio file')} "
                f"and none named so. Download the release from {self.about.homepage} and name its folder."
            ])
        raise_all(id_problems((f"file {clip.clip}", clip.clip) for clip in clips))
        return clips, odd_note(strange, "ignored, not named as in the release") + listing.notes

    def result(self, name: str, clips: Sequence[ClipSource], notes: Iterable[str]) -> CorpusScan:
        """Return the scan with this release's facts."""
        about = self.about
        return CorpusScan(
            name, self.name, about.licence, about.citation, about.homepage, self.columns, tuple(clips), tuple(notes)
        )


def count_note(clips: Sequence[ClipSource], n_published: int | None, published: Mapping[str, int]) -> str:
    """Return the count found beside the published one, and the classes that differ."""
    if n_published is None:
        return f"{plural(len(clips), 'clip')} found; no published count to compare with"
    found = Counter(str(clip.values["label"]) for clip in clips)
    differ = [
        f"{label} {found[label]} of {count}" for label, count in published.items() if found[label] != count
    ]
    if len(clips) == n_published and not differ:
        return f"{len(clips)} clips, as published"
    where = f" ({', '.join(differ)})" if differ else ""
    return f"{plural(len(clips), 'clip')} found, {n_published} published{where}"


def odd_note(clips: Sequence[str], what: str) -> list[str]:
    """Return a note naming up to three clips, or nothing."""
    if not clips:
        return []
    more = ", ..." if len(clips) > 3 else ""
    return [f"{plural(len(clips), 'file')} {what}: {', '.join(clips[:3])}{more}"]
