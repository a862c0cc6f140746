"""Embedding a sample of stored clips again, alone, and comparing: do the numbers in a store still come out?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..pipeline import Pipeline
from ..store import open_store
from .jobs import Loaded
from .plan import CorpusPlan, EncoderPlan, plan_corpora, plan_encoders
from .progress import Reporter
from .session import read_clip
from .units import ClipFile

TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 5e-3}
"""Largest relative error that another batch, machine or kernel may cause at each precision."""


@dataclass(frozen=True)
class Recheck:
    """How far a sample of one encoder's embeddings is from what comes out now, as |new - stored| / |stored|.

    Attributes:
        worst: infinite where a clip fails now.
        n_changed: clips whose audio changed since, left out.
    """

    corpus: str
    encoder: str
    n_clips: int
    worst: float
    worst_clip: str
    tolerance: float
    n_changed: int = 0

    @property
    def agrees(self) -> bool:
        """True where every clip is within the tolerance of its precision."""
        return self.worst <= self.tolerance

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else f"DIFFERS (tolerance {self.tolerance:g})"
        found = f"{self.n_clips} clips embedded again, worst {self.worst:.1e} ({self.worst_clip})"
        left_out = f", {self.n_changed} left out, whose audio changed since" if self.n_changed else ""
        return f"{self.corpus} x {self.encoder}: {found}{left_out}: {verdict}"


def re_embed(pipeline: Pipeline, n_clips: int, report: Reporter, *, seed: int = 0) -> Iterator[Recheck]:
    """Embed up to `n_clips` random ok clips of every corpus and encoder again, one at a time, and compare every layer."""
    loaded = Loaded(pipeline.extract.device, report)
    encoders = plan_encoders(pipeline)
    for corpus in plan_corpora(pipeline, report):
        for plan in encoders:
            yield _recheck(pipeline, corpus, plan, loaded, np.random.default_rng(seed), n_clips)


def _recheck(
    pipeline: Pipeline, corpus: CorpusPlan, plan: EncoderPlan, loaded: Loaded, rng: np.random.Generator, n_clips: int
) -> Recheck:
    from .embed import Cutting

    held = open_store(pipeline.store).corpus(corpus.scan.name)
    stored = held.encoder(plan.name)
    now = {source.clip: (source, file) for source, file in zip(corpus.scan.clips, corpus.files, strict=True)}
    listed = [int(row) for row in np.flatnonzero(stored.ledger().ok) if held.clip[row] in now]
    same = [row for row in listed if now[str(held.clip[row])][1].sha256 == held.sha256[row]]
    rows = np.sort(rng.permutation(same)[:n_clips]).astype(np.int64)
    cutting = Cutting(pipeline.extract.max_s, pipeline.extract.overlap_s, 1)
    products = plan.products(pipeline.extract)
    worst, worst_clip = 0.0, "none"
    for row, values in zip(rows, stored.pooled_all(rows), strict=True):
        source, file = now[str(held.clip[row])]
        clip = ClipFile(int(row), source.file, source.start_s, source.end_s, file.n_samples, file.error)
        new = loaded.embed(plan, [read_clip(clip)], cutting=cutting, products=products).pooled[0]
        error = _apart(new[list(stored.layers)], values)
        if error > worst:
            worst, worst_clip = error, str(held.clip[row])
    tolerance = TOLERANCE[plan.config.dtype]
    return Recheck(held.name, plan.name, len(rows), worst, worst_clip, tolerance, len(listed) - len(same))


def _apart(new: np.ndarray, stored: np.ndarray) -> float:
    """Return the largest relative error of the layers of a clip, both [layer, feature]; infinite where one is not finite."""
    off, size = (np.linalg.norm(values, axis=-1) for values in (new - stored, stored))
    worst = float(np.where(off == 0, 0.0, off / np.maximum(size, np.finfo(np.float32).tiny)).max())
    return worst if np.isfinite(worst) else np.inf
