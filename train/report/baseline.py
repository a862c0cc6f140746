"""What can be had without learning anything from the audio."""

from __future__ import annotations

import numpy as np

from ..grid import CorpusPlan
from ..intervals import Predictions, left_out
from ..targets import Regressed, left_out_targets


def baseline(corpus: CorpusPlan) -> dict[str, float]:
    """Return what always saying the training clips' most frequent class, or the targets' mean, scores, pooled over folds."""
    clips, split, design = corpus.clips, corpus.split, corpus.design
    said = np.zeros(clips.y.shape, dtype=clips.y.dtype)
    for fold in range(split.n_folds):
        known = clips.y[split.train(fold)]
        said[split.test(fold)] = known.mean(0) if clips.targets else np.bincount(known).argmax()
    clip = design.tested
    if clips.targets:
        left = left_out_targets(design, Regressed(clip, design.fold[clip], said[clip]))
    else:
        left = left_out(design, Predictions(clip, design.fold[clip], said[clip]))
    return dict(zip(clips.metrics, left.whole.tolist(), strict=True))
