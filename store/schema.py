"""The layout of a store in constants and pure functions; docs/store-format.md is the same in prose.

    <root>/                       attrs voxcache: schema, uuid, created_by
      <corpus>/                   attrs voxcache: kind, unit_rows, n_clips, adapter, licence, citation, ...
        clip, sha256, n_samples   [clip]; one more array a column (label, speaker, ...)
        listing_state             [clip]; which clips are in use, where a listing was kept
        <encoder>/                attrs voxcache: kind, key, key_hash, card, weights_origin, ...
          clip, layer             coordinates, copied so that the group opens alone
          sha256, status, reason  [clip]; what was embedded and how it ended
          pooled, pooled_std      [clip, layer, feature]
          frames/start, length    [clip]; frames/layer_08 [frame, feature]
          done/<product>          [unit]; rows of the unit that are committed, written last

A unit is `unit_rows` consecutive clips: one shard of `pooled`, written by one process in one piece.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError

SCHEMA = 1
ATTRS = "voxcache"
UNFINISHED = "unfinished"
"""Kind of a group whose registration was interrupted: readers pass over it, the next run completes or replaces it."""

MISSING, OK, FAILED, STALE = 0, 1, 2, 3
STATUS_NAMES = ("missing", "ok", "failed", "stale")
WHY_NOT = {MISSING: "not extracted yet", FAILED: "extraction failed", STALE: "audio changed since extraction"}
"""Why a row has no embedding to use, for people."""

MIN_COLUMN_ROWS, MAX_COLUMN_ROWS = 1024, 16_384
"""Rows of a chunk of a column: few for a small corpus, so that it stays small; many for a large one, to keep objects few."""
FRAMES_CHUNK = 256
FRAMES_SHARD = 16_384

Role = Literal["class", "target", "group", "split", "meta"]
Statistic = Literal["mean", "std"]
FrameDtype = Literal["float16", "float32"]

LISTING = "listing_state"
CORPUS_ARRAYS = ("clip", "sha256", "n_samples", LISTING)
FILE_COLUMN, START_COLUMN = "file_sha256", "start_s"
"""Columns of a corpus whose clips are parts of files: which file, and where in it the clip begins, in seconds."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
RESERVED = frozenset({"zarr.json", "c", "manifest"})
"""Names with a meaning in every folder of a store, or at its root in a pack."""
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
MAX_ID = 1000
"""Characters of a clip id; the longest path of most systems is 4096 bytes."""


def default_unit_rows(n_clips: int) -> int:
    """Return clips a unit: few for small corpora, so that little is lost; many for large ones, so that objects stay few."""
    return 128 if n_clips <= 8192 else 1024


def column_rows(n_clips: int) -> int:
    """Return rows of a chunk of a column that is made for `n_clips`: the next power of two, within bounds."""
    return min(max(1 << max(n_clips - 1, 0).bit_length(), MIN_COLUMN_ROWS), MAX_COLUMN_ROWS)


def n_units(n_clips: int, unit_rows: int) -> int:
    """Return how many units `n_clips` clips fill."""
    return -(-n_clips // unit_rows)


def unit_size(unit: int, n_clips: int, unit_rows: int) -> int:
    """Return the clips of one unit; the last may be short."""
    return min(unit_rows, n_clips - unit * unit_rows)


def node_name(kind: str, name: str) -> str:
    """Return `name` as one safe path element: hub ids become owner--model.

    Raises:
        ConfigError: what is left could leave the store or clash on another file system.
    """
    safe = unicodedata.normalize("NFC", name).replace("/", "--").replace(" ", "_")
    if not is_name(safe) or safe.casefold() in RESERVED:
        shown = repr(name) if len(name) < 60 else f"{name[:50]!r}… of {len(name)} characters"
        raise ConfigError(
            f"{kind} name {shown}: expected up to 100 letters, digits, '_', '.', '+', '-', starting with a letter or "
            f"digit, and no name that a system or the store keeps for itself. Rename it."
        )
    return safe


def is_name(text: str) -> bool:
    """Return whether a text may name a folder of a store, on every system: Windows knows no `con.txt` and no `x.`."""
    device = text.partition(".")[0].casefold() in _DEVICES
    return bool(_NAME.fullmatch(text)) and ".." not in text and not text.endswith(".") and not device


def require_distinct(kind: str, name: str, others: Iterable[str]) -> None:
    """Raise `ConfigError` where another name differs only in case: many file systems take both for one."""
    same = sorted(other for other in others if other != name and other.casefold() == name.casefold())
    if same:
        raise ConfigError(
            f"{kind} name {name!r}: {same[0]!r} is there already, and many file systems take both for one. Rename it."
        )


def require_ids(corpus: str, ids: Sequence[str]) -> None:
    """Raise `ConfigError` with what is wrong with clip ids. They are data, never paths; slashes are fine in them."""
    problems = [
        f"corpus {corpus}, clip {number}: expected an id of 1 to {MAX_ID} printable characters, got {clip[:50]!r}. Rename it."
        for number, clip in enumerate(ids, 1)
        if not 0 < len(clip) <= MAX_ID or any(unicodedata.category(c) in {"Cc", "Cs"} for c in clip)
    ]
    if len(set(ids)) < len(ids):
        twice = next(clip for clip, count in Counter(ids).items() if count > 1)
        problems.append(f"corpus {corpus}: expected each clip id once, got {twice!r} more than once. Rename one.")
    if problems:
        more = [f"... and {len(problems) - 50} more problems."] if len(problems) > 50 else []
        raise ConfigError([*problems[:50], *more])


@dataclass(frozen=True)
class Products:
    """What is kept of every clip: pooled statistics of all layers, and frames of some.

    `frames` are layer indices, 0 to n_layers - 1.
    """

    std: bool = False
    frames: tuple[int, ...] = ()
    frames_dtype: FrameDtype = "float16"

    def names(self) -> tuple[str, ...]:
        """Return the names under which `done/` counts them."""
        pooled = ("pooled", "pooled_std") if self.std else ("pooled",)
        return pooled + tuple(frame_name(layer) for layer in self.frames)

    @staticmethod
    def from_names(names: Iterable[str], frames_dtype: FrameDtype = "float16") -> Products:
        """Return the products of which `names` is the list."""
        names = tuple(names)
        layers = tuple(sorted(int(name.removeprefix("layer_")) for name in names if name.startswith("layer_")))
        return Products("pooled_std" in names, layers, frames_dtype)

    def union(self, other: Products) -> Products:
        """Return all products of both; the frames' dtype is that of `self`, where it has frames."""
        dtype = self.frames_dtype if self.frames else other.frames_dtype
        return Products(self.std or other.std, tuple(sorted({*self.frames, *other.frames})), dtype)


def frame_name(layer: int) -> str:
    """Return the array name of one layer's frames."""
    return f"layer_{layer:02d}"
