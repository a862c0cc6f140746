"""Keeping fitted heads: what is read back says what was kept, and nothing in a folder is executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io

from voxcache.errors import ConfigError, SchemaError
from voxcache.store.read import Store
from voxcache.train.architecture import Shape
from voxcache.train.config import ArchitectureConfig, TrainConfig
from voxcache.train.grid import chosen_of
from voxcache.train.heads import HEADS
from voxcache.train.models import NetworkModel
from voxcache.train.plan import plan
from voxcache.train.run import run
from voxcache.train.saving import HEAD, fit_on_all, load_saved, save, save_heads

Make = Callable[..., Store]
CLASSES = ["fcn", "cnn", "logreg", "svm", "knn", {"name": "forest", "trees": 5}, "cnn-lstm"]
LATE = {"name": "late", "how": "stacking", "head": {"name": "logreg", "search": {"c": [0.1, 1.0]}}}
QUICK: dict[str, Any] = {"training": {"epochs": 2}, "seeds": [0], "device": "cpu"}


def inputs_of(store: Store, about: dict[str, Any]) -> list[Any]:
    """Return what a head is fed for all clips, read from the store."""
    corpus, found = store.corpus("made"), []
    for item in about["inputs"]:
        encoder = corpus.encoder(item["encoder"])
        if item["statistics"] == "frames":
            found.append(encoder.frames(item["layer"]).read(np.arange(corpus.n_clips)))
        else:
            found.append(encoder.pooled_all() if item["layer"] == "weighted" else encoder.pooled(item["layer"]))
    return found


@pytest.mark.parametrize(
    "config",
    [
        {"heads": CLASSES, "fusion": {"methods": ["reno", LATE]}},
        {
            "heads": ["fcn", "ridge", "svm", "cnn-lstm"],
            "target": ["joy", "fear"],
            "fusion": {"methods": ["gated", "late"]},
        },
        {"heads": ["linear"], "inputs": {"layer": "weighted"}},
        {"heads": ["linear", "knn"], "inputs": {"layer": "best"}},
    ],
)
def test_every_kind_of_head_survives_being_kept(make_store: Make, tmp_path: Path, config: dict[str, Any]) -> None:
    """For every cell, what is read back predicts what the fitted model did, of classes and of targets."""
    store = make_store(targets=("joy", "fear"), frames=True)
    planned = plan(TrainConfig.model_validate({**QUICK, **config}), store)
    for experiment in planned.experiments:
        head = fit_on_all(planned, store, experiment, {}, None)
        save(tmp_path / "head", head)
        xs = inputs_of(store, head.about)
        said = load_saved(tmp_path / "head").predict_vectors(xs)
        np.testing.assert_allclose(said, head.predict_vectors(xs), atol=1e-6, err_msg=experiment.text)
        assert said.shape == (60, len(head.classes or head.targets))
        if head.classes and experiment.chosen.name in ("logreg", "late"):
            right = np.array(head.classes)[said.argmax(1)] == store.corpus("made").columns["label"].values
            assert right.mean() > 0.9
        assert not list((tmp_path / "head").glob("*.pkl"))


def test_a_grid_is_kept_cell_by_cell(make_store: Make, tmp_path: Path) -> None:
    """One folder a cell whatever the seeds, with cross-validated scores, encoder keys, classes and versions in head.json."""
    store = make_store()
    config = TrainConfig.model_validate({**QUICK, "heads": ["linear", "logreg"], "seeds": [0, 1]})
    summary = run(config, store, tmp_path / "out", quiet=True)
    kept = list(save_heads(summary.plan, store, tmp_path / "out", tmp_path / "heads", requests={}))
    assert [path.name for path in kept] == [
        f"made--{encoder}--{head}" for encoder in ("alpha", "beta-random") for head in ("linear", "logreg")
    ]
    about = json.loads((kept[1] / HEAD).read_text())
    assert about["classes"] == ["anger", "fear", "joy"]
    assert about["inputs"][0]["key"] == {"weights": "alpha", "dtype": "float32"}
    assert about["cross_validated"]["uar"] > 0.5
    assert set(about["versions"]) >= {"voxcache", "torch", "scikit-learn"}
    assert about["n_clips"] == 60


def test_a_folder_that_holds_foreign_types_is_refused(make_store: Make, tmp_path: Path) -> None:
    """An estimator file that would need trust in anything but scikit-learn's types is not loaded."""
    store = make_store()
    planned = plan(TrainConfig.model_validate({**QUICK, "heads": ["logreg"]}), store)
    save(tmp_path / "head", fit_on_all(planned, store, planned.experiments[0], {}, None))
    (file,) = (tmp_path / "head").glob("*.skops")
    skops.io.dump({"x": json.JSONDecoder}, file)
    with pytest.raises(SchemaError, match="holds types that are not scikit-learn's own"):
        load_saved(tmp_path / "head")


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    """An empty folder and a newer format are told apart."""
    with pytest.raises(SchemaError, match=r"expected a folder with head\.json"):
        load_saved(tmp_path)
    (tmp_path / HEAD).write_text('{"format": 99}')
    with pytest.raises(SchemaError, match="expected format 1, got 99"):
        load_saved(tmp_path)


def test_weights_of_another_network_are_refused() -> None:
    """A head whose weights go by other names, as another version's may, is refused by name and not with torch's traceback."""
    state = {"mean_0": np.zeros(4, np.float32), "scale_0": np.ones(4, np.float32), "body.old": np.zeros(2, np.float32)}
    model = NetworkModel(
        chosen_of("head", HEADS.get("linear"), ArchitectureConfig(name="linear")), Shape((4,), 2), state
    )
    with pytest.raises(SchemaError, match=r"(?s)head linear: .*Use the voxcache that wrote it"):
        model.predict([np.zeros((1, 4), np.float32)])


def test_a_fold_with_one_class_to_train_on_is_refused(make_store: Make, tmp_path: Path) -> None:
    """Before training, also where the corpus brings the split; the message has the number of clips."""
    store = make_store(split=lambda i: "test" if i % 3 else "train")
    config = {**QUICK, "heads": ["logreg"], "encoders": ["alpha"], "split": {"kind": "predefined"}}
    said = r"corpus 'made': none of the 40 tested clips has a clip of its 'label' among those that its fold trains on"
    with pytest.raises(ConfigError, match=said):
        run(TrainConfig.model_validate(config), store, tmp_path / "out", quiet=True)
