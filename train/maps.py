"""Two-dimensional maps of embeddings (t-SNE, UMAP), kept in the results so that each is computed once."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import Literal

import numpy as np

from .grid import CorpusPlan
from .results import Results

VERSION = 1
Method = Literal["tsne", "umap"]
NAMES: dict[Method, str] = {"tsne": "t-SNE", "umap": "UMAP"}


def methods() -> list[Method]:
    """Return t-SNE, and UMAP where umap-learn is installed."""
    return ["tsne", "umap"] if find_spec("umap") is not None else ["tsne"]


def key_of_raw(corpus: CorpusPlan, encoder: str, layer: int, method: Method = "tsne") -> str:
    """Return what a map of an encoder's embeddings is kept under: all that it is made of."""
    return _key(method, corpus.facts(encoder).content, str(layer), corpus.clips.content)


def key_of_learned(experiment: str, method: Method = "tsne") -> str:
    """Return what a map of what an experiment's network made of its test clips is kept under."""
    return _key(method, "learned", experiment)


def _key(*parts: str) -> str:
    method, *rest = parts
    return hashlib.sha256("\0".join((method, str(VERSION), *rest)).encode()).hexdigest()


def put(key: str, x: np.ndarray, clip: np.ndarray, method: Method, results: Results) -> None:
    """Make and keep a map of vectors float [point, feature] of clips int64 [point].

    Features are standardised over all of them: nothing is learned from a map.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    points = StandardScaler().fit_transform(np.asarray(x, dtype=np.float32))
    if points.shape[1] > 50:
        points = PCA(min(50, len(points)), random_state=0).fit_transform(points)
    results.put_map(key, clip, _places(points, method))


def _places(points: np.ndarray, method: Method) -> np.ndarray:
    if method == "umap":
        from umap import UMAP

        fitted = UMAP(n_neighbors=min(15, len(points) - 1), random_state=0, n_jobs=1).fit_transform(points)
        return np.asarray(fitted)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=500).fit_transform(points))
