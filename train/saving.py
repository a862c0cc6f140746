"""Keeping fitted heads: head.json, weights.safetensors, and scikit-learn's estimators as .skops; never pickle.

A kept head is fitted on every usable clip (early stopping watches an inner part, or the corpus' own dev clips) and knows what
it must be fed: the encoders' keys, layers and statistics. What it scores is what its cross-validation scored.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SchemaError, TrainError
from ..store.files import move
from .architecture import Shape
from .grid import Chosen, CorpusPlan, Experiment, Plan
from .inputs import BEST, WEIGHTED, Input, load, load_frames
from .learners import Learnt, Setting, Task
from .models import (
    ClassEstimator,
    LateModel,
    Model,
    NetworkModel,
    NetworksOfTargets,
    Stacked,
    TargetEstimators,
    Vectors,
)
from .nested import Solver
from .run import versions
from .splits import UNUSED

if TYPE_CHECKING:
    from ..store import Store

FORMAT = 1
HEAD, WEIGHTS = "head.json", "weights.safetensors"
ALL = -1
"""The fold of a model that is fitted on everything."""

TRUSTED = (
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.EuclideanDistance32",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.tree._tree.Tree",
)
"""Types of scikit-learn's own that skops leaves to the reader to trust: what nearest neighbours and forests are made of."""


@dataclass(frozen=True)
class SavedHead:
    """A fitted head or fusion and everything that is needed to ask it about new clips.

    Attributes:
        about: head.json: classes or targets, inputs with the key of each encoder, architecture, versions.
        model: what predicts.
    """

    about: dict[str, Any]
    model: Model

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where it predicts targets."""
        return tuple(self.about["classes"])

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the continuous targets; none where it predicts classes."""
        return tuple(self.about["targets"])

    def predict_vectors(self, xs: list[Vectors]) -> np.ndarray:
        """Return probabilities float32 [clip, class], or targets [clip, target]; `xs` holds one array an encoder."""
        return self.model.predict(xs)


def save_heads(
    plan: Plan, store: Store, results: str | Path, folder: str | Path, *, requests: Mapping[str, dict[str, Any]]
) -> Iterator[Path]:
    """Fit every cell of the plan (its first seed) on all its clips, keep it below `folder` and yield where.

    Args:
        results: folder of the results, whose cross-validated scores are kept beside each head.
        requests: how each encoder of the store was asked for, by its name there.
    """
    from .results import open_results

    first: dict[str, Experiment] = {}
    for experiment in plan.experiments:
        first.setdefault(experiment.cell, experiment)
    with open_results(results) as held:
        rows = held.rows([experiment.key for experiment in first.values()])
    for experiment in first.values():
        path = Path(folder) / folder_name(experiment, plan)
        scores = {metric: float(np.mean(values)) for metric, values in rows[experiment.key].folds.items()}
        save(path, fit_on_all(plan, store, experiment, requests, scores))
        yield path


def folder_name(experiment: Experiment, plan: Plan) -> str:
    """Return a folder name for a cell, such as "cries--wavlm-base--fcn"; the input stands there where several do."""
    inputs = {e.input_text for e in plan.experiments if e.encoders == experiment.encoders}
    parts = [experiment.corpus, experiment.encoders, experiment.chosen.label]
    if len(inputs) > 1:
        parts.insert(2, experiment.input_text)
    return "--".join(re.sub(r"[^\w.+=-]+", "_", part).strip("_") for part in parts)


def fit_on_all(
    plan: Plan, store: Store, experiment: Experiment, requests: Mapping[str, dict[str, Any]], scores: Any
) -> SavedHead:
    """Return a cell fitted on every usable clip of its corpus."""
    corpus = plan.corpus(experiment.corpus)

    def read(wanted: Input) -> Vectors:
        loader = load_frames if wanted.statistics == "frames" else load
        found: Vectors = loader(store.corpus(corpus.name), wanted, corpus.clips.rows)
        return found

    from .execute import pick_device

    device = pick_device(plan.config.device) if experiment.chosen.learner.engine == "torch" else "cpu"
    training = experiment.chosen.trained_by(plan.config)
    setting = Setting(corpus, training, plan.config.joint, device, plan.config.inner_folds, keep=True)
    rows = np.setdiff1d(np.flatnonzero(corpus.split.fold > UNUSED), corpus.split.dev)
    task = Task(experiment.seed, ALL, rows, rows[:1], "all")  # one clip is asked about and its answer dropped
    (learnt,) = Solver(setting, read).solve(experiment.chosen, experiment.inputs, [task])
    assert learnt.model is not None
    return SavedHead(_about(plan, store, experiment, learnt, requests, scores), learnt.model)


def _about(
    plan: Plan, store: Store, experiment: Experiment, learnt: Learnt, requests: Mapping[str, Any], scores: Any
) -> dict[str, Any]:
    corpus = plan.corpus(experiment.corpus)
    chosen = json.loads(learnt.result.chosen or "{}")
    return {
        "format": FORMAT,
        "corpus": corpus.name,
        "licence": corpus.about.get("licence"),
        "n_clips": learnt.result.n_train + learnt.result.n_inner,
        "clips": corpus.clips.content,
        "classes": list(corpus.clips.classes),
        "targets": list(corpus.clips.targets),
        "architecture": {
            "kind": experiment.chosen.kind,
            "name": experiment.chosen.name,
            "label": experiment.chosen.label,
        },
        "options": json.loads(experiment.chosen.options),
        "chosen": chosen,
        "inputs": [_input(store, corpus, item, chosen, requests) for item in experiment.inputs],
        "training": experiment.chosen.trained_by(plan.config).model_dump(mode="json"),
        "seed": experiment.seed,
        "experiment": experiment.key,
        "cross_validated": scores,
        "versions": json.loads(versions()),
    }


def _input(
    store: Store, corpus: CorpusPlan, item: Input, chosen: Mapping[str, Any], requests: Mapping[str, Any]
) -> dict[str, Any]:
    encoder = store.corpus(corpus.name).encoder(item.encoder)
    layer = item.layer
    if layer == BEST:
        layer = chosen["layer"] if "layer" in chosen else chosen[item.encoder]["layer"]
    return {
        "encoder": item.encoder,
        "layer": "weighted" if layer == WEIGHTED else layer,
        "layers": list(encoder.layers),
        "statistics": item.statistics,
        "frames_dtype": encoder.products.frames_dtype,
        "dim": encoder.dim,
        "key": dict(encoder.key),
        "weights_origin": encoder.weights_origin,
        "request": requests.get(item.encoder) or _request(encoder.card, encoder.weights_origin, encoder.attrs),
    }


def _request(card: Mapping[str, Any], origin: str, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the encoder must have been asked for, as far as the store tells."""
    request = {"name": card.get("name"), "revision": card.get("revision"), "dtype": attrs.get("dtype", "float32")}
    if found := re.match(r"random\(seed=(\d+)", origin):
        request |= {"weights": "random", "seed": int(found[1])}
    return request


def save(folder: Path, head: SavedHead) -> None:
    """Write a head into a folder, which appears whole or not at all; one that is there already is replaced."""
    from safetensors.numpy import save_file

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {}
    about = {**head.about, "model": _Writer(partial, arrays).describe(head.model)}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, partial / WEIGHTS)
    (partial / HEAD).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8", newline="\n")
    shutil.rmtree(folder, ignore_errors=True)
    move(partial, folder)


@dataclass
class _Writer:
    folder: Path
    arrays: dict[str, np.ndarray]
    n_files: int = field(default=0)

    def describe(self, model: Model) -> dict[str, Any]:
        """Return a model as JSON, its arrays and estimators written beside it."""
        if isinstance(model, NetworkModel):
            prefix = self._next()
            self.arrays.update({f"{prefix}/{name}": value for name, value in model.state.items()})
            chosen = {"kind": model.chosen.kind, "name": model.chosen.name, "options": json.loads(model.chosen.options)}
            shape = {"dims": list(model.shape.dims), "n_outputs": model.shape.n_outputs}
            return {"type": "network", "arrays": prefix, "chosen": chosen, "shape": shape}
        if isinstance(model, NetworksOfTargets):
            return {"type": "networks", "networks": [self.describe(one) for one in model.networks]}
        if isinstance(model, ClassEstimator):
            return {"type": "classifier", "file": self._estimator(model.estimator), "n_classes": model.n_classes}
        if isinstance(model, TargetEstimators):
            files = [self._estimator(one) for one in model.estimators]
            return {"type": "regressors", "files": files, "mean": model.mean.tolist(), "std": model.std.tolist()}
        if isinstance(model, LateModel):
            combiner = None if model.combiner is None else self.describe(model.combiner)
            return {"type": "late", "members": [self.describe(one) for one in model.members], "combiner": combiner}
        if isinstance(model, Stacked):
            return {
                "type": "stacked",
                "models": [self.describe(one) for one in model.models],
                "by_target": model.by_target,
            }
        raise TrainError(f"{type(model).__name__}: cannot be kept. Report this.")

    def _estimator(self, estimator: Any) -> str:
        import skops.io

        name = f"{self._next()}.skops"
        skops.io.dump(estimator, self.folder / name)
        unknown = set(skops.io.get_untrusted_types(file=self.folder / name)) - set(TRUSTED)
        if unknown:
            raise TrainError(
                f"{type(estimator).__name__}: cannot be kept without trusting {', '.join(sorted(unknown))}, which are not "
                f"scikit-learn's. Leave it out of `heads:` and `fusion:`, then `--save` again."
            )
        return name

    def _next(self) -> str:
        self.n_files += 1
        return f"part-{self.n_files}"


def load_saved(folder: str | Path) -> SavedHead:
    """Return a kept head; nothing in its folder is executed.

    Raises:
        SchemaError: no head there, one of a newer format, or one that holds types that are not scikit-learn's own.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / HEAD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SchemaError(
            f"head {folder}: expected a folder with {HEAD}, got: {error}. Name one that `voxcache train --save` wrote."
        ) from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise SchemaError(f"head {folder}: expected format {FORMAT}, got {found!r}. Use the voxcache that wrote it.")
    return SavedHead(about, _Reader(folder).model(about["model"]))


@dataclass
class _Reader:
    folder: Path

    def model(self, said: dict[str, Any]) -> Model:
        """Return the model that a description tells of."""
        kind = said["type"]
        if kind == "network":
            return self._network(said)
        if kind == "networks":
            return NetworksOfTargets(tuple(self._network(one) for one in said["networks"]))
        if kind == "classifier":
            return ClassEstimator(self._estimator(said["file"]), said["n_classes"])
        if kind == "regressors":
            estimators = tuple(self._estimator(name) for name in said["files"])
            return TargetEstimators(estimators, np.array(said["mean"]), np.array(said["std"]))
        if kind == "late":
            combiner = None if said["combiner"] is None else self.model(said["combiner"])
            return LateModel(tuple(self.model(one) for one in said["members"]), combiner)
        if kind == "stacked":
            return Stacked(tuple(self.model(one) for one in said["models"]), said["by_target"])
        raise SchemaError(f"head {self.folder}: model of type {kind!r} is unknown. Use the voxcache that wrote it.")

    def _network(self, said: dict[str, Any]) -> NetworkModel:
        from safetensors.numpy import load_file

        prefix = said["arrays"] + "/"
        arrays = load_file(self.folder / WEIGHTS)
        state = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        of = said["chosen"]
        chosen = Chosen(of["kind"], of["name"], of["name"], json.dumps(of["options"]))
        return NetworkModel(chosen, Shape(tuple(said["shape"]["dims"]), said["shape"]["n_outputs"]), state)

    def _estimator(self, name: str) -> Any:
        import skops.io

        path = self.folder / Path(name).name
        unknown = set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED)
        if unknown:
            raise SchemaError(
                f"head {path}: holds types that are not scikit-learn's own ({', '.join(sorted(unknown))}). Nothing was loaded; "
                f"ask who made it."
            )
        return skops.io.load(path, trusted=list(TRUSTED))
