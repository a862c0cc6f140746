"""Every head and fusion on every input and target either trains or is refused before anything is trained, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxcache.errors import ConfigError
from voxcache.store import open_store
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.execute import jobs, run_jobs
from voxcache.train.fusions import FUSIONS
from voxcache.train.heads import HEADS
from voxcache.train.plan import plan

LATE = [
    {"name": "late", "head": head, "how": how}
    for head, how in (("fcn", "stacking"), ("cnn-lstm", "average"), ("svm", "stacking"), ("ridge", "average"))
]
CHOICES: list[tuple[str, Any]] = [("head", name) for name in HEADS if name != "forest"]
CHOICES.append(("head", {"name": "forest", "trees": 5}))
CHOICES += [("fusion", name) for name in FUSIONS if name != "late"] + [("fusion", late) for late in LATE]
TARGETS: dict[str, dict[str, Any]] = {
    "classes": {},
    "a network a target": {"target": ["joy", "fear"]},
    "targets jointly": {"target": ["joy", "fear"], "joint": True},
}
INPUTS = [("last", "mean+std"), ("weighted", "mean"), (0, "mean"), ("all", "mean"), ("best", "mean")]
"""All of them for classes, the first two for targets: which layer is read has nothing to do with what is predicted."""


@pytest.fixture
def store(make_store: Callable[..., Store], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three encoders with deviations and the frames of their last layer, labels and two targets; written once."""
    path = tmp_path_factory.getbasetemp() / "combinations.zarr"
    if path.exists():
        return open_store(path)
    return make_store(path=path, n=24, encoders=("x", "y", "z"), targets=("joy", "fear"), frames=True, std=True)


def expected_refusal(name: str, layer: object, targets: bool) -> bool:
    """Return whether a combination makes no sense: of what is known of the heads, written down a second time here."""
    frames = name in ("cnn-lstm", "cnn-lstm-attention", "transformer")
    classical = name in ("logreg", "ridge", "svm", "knn", "forest")
    wrong_kind = (name == "logreg" and targets) or (name == "ridge" and not targets)
    return wrong_kind or (layer == "weighted" and (classical or frames)) or (layer == 0 and frames)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_combination_trains_or_is_refused(store: Store, choice: tuple[str, Any], kind: str) -> None:
    """For each layer and statistics: one epoch gives finite numbers for every fold, or planning refuses with a next step."""
    what, chosen = choice
    learner = chosen.get("head", chosen["name"]) if isinstance(chosen, dict) else chosen
    for layer, statistics in INPUTS if kind == "classes" else INPUTS[:2]:
        section: dict[str, Any] = {"heads": [chosen]}
        if what == "fusion":
            section = {"heads": [], "fusion": {"methods": [chosen], "pairs": [["x", "y", "z"]]}}
        config = TrainConfig.model_validate(
            {
                **section,
                **TARGETS[kind],
                "inputs": {"layer": layer, "statistics": statistics},
                "split": {"folds": 2},
                "inner_folds": 2,
                "seeds": [0],
                "training": {"epochs": 1},
                "device": "cpu",
            }
        )
        if expected_refusal(learner, layer, targets=kind != "classes"):
            with pytest.raises(ConfigError) as caught:
                plan(config, store)
            assert all("remove" in problem.lower() for problem in caught.value.problems)
            continue
        made = plan(config, store)
        assert made.experiments
        wanted = jobs(made.corpora, made.experiments, config)
        for ended in run_jobs(store, wanted, device="cpu", workers=1):
            assert not ended.failure, (ended.job.text, layer, statistics, ended.failure)
            for outcome in ended.outcomes:
                assert len(outcome.folds) == 2
                assert all(np.isfinite(fold.outputs).all() for fold in outcome.folds)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": ["cnn"]}, "head 'cnn': expected vectors of at least 4 features, 'alpha' in 'made' gives 3"),
        ({"heads": [], "fusion": {"methods": ["reno"]}}, "fusion 'reno': expected vectors of at least 4 features"),
        (
            {"heads": [], "fusion": {"methods": [{"name": "reno", "attention_heads": 5}]}},
            "expected attention_heads to divide the 64 channels",
        ),
        ({"heads": ["knn"], "training": {"class_weights": "balanced"}}, "head 'knn' knows no weights of classes"),
    ],
)
def test_what_would_fail_later_is_refused_while_planning(
    make_store: Callable[..., Store], tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    """Vectors that are too short, heads that do not divide channels and weights that nobody follows are named at once."""
    with pytest.raises(ConfigError, match=message):
        plan(TrainConfig.model_validate(config), make_store(dim=3))
