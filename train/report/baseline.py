"""What can be had without learning anything from the audio."""

from __future__ import annotations

import numpy as np

from ..grid import CorpusPlan
from ..scores import confusion, scores
from ..targets import target_scores


def baseline(corpus: CorpusPlan) -> dict[str, float]:
    """Return what always saying the training clips' most frequent class, or the targets' mean, scores over folds."""
    if corpus.clips.targets:
        return _mean_baseline(corpus)
    n_classes, y = len(corpus.clips.classes), corpus.clips.y
    found = []
    for fold in range(corpus.split.n_folds):
        test = corpus.split.test(fold)
        if len(test):
            guess = int(np.bincount(y[corpus.split.train(fold)], minlength=n_classes).argmax())
            found.append(scores(confusion(y[test], np.full(len(test), guess), n_classes)))
    return {metric: float(np.mean([getattr(score, metric) for score in found])) for metric in corpus.clips.metrics}


def _mean_baseline(corpus: CorpusPlan) -> dict[str, float]:
    clips, found = corpus.clips, []
    for fold in range(corpus.split.n_folds):
        test = corpus.split.test(fold)
        said = np.broadcast_to(clips.y[corpus.split.train(fold)].mean(0), clips.y[test].shape)
        found += [target_scores(clips.y[test, index], said[:, index])[:, 0] for index in range(len(clips.targets))]
    return dict(zip(clips.metrics, np.nanmean(found, axis=0).tolist(), strict=True))
