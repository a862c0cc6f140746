"""Small stores for tests: made embeddings, not an encoder's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxcache.store import (
    ColumnData,
    Corpus,
    EncoderWriter,
    Products,
    Registered,
    UnitData,
    create_store,
    register_clips,
    register_encoder,
)

KEY = {"weights": "a" * 64, "dtype": "float32"}
ABOUT = {"card": {"name": "made", "pretraining": []}, "weights_origin": "none"}


@dataclass(frozen=True)
class Made:
    """What a small store is filled with: `n` clips, `layers` x `dim`, `lengths` frames each."""

    n: int = 11
    layers: int = 3
    dim: int = 4
    unit_rows: int = 4
    seed: int = 0
    failed: tuple[int, ...] = (2,)

    @property
    def ids(self) -> list[str]:
        return [f"clip-{i:03d}.wav" for i in range(self.n)]

    @property
    def hashes(self) -> list[str]:
        return [f"{self.seed:032x}{i:032x}" for i in range(self.n)]

    @property
    def lengths(self) -> np.ndarray:
        return np.array([3 + (7 * i) % 5 for i in range(self.n)])

    def pooled(self, row: int) -> np.ndarray:
        """Return one clip's layers, a function of its row and the seed."""
        value = np.random.default_rng([self.seed, row]).normal(size=(self.layers, self.dim)).astype(np.float32)
        return np.full_like(value, np.nan) if row in self.failed else value

    def frames(self, row: int) -> np.ndarray | None:
        """Return one clip's frames of the last layer."""
        if row in self.failed:
            return None
        shape = (int(self.lengths[row]), self.dim)
        return np.random.default_rng([self.seed, row, 1]).normal(size=shape).astype(np.float16)

    def unit(self, rows: Sequence[int] | np.ndarray, products: Products) -> UnitData:
        """Return what an encoder would have given for these rows."""
        failed = np.array([row in self.failed for row in rows])
        pooled = np.stack([self.pooled(int(row)) for row in rows])
        return UnitData(
            status=np.where(failed, 2, 1).astype(np.uint8),
            reason=np.where(failed, "made to fail", "").astype(object),
            pooled=pooled,
            pooled_std=pooled * 2 if products.std else None,
            frames={layer: [self.frames(int(row)) for row in rows] for layer in products.frames},
        )


NOTHING_MORE = Products()


def register(
    path: Path, made: Made, products: Products = NOTHING_MORE, key: dict[str, str] | None = None
) -> EncoderWriter:
    """Register the clips and one encoder."""
    return register_encoder(
        register_corpus(path, made)[0],
        "made",
        key=key or KEY,
        n_layers=made.layers,
        dim=made.dim,
        n_frames=made.lengths,
        products=products,
        about=ABOUT,
    )


def register_corpus(path: Path, made: Made) -> tuple[Corpus, Registered]:
    """Register the clips only."""
    label = np.array([f"class {i % 3}" for i in range(made.n)], dtype=object)
    return register_clips(
        create_store(path),
        "corpus",
        clip=made.ids,
        sha256=made.hashes,
        n_samples=[16_000 + i for i in range(made.n)],
        columns=[ColumnData("label", "class", label), ColumnData("arousal", "target", np.arange(made.n) / 7)],
        about={"licence": "CC0-1.0"},
        unit_rows=made.unit_rows,
    )


def fill(writer: EncoderWriter, made: Made) -> int:
    """Commit whatever is to do; return the clips committed."""
    todo = writer.todo()
    for unit, rows in todo.items():
        writer.commit(unit, rows, made.unit(rows, writer.products))
    return sum(len(rows) for rows in todo.values())
