"""What an experiment is remembered by: a slot that names its cell and a key over everything that produced its result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .config import TrainConfig, Training
from .grid import Chosen, CorpusPlan, Experiment
from .inputs import BEST, WEIGHTED, Input

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
    nested = chosen.nested or any(item.layer == BEST for item in inputs)
    if nested:
        names["inner_folds"] = config.inner_folds
    produced_by = {
        **names,
        "split": corpus.split.content,
        "grouped": corpus.split.grouped,
        "clips": corpus.clips.content,
        "store": [corpus.facts(item.encoder).content for item in inputs],
        "code": CODE_VERSION,
    }
    if nested:
        produced_by["inner_seed"] = corpus.split_config.seed
    if corpus.clips.audio is not None and corpus.clips.audio.shared.any():
        produced_by["copies"] = _hash(corpus.clips.audio.linked.tolist())  # inner parts keep them together
    if parts := _parts_of_layers(corpus, inputs):
        produced_by["layers"] = parts
    cell = {name: value for name, value in names.items() if name != "seed"}
    return Experiment(corpus.name, inputs, chosen, seed, _hash(names), _hash(produced_by), _hash(cell))


def _parts_of_layers(corpus: CorpusPlan, inputs: tuple[Input, ...]) -> dict[str, tuple[int, ...]]:
    """Return the layers that are weighed or chosen from, by encoder, where they are not all that it has."""
    held = {}
    for item in inputs:
        if item.layer in (BEST, WEIGHTED):
            facts = corpus.facts(item.encoder)
            layers = facts.frame_layers if item.statistics == "frames" else facts.layers
            if layers != tuple(range(facts.n_layers)):
                held[item.encoder] = layers
    return held


def _relevant(training: Training, chosen: Chosen) -> dict[str, Any]:
    if chosen.learner.engine == "torch":
        return training.model_dump(mode="json")
    return {"class_weights": training.class_weights}


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
