"""Fitted models, which say something of clips they have never seen: networks, scikit-learn estimators, late fusions of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import SchemaError
from .architecture import Shape
from .grid import Chosen

Vectors = np.ndarray | Sequence[np.ndarray]
"""One input of all clips: vectors [clip, ...], or the frames of each, [frame, feature]."""

_ROWS = {True: 16, False: 512}  # clips predicted at once: of frames, of vectors


class Model(Protocol):
    """Anything fitted."""

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """Return probabilities float32 [clip, class], or predicted targets float32 [clip, target]; one input an encoder."""
        ...


@dataclass(frozen=True)
class NetworkModel:
    """One network.

    Attributes:
        state: its weights and its scaler, without the model axis; `target_mean` and `target_std` where it predicts targets.
    """

    chosen: Chosen
    shape: Shape
    state: dict[str, np.ndarray]

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """See `Model`."""
        import torch

        from .fit import Data

        network = self._network()
        n_clips = len(xs[0])
        data = Data.of(xs, np.zeros(n_clips, dtype=np.int64), 1, "cpu")
        rows = torch.arange(n_clips).unsqueeze(0)
        with torch.no_grad():
            parts = [
                network([x[part] for x in data.xs]).logits[0]
                for part in torch.split(rows, _ROWS[not isinstance(xs[0], np.ndarray)], dim=1)
                if part.shape[1]
            ]
        logits = torch.cat(parts) if parts else torch.zeros(0, self.shape.n_outputs)
        if "target_std" in self.state:
            return np.asarray(logits.numpy() * self.state["target_std"] + self.state["target_mean"], dtype=np.float32)
        return np.asarray(logits.softmax(-1).numpy(), dtype=np.float32)

    def _network(self) -> Any:
        import torch

        from .networks import Network
        from .seeding import generator

        body = self.chosen.entry.build(self.shape, self.chosen.values, [generator("loaded")])
        state = {name: torch.from_numpy(value).unsqueeze(0) for name, value in self.state.items()}
        stats = [(state[f"mean_{i}"], 1 / state[f"scale_{i}"]) for i in range(len(self.shape.dims))]
        network = Network(body, stats)
        try:
            network.load_state_dict({name: value for name, value in state.items() if not name.startswith("target_")})
        except RuntimeError as error:
            raise SchemaError(
                f"head {self.chosen.label}: expected the weights of this version's network, got: {error}. "
                f"Use the voxcache that wrote it, or keep it again with `voxcache train --save`."
            ) from None
        return network.eval()


@dataclass(frozen=True)
class NetworksOfTargets:
    """A network a target, whose predictions stand side by side."""

    networks: tuple[NetworkModel, ...]

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """See `Model`."""
        return np.concatenate([network.predict(xs) for network in self.networks], axis=1)


@dataclass(frozen=True)
class ClassEstimator:
    """A scikit-learn classifier."""

    estimator: Any
    n_classes: int

    @property
    def cap(self) -> int | None:
        """Iterations at which its fit was cut off before it converged; None where it was not."""
        from .estimators import cap_of

        return cap_of(self.estimator)

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """See `Model`."""
        from .estimators import probabilities

        return probabilities(self.estimator, side_by_side(xs), n_classes=self.n_classes)


@dataclass(frozen=True)
class TargetEstimators:
    """A scikit-learn regressor a target, of standardised targets; `mean` and `std` float64 [target]."""

    estimators: tuple[Any, ...]
    mean: np.ndarray
    std: np.ndarray

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """See `Model`."""
        x = side_by_side(xs)
        said = np.stack([estimator.predict(x) for estimator in self.estimators], axis=1)
        return np.asarray(said * self.std + self.mean, dtype=np.float32)


@dataclass(frozen=True)
class LateModel:
    """A model an encoder, and what makes one answer of theirs: their mean where `combiner` is None."""

    members: tuple[Model, ...]
    combiner: Model | None

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """See `Model`."""
        return combined(self.combiner, [member.predict([x]) for member, x in zip(self.members, xs, strict=True)])


def combined(combiner: Model | None, said: Sequence[np.ndarray]) -> np.ndarray:
    """Return what is made of what several members said, [clip, output] each."""
    if combiner is None:
        return np.asarray(np.mean(said, axis=0), dtype=np.float32)
    return combiner.predict([np.stack(said, axis=-1)])


@dataclass(frozen=True)
class Stacked:
    """What a late fusion learnt to make of its members' outputs, [clip, output, member].

    Classes: one estimator over the probabilities of all. Targets: one a target over its own predictions.
    """

    models: tuple[Model, ...]
    by_target: bool

    def predict(self, xs: Sequence[Vectors]) -> np.ndarray:
        """See `Model`."""
        said = np.asarray(xs[0])
        if not self.by_target:
            return self.models[0].predict([said.reshape(len(said), -1)])
        return np.concatenate([model.predict([said[:, i]]) for i, model in enumerate(self.models)], axis=1)


def side_by_side(xs: Sequence[Vectors]) -> np.ndarray:
    """Return the vectors of all encoders as one, float [clip, feature]."""
    return np.concatenate([np.asarray(x) for x in xs], axis=-1)
