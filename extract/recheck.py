"""Embedding a sample of stored clips again, alone, and comparing: do the numbers in a store still come out?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..pipeline import Pipeline
from ..store import open_store
from .audio import load
from .jobs import Loaded
from .plan import CorpusPlan, EncoderPlan, plan_corpora, plan_encoders
from .progress import Reporter

TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 5e-3}
"""Largest relative error that another batch, machine or kernel may cause at each precision."""


@dataclass(frozen=True)
class Recheck:
    """How far a sample of one encoder's embeddings is from what comes out now, as |new - stored| / |stored|."""

    corpus: str
    encoder: str
    n_clips: int
    worst: float
    worst_clip: str
    tolerance: float

    @property
    def agrees(self) -> bool:
        """True where every clip is within the tolerance of its precision."""
        return self.worst <= self.tolerance

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else f"DIFFERS (tolerance {self.tolerance:g})"
        found = f"{self.n_clips} clips embedded again, worst {self.worst:.1e} ({self.worst_clip})"
        return f"{self.corpus} x {self.encoder}: {found}: {verdict}"


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
    sources = corpus.sources
    rows = [row for row in np.flatnonzero(stored.ledger().ok) if held.clip[row] in sources]
    rows = sorted(rng.permutation(rows)[:n_clips])
    cutting = Cutting(pipeline.extract.max_s, pipeline.extract.overlap_s, 1)
    products = plan.products(pipeline.extract)
    worst, worst_clip = 0.0, "none"
    values = stored.pooled_all()
    for row in rows:
        source = sources[str(held.clip[row])]
        wave = load(source.path, source.start_s, source.end_s)
        new = loaded.embed(plan, [wave], cutting=cutting, products=products).pooled[0]
        new = new[list(stored.layers)]
        error = float((np.linalg.norm(new - values[row], axis=-1) / np.linalg.norm(values[row], axis=-1)).max())
        if error > worst:
            worst, worst_clip = error, str(held.clip[row])
    return Recheck(held.name, plan.name, len(rows), worst, worst_clip, TOLERANCE[plan.config.dtype])
