"""Stores for stage 2: real ones, whose embeddings are made: a class and a speaker signal in noise, not an encoder's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from voxcache.store import ColumnData, Products, UnitData, create_store, open_store, register_clips, register_encoder
from voxcache.store.read import Store

torch.set_num_threads(1)


@dataclass(frozen=True)
class MadeCorpus:
    """`n` clips of `classes` and `speakers`; embeddings carry `signal` x the class and `voice` x the speaker."""

    n: int = 60
    classes: tuple[str, ...] = ("anger", "fear", "joy")
    n_speakers: int = 10
    encoders: tuple[str, ...] = ("alpha", "beta-random")
    dim: int = 16
    n_layers: int = 3
    signal: float = 3.0
    voice: float = 0.0
    failed: dict[str, tuple[int, ...]] | None = None
    std: bool = False
    speaker_decides_class: bool = False
    label: Callable[[int], str] | None = None
    split: Callable[[int], str] | None = None
    with_speakers: bool = True
    targets: tuple[str, ...] = ()
    frames: bool = False
    audio: str = "a"
    name: str = "made"

    @property
    def speaker(self) -> np.ndarray:
        return np.arange(self.n) // len(self.classes) % self.n_speakers

    @property
    def y(self) -> np.ndarray:
        if self.speaker_decides_class:
            return self.speaker % len(self.classes)
        return np.arange(self.n) % len(self.classes)

    @property
    def n_frames(self) -> np.ndarray:
        return 1 + np.arange(self.n) % 7

    def frame_values(self, pooled: np.ndarray, rows: np.ndarray, failed: np.ndarray) -> list[np.ndarray | None]:
        """Return frames that scatter around the clip's vector of the last layer."""
        noise = np.random.default_rng(5).normal(scale=0.3, size=(self.n, 7, self.dim)).astype(np.float32)
        whole = [pooled[row, -1] + noise[row, : self.n_frames[row]] for row in rows]
        return [None if bad else frames for frames, bad in zip(whole, failed, strict=True)]

    def columns(self) -> list[ColumnData]:
        names = [self.label(i) if self.label else self.classes[y] for i, y in enumerate(self.y)]
        columns = [ColumnData("label", "class", np.array(names, dtype=object))]
        if self.with_speakers:
            columns.append(ColumnData("speaker", "group", np.array([f"s{s}" for s in self.speaker], dtype=object)))
        if self.split:
            columns.append(ColumnData("split", "split", np.array([self.split(i) for i in range(self.n)], dtype=object)))
        for index, name in enumerate(self.targets):
            columns.append(ColumnData(name, "target", self.target(index)))
        return columns

    def sha256(self, i: int) -> str:
        """Return the content hash of a clip."""
        return f"{self.audio}{i:03d}"

    def clip(self, i: int) -> str:
        """Return the id of a clip."""
        return f"clip-{i:03d}"

    def target(self, index: int) -> np.ndarray:
        """Return a target: of what the embeddings carry, each a different order of the classes, with noise."""
        order = np.random.default_rng([7, index]).permutation(len(self.classes))
        return order[self.y] + np.random.default_rng([8, index]).normal(scale=0.1, size=self.n)

    def embeddings(self, encoder: int) -> np.ndarray:
        rng = np.random.default_rng([encoder, self.dim])
        noise = rng.normal(size=(self.n, self.n_layers, self.dim))
        of_class = rng.normal(size=(len(self.classes), self.n_layers, self.dim))
        of_speaker = rng.normal(size=(self.n_speakers, self.n_layers, self.dim))
        return (noise + self.signal * of_class[self.y] + self.voice * of_speaker[self.speaker]).astype(np.float32)


def write(path: Path, made: MadeCorpus) -> Store:
    """Write a corpus into the store at `path` and return it opened for reading."""
    corpus, _ = register_clips(
        create_store(path),
        made.name,
        clip=[made.clip(i) for i in range(made.n)],
        sha256=[made.sha256(i) for i in range(made.n)],
        n_samples=[16_000] * made.n,
        columns=made.columns(),
        about={"licence": "CC0-1.0"},
        unit_rows=32,
    )
    for index, name in enumerate(made.encoders):
        origin = "random(seed=0)" if name.endswith("-random") else "hub:made/up@1"
        writer = register_encoder(
            corpus,
            name,
            key={"weights": name, "dtype": "float32"},
            n_layers=made.n_layers,
            dim=made.dim,
            n_frames=made.n_frames,
            products=Products(std=made.std, frames=(made.n_layers - 1,) if made.frames else ()),
            about={
                "card": {"name": name, "pretraining": ["AudioSet", "Made"], "licence": "MIT"},
                "weights_origin": origin,
            },
        )
        values = made.embeddings(index)
        bad = (made.failed or {}).get(name, ())
        values[list(bad)] = np.nan
        for unit, rows in writer.todo().items():
            failed = np.isin(rows, bad)
            data = UnitData(
                status=np.where(failed, 2, 1).astype(np.uint8),
                reason=np.where(failed, "made to fail", "").astype(object),
                pooled=values[rows],
                frames={made.n_layers - 1: made.frame_values(values, rows, failed)} if made.frames else {},
                pooled_std=np.abs(values[rows]) if made.std else None,
            )
            writer.commit(unit, rows, data)
    return open_store(path)


@pytest.fixture(autouse=True)
def _no_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports map with t-SNE alone, whatever is installed: UMAP compiles itself for many seconds."""
    monkeypatch.setattr("voxcache.train.maps.find_spec", lambda name: None)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Store]:
    """Return a function that writes corpora, given as MadeCorpus or its fields, into one store and opens it."""

    def make(*corpora: MadeCorpus, path: Path = tmp_path / "made.zarr", **fields: object) -> Store:
        for made in corpora or (MadeCorpus(**fields),):  # type: ignore[arg-type]
            store = write(path, made)
        return store

    make.corpus = MadeCorpus  # type: ignore[attr-defined]
    return make
