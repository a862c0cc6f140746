"""Embeddings that are known to be wrong: keys that are recalled, with the reason.

A store keeps what it holds; whoever reads one is told, and `voxcache extract` makes recalled embeddings anew. An entry is
never removed: stores live longer than releases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .keys import Key

if TYPE_CHECKING:
    from .read import Store


@dataclass(frozen=True)
class Recall:
    """Keys that are recalled, and why, as a clause that follows "they".

    Attributes:
        concerns: whether a key is one of them.
    """

    concerns: Callable[[Key], bool]
    reason: str


RECALLED: tuple[Recall, ...] = (
    Recall(
        lambda key: key.get("extractor") == "generic-1",
        "are means over the padding of the model's window, its class tokens and what lies beside the clip, and of longer clips "
        "the end is missing",
    ),
    Recall(
        lambda key: key.get("extractor") == "hear-1" and _above_16_khz(key.get("sample_rate_hz")),
        "come from audio of 16 kHz sent up to the module's rate, which is less than the spectrum that it was made for",
    ),
)


def _above_16_khz(rate: object) -> bool:
    return isinstance(rate, int) and rate > 16_000


def recalled(key: Key) -> str | None:
    """Return why embeddings made from `key` are recalled, or None where they are not."""
    return next((entry.reason for entry in RECALLED if entry.concerns(key)), None)


def recalled_in(store: Store) -> list[str]:
    """Return one sentence for every encoder of a store whose embeddings are recalled."""
    return [
        sentence(f"{corpus.name}/{name}", reason)
        for corpus in map(store.corpus, store.corpora)
        for name in corpus.encoders
        if (reason := recalled(corpus.encoder(name).key))
    ]


def sentence(what: str, reason: str) -> str:
    """Say that the embeddings of `what` are recalled, why, and what to do."""
    return f"{what}: its embeddings are recalled: they {reason}. Do not use them; `voxcache extract` makes them anew."
