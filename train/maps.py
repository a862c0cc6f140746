"""Two-dimensional maps of raw embeddings (t-SNE), kept in the results so that each is computed once."""

from __future__ import annotations

import hashlib

import numpy as np

from .grid import CorpusPlan
from .results import Results
from .seeding import generator

MAX_POINTS = 2000
VERSION = 1


def tsne(
    corpus: CorpusPlan, encoder: str, layer: int, x: np.ndarray | None, results: Results
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return clips int64 [point] and their places float32 [point, 2]; None for fewer than five clips.

    At most MAX_POINTS clips, drawn evenly from the classes. Features are standardised over all of them: nothing is learned
    from a map.

    Args:
        x: the embeddings, float32 [clip, feature]; None to look only at what is kept.
    """
    key = _key(corpus, encoder, layer)
    kept = results.get_map(key)
    if kept is not None or x is None or len(x) < 5:
        return kept
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    clip = draw(corpus.clips.strata, MAX_POINTS)
    points = StandardScaler().fit_transform(x[clip])
    if points.shape[1] > 50:
        points = PCA(min(50, len(clip)), random_state=0).fit_transform(points)
    perplexity = min(30.0, (len(clip) - 1) / 3)
    xy = TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=500).fit_transform(points)
    results.put_map(key, clip, xy)
    return clip, np.asarray(xy, dtype=np.float32)


def draw(y: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` clips, int64 [point] in order, with every class in its share."""
    if len(y) <= most:
        return np.arange(len(y))
    shuffled = generator("map").permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    return np.sort(by_class[np.linspace(0, len(y) - 1, most).astype(np.int64)])


def _key(corpus: CorpusPlan, encoder: str, layer: int) -> str:
    parts = ("tsne", str(VERSION), corpus.facts(encoder).content, str(layer), corpus.clips.content)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
