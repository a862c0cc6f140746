"""What an experiment is remembered by: a slot that names its cell and a key over everything that produced its result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .config import TrainConfig, Training
from .grid import Chosen, CorpusPlan, Experiment
from .inputs import BEST, Input

CODE_VERSION = 2
"""Raised by whoever changes what an experiment computes, so that older results count as stale."""


def experiment(
    config: TrainConfig, training: Training, corpus: CorpusPlan, inputs: tuple[Input, ...], chosen: Chosen, seed: int
) -> Experiment:
    """Return one cell of the grid with its slot and key."""
    names = {
        "corpus": corpus.name,
        "inputs": [[item.encoder, item.layer, item.statistics] for item in inputs],
        "kind": chosen.kind,
        "architecture": chosen.name,
        "options": chosen.options,
        "target": config.target,
        "split": config.resolved_split.model_dump(mode="json"),
        "training": _relevant(training, chosen),
        "seed": seed,
    }
    if corpus.clips.targets:
        names["joint"] = config.joint
    if chosen.candidates:
        names["candidates"] = chosen.candidates
    if chosen.nested or any(item.layer == BEST for item in inputs):
        names["inner_folds"] = config.inner_folds
    produced_by = {
        **names,
        "split": corpus.split.content,
        "grouped": corpus.split.grouped,
        "clips": corpus.clips.content,
        "store": [corpus.facts(item.encoder).content for item in inputs],
        "code": CODE_VERSION,
    }
    cell = {name: value for name, value in names.items() if name != "seed"}
    return Experiment(corpus.name, inputs, chosen, seed, _hash(names), _hash(produced_by), _hash(cell))


def _relevant(training: Training, chosen: Chosen) -> dict[str, Any]:
    if chosen.learner.engine == "torch":
        return training.model_dump(mode="json")
    return {"class_weights": training.class_weights}


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
