"""Which encoder has already heard which corpus."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ..grid import CorpusPlan

_OTHER_NAMES = {
    "cmumosei": ("mosei",),
    "commonvoice": ("mozillacommonvoice", "mcv"),
    "multilinguallibrispeech": ("mls",),
    "librispeech": ("ls960",),
    "librilight": ("ll60k",),
    "audioset": ("as2m", "as20k"),
}
"""What else a pre-training corpus is called, both in small letters without hyphens."""


def contamination(corpus: CorpusPlan) -> Iterator[tuple[str, str, str]]:
    """Yield encoder, what it was pre-trained on, and which of that is this corpus ("" where none is).

    Names are compared without case, accents, hyphens and what stands in parentheses; a corpus also goes by its adapter's
    name, and parts of a release (asvp-esd-babies) by that of the release.
    """
    own = {plain(name) for name in (corpus.name, str(corpus.about.get("adapter", ""))) if plain(name)}
    own |= {start for name in (corpus.name, str(corpus.about.get("adapter", ""))) for start in _starts(name)}
    for facts in corpus.encoders:
        if facts.pretraining and not facts.is_random:
            seen = [name for name in facts.pretraining if own & _names(name)]
            yield facts.name, ", ".join(facts.pretraining), ", ".join(seen)


def plain(name: str) -> str:
    """Return a name in small letters and digits alone, without what stands in parentheses."""
    bare = unicodedata.normalize("NFKD", re.sub(r"\(.*?\)", "", name)).lower()
    return "".join(letter for letter in bare if letter.isalnum() and letter.isascii())


def _names(pretraining: str) -> set[str]:
    name = plain(pretraining)
    return {name, *_OTHER_NAMES.get(name, ())}


def _starts(name: str) -> Iterator[str]:
    """Yield what a name's first words make together: asvp, asvpesd, asvpesdbabies."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for n_words in range(1, len(words)):
        yield "".join(words[:n_words])
