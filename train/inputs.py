"""What a head is fed: one array an encoder, rows in the order of the usable clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import TrainError
from .frame_source import FrameSource

if TYPE_CHECKING:
    from ..store import Corpus, EncoderGroup

HELD_BYTES = 1_000_000_000
"""Frames of a corpus that are read into memory once; more are read a batch at a time, in every epoch."""
WEIGHTED = -1
BEST = -2


@dataclass(frozen=True)
class Input:
    """What is taken of one encoder.

    `layer` is 0 to n_layers - 1, WEIGHTED for all of them with learned weights, or BEST for the one that does best on inner
    folds.
    """

    encoder: str
    layer: int
    statistics: Literal["mean", "mean+std", "frames"]

    @property
    def text(self) -> str:
        """Such as "layer 12, mean"."""
        layer = {WEIGHTED: "weighted layers", BEST: "best layer"}.get(self.layer, f"layer {self.layer}")
        return f"{layer}, {self.statistics}"


def load(corpus: Corpus, wanted: Input, rows: np.ndarray) -> np.ndarray:
    """Return float32 [clip, feature], or [clip, layer, feature] for weighted layers.

    Raises:
        TrainError: an embedding that counts as ok holds NaN or infinity.
    """
    encoder = corpus.encoder(wanted.encoder)
    values = _mean(encoder, wanted.layer)[rows]
    if wanted.statistics == "mean+std":
        values = np.concatenate([values, _std(encoder, wanted.layer)[rows]], axis=-1)
    values = np.ascontiguousarray(values, dtype=np.float32)
    _refuse(corpus, wanted, rows, ~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    return values


def load_frames(corpus: Corpus, wanted: Input, rows: np.ndarray) -> Sequence[np.ndarray]:
    """Return the frames of each clip, [frame, feature] each in the dtype of the store; `FrameSource` above `HELD_BYTES`.

    Raises:
        TrainError: a clip that counts as ok has no frame, or one that holds NaN or infinity (as soon as it is read).
    """
    frames = corpus.encoder(wanted.encoder).frames(wanted.layer)
    length = frames.length[rows]
    if not length.all():
        raise TrainError(
            f"{corpus.encoder(wanted.encoder).path}, {wanted.text}: expected frames of every clip, {int((length == 0).sum())} have "
            f"none (first: {corpus.clip[rows[length == 0]][0]}). List them and extract again, or leave them out with `clips:`."
        )

    def read(clips: np.ndarray) -> list[np.ndarray]:
        found = frames.read(rows[clips])
        _refuse(corpus, wanted, rows[clips], np.array([not np.isfinite(clip).all() for clip in found], dtype=bool))
        return found

    source = FrameSource(read, length, frames.values.shape[1])
    held = int(length.sum()) * source.dim * frames.values.dtype.itemsize <= HELD_BYTES
    return read(np.arange(len(rows))) if held else source


def _refuse(corpus: Corpus, wanted: Input, rows: np.ndarray, bad: np.ndarray) -> None:
    encoder = corpus.encoder(wanted.encoder)
    if bad.any():
        clips = ", ".join(str(clip) for clip in corpus.clip[rows[bad]][:3])
        raise TrainError(
            f"{encoder.path}, {wanted.text}: expected finite numbers, {int(bad.sum())} clips hold NaN or infinity "
            f"(first: {clips}). Run `voxcache store verify`, or extract this encoder again."
        )


def _mean(encoder: EncoderGroup, layer: int) -> np.ndarray:
    return encoder.pooled_all() if layer == WEIGHTED else encoder.pooled(layer)


def _std(encoder: EncoderGroup, layer: int) -> np.ndarray:
    if layer != WEIGHTED:
        return encoder.pooled_std(layer)
    return np.stack([encoder.pooled_std(index) for index in encoder.layers], axis=1)
