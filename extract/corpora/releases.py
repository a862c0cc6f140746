"""Published corpora whose labels stand in the names of their files and folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import ConfigError, UnknownName
from ...words import plural
from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan, id_problems, raise_all
from .files import corpus_root, list_audio

Values = Mapping[str, str | float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a release that is used on its own, with its published size.

    Attributes:
        n_published: clips in all, or None where no number was published.
        published: clips a class, where published.
        keep: whether a clip belongs to it.
    """

    n_published: int | None
    published: Mapping[str, int] = field(default_factory=dict)
    keep: Callable[[ClipSource], bool] = lambda clip: True


@dataclass(frozen=True, kw_only=True)
class Release:
    """A published corpus as its authors laid it out.

    Attributes:
        parse: a clip's id (its path below the root) to its values, or None if no such file belongs to the release.
        layout: what a right tree looks like, for the message when none is found.
        parts: what `subset:` may name; the first is the default.
        remarks: more notes on the clips found.
    """

    name: str
    summary: str
    about: About
    columns: tuple[Column, ...]
    parse: Callable[[str], Values | None]
    layout: str
    parts: Mapping[str, Part]
    remarks: Callable[[Sequence[ClipSource]], list[str]] = lambda clips: []

    def adapter(self) -> Adapter:
        """Return the registry entry."""
        options = frozenset({"subset"} if len(self.parts) > 1 else ())
        return Adapter(name=self.name, summary=self.summary, scan=self.scan, options=options, about=self.about)

    def scan(self, name: str, config: CorpusConfig) -> CorpusScan:
        """Return the clips below `config.root`, with counts beside the published ones.

        Raises:
            ConfigError: no such folder, no clip of the release in it, or a subset that the release does not have.
        """
        part = self._part(config)
        found, notes = self._find(name, config)
        clips = [clip for clip in found if part.keep(clip)]
        left_out = [f"{plural(len(found) - len(clips), 'clip')} outside this subset"] if len(found) > len(clips) else []
        counts = count_note(clips, part.n_published, part.published)
        about = self.about
        notes = [counts, *left_out, *notes, *self.remarks(clips)]
        return CorpusScan(
            name, self.name, about.licence, about.citation, about.homepage, self.columns, tuple(clips), tuple(notes)
        )

    def _part(self, config: CorpusConfig) -> Part:
        wanted = config.subset or next(iter(self.parts))
        if wanted not in self.parts:
            raise UnknownName(f"subset of {self.name}", wanted, self.parts)
        return self.parts[wanted]

    def _find(self, name: str, config: CorpusConfig) -> tuple[list[ClipSource], list[str]]:
        """Return the clips of the release below `config.root`, and notes on what else lies there."""
        root = corpus_root(name, config)
        listing = list_audio(root)
        parsed = {clip: self.parse(clip) for clip in listing.files}
        clips = [ClipSource(clip, listing.files[clip], None, None, values) for clip, values in parsed.items() if values]
        if not clips:
            raise ConfigError(
                f"root of corpus {name}, {root}: expected {self.layout}, got {plural(len(parsed), 'audio file')} and "
                f"none named so. Download the release from {self.about.homepage} and name its folder."
            )
        raise_all(id_problems((f"file {clip.clip}", clip.clip) for clip in clips))
        strange = [clip for clip, values in parsed.items() if not values]
        return clips, odd_note(strange, "ignored, not named as in the release") + listing.notes


def count_note(clips: Sequence[ClipSource], n_published: int | None, published: Mapping[str, int]) -> str:
    """Return the count found beside the published one, and the classes that differ."""
    if n_published is None:
        return f"{plural(len(clips), 'clip')} found; no published count to compare with"
    found = Counter(str(clip.values["label"]) for clip in clips)
    differ = [f"{label} {found[label]} of {count}" for label, count in published.items() if found[label] != count]
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
