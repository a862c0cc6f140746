"""Choosing systems by conditions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from voxcache.errors import ConfigError
from voxcache.train.config import ArchitectureConfig
from voxcache.train.selecting import Condition, conditions, one
from voxcache.train.systems import System

LABELS = [
    ArchitectureConfig.model_validate(item).label
    for item in (
        {"name": "fcn"},
        {"name": "fcn", "hidden": [64], "dropout": 0.5},
        {"name": "fcn", "hidden": [64, 32], "dropout": 0.5},
        {"name": "late", "how": "stacking", "head": {"name": "fcn", "hidden": [64], "dropout": 0.5}},
        {"name": "logreg", "search": {"c": [0.1, 1], "max_iter": [10]}},
    )
]


def system(number: int) -> System:
    """Return a system of head `LABELS[number]`; what conditions do not look at is empty."""
    label = LABELS[number]
    said: dict[str, Any] = {field.name: "" for field in dataclasses.fields(System)}
    said |= {"id": f"{number}", "corpus": "made", "encoders": ("alpha",), "input": "layer 2, mean", "kind": "head"}
    said |= {"architecture": label.split()[0], "label": label, "target": "Joy, Fear", "runs": ()}
    return System(**said)


@pytest.mark.parametrize("number", range(len(LABELS)))
def test_labels_can_be_given_back_as_they_are_printed(number: int) -> None:
    """With its commas and brackets a label names its own system, alone and between other conditions."""
    systems = [system(number) for number in range(len(LABELS))]
    text = f"input=layer 2, mean,head={LABELS[number]},target=Joy, Fear, corpus=m*"
    if number:  # fcn alone is also the architecture of others
        assert one(systems, f"head={LABELS[number]}") is systems[number]
        assert one(systems, text) is systems[number]
    assert conditions([text]) == [
        Condition("input", "layer 2, mean"),
        Condition("head", LABELS[number]),
        Condition("target", "Joy, Fear"),
        Condition("corpus", "m*"),
    ]


def test_a_condition_with_an_unknown_field_is_refused() -> None:
    """Also between others."""
    with pytest.raises(ConfigError, match="unknown field, did you mean 'encoder'"):
        conditions(["head=fcn,encodr=alpha,"])
