"""The layout of a store in constants and pure functions; docs/store-format.md is the same in prose.

    <root>/                       attrs voxcache: schema, uuid, created_by
      <corpus>/                   attrs voxcache: kind, unit_rows, n_clips, adapter, licence, citation, ...
        clip, sha256, n_samples   [clip]; one more array a column (label, speaker, ...)
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
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError

SCHEMA = 1
ATTRS = "voxcache"
UNFINISHED = "unfinished"
"""Kind of a group whose registration was interrupted: readers pass over it, the next run completes or replaces it."""

MISSING, OK, FAILED, STALE = 0, 1, 2, 3
STATUS_NAMES = ("missing", "ok", "failed", "stale")

COLUMN_ROWS = 16_384
FRAMES_CHUNK = 256
FRAMES_SHARD = 16_384

Role = Literal["class", "target", "group", "split", "meta"]
Statistic = Literal["mean", "std"]
FrameDtype = Literal["float16", "float32"]

CORPUS_ARRAYS = ("clip", "sha256", "n_samples")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


def default_unit_rows(n_clips: int) -> int:
    """Return clips a unit: few for small corpora, so that little is lost; many for large ones, so that objects stay few."""
    return 128 if n_clips <= 8192 else 1024


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
    if not _NAME.fullmatch(safe) or ".." in safe:
        raise ConfigError(
            f"{kind} name {name!r}: expected up to 100 letters, digits, '_', '.', '+', '-', starting with a letter or "
            f"digit. Rename it."
        )
    return safe


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
