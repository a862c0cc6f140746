"""A pipeline of 36 made clips in 9 units."""

from __future__ import annotations

import json
from pathlib import Path

from voxcache.pipeline import Pipeline, check


def small(folder: Path, store: str = "s.zarr", **changes: object) -> Pipeline:
    """Return a pipeline of 36 clips in 9 units, two encoders, frames and deviations, with a fixed batch budget."""
    corpus = {"adapter": "synthetic", "root": str(folder / "audio"), "n_speakers": 3, "clips_per_class_per_speaker": 2}
    data = {
        "store": str(folder / store),
        "corpora": {"bursts": corpus},
        "encoders": ["logmel", {"name": "wav2vec2-mini", "frames": ["last"]}],
        "extract": {"unit_clips": 4, "statistics": ["mean", "std"], "batch_s": 5},
        **changes,
    }
    return check(Pipeline, data, where="test")


def written(config: Pipeline, folder: Path) -> Path:
    """Write a pipeline to p.yaml, for the command line."""
    (folder / "p.yaml").write_text(json.dumps(config.model_dump(mode="json", exclude_unset=True, by_alias=True)))
    return folder / "p.yaml"
