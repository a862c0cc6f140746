"""The heads: what turns one encoder's vector into class scores. Listing them imports neither torch nor scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..registry import Registry
from .architecture import Architecture, Options, Rngs, Shape

if TYPE_CHECKING:
    from torch import nn

HEADS: Registry[Architecture] = Registry("head", group="voxcache.heads")


class NoOptions(Options):
    """Nothing to set."""


class DenseOptions(Options):
    """Dense layers after whatever stands before them."""

    hidden: tuple[PositiveInt, ...] = (512, 128)
    dropout: float = Field(
        default=0.3, ge=0, lt=1, description="after each dense layer (ours: the paper gives no number)"
    )


class CnnOptions(DenseOptions):
    """Two convolutions over the embedding as a 1-D signal, then dense layers."""

    filters: tuple[PositiveInt, PositiveInt] = (32, 64)


class MlpOptions(Options):
    """One hidden layer."""

    hidden: PositiveInt = 256
    dropout: float = Field(default=0.0, ge=0, lt=1)


class CnnLstmOptions(Options):
    """A convolution over frames, two LSTM layers, dense layers. The paper gives no sizes: these are ours."""

    channels: PositiveInt = Field(default=128, description="of the convolution")
    lstm: PositiveInt = Field(default=128, description="hidden size of both layers")
    hidden: tuple[PositiveInt, ...] = (64,)
    dropout: float = Field(default=0.3, ge=0, lt=1, description="after each dense layer")


class TransformerOptions(Options):
    """Encoder blocks over frames (ours: the paper gives no sizes)."""

    dim: PositiveInt = 128
    blocks: PositiveInt = 2
    heads: PositiveInt = 4
    hidden: tuple[PositiveInt, ...] = (64,)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerOptions:
        if self.dim % (2 * self.heads):
            raise ValueError("expected dim to be a multiple of 2 x heads")
        return self


class LogregOptions(Options):
    """L2-regularised logistic regression."""

    c: PositiveFloat = 1.0
    max_iter: PositiveInt = 1000


class RidgeOptions(Options):
    """L2-regularised least squares."""

    alpha: PositiveFloat = 1.0


class SvmOptions(Options):
    """Support vector machine."""

    c: PositiveFloat = 1.0
    kernel: Literal["rbf", "linear"] = "rbf"


class KnnOptions(Options):
    """Nearest neighbours."""

    k: PositiveInt = 5


class ForestOptions(Options):
    """Random forest."""

    trees: PositiveInt = 300
    max_depth: NonNegativeInt = Field(default=0, description="0: no limit")


def _fcn(shape: Shape, options: DenseOptions, rngs: Rngs) -> nn.Module:
    from .networks import Fcn

    return Fcn(shape, rngs, hidden=options.hidden, dropout=options.dropout)


def _cnn(shape: Shape, options: CnnOptions, rngs: Rngs) -> nn.Module:
    from .networks import Cnn

    return Cnn(shape, rngs, filters=options.filters, hidden=options.hidden, dropout=options.dropout)


def _mlp2(shape: Shape, options: MlpOptions, rngs: Rngs) -> nn.Module:
    from .networks import Fcn

    return Fcn(shape, rngs, hidden=(options.hidden,), dropout=options.dropout)


def _linear(shape: Shape, options: NoOptions, rngs: Rngs) -> nn.Module:
    from .networks import Fcn

    return Fcn(shape, rngs, hidden=(), dropout=0.0)


def _logreg(options: LogregOptions, seed: int, class_weights: str) -> Any:
    from . import estimators

    return estimators.logreg(options.c, options.max_iter, class_weights)


def _cnn_lstm(shape: Shape, options: CnnLstmOptions, rngs: Rngs) -> nn.Module:
    from .frame_networks import CnnLstm

    return CnnLstm(shape, rngs, **options.model_dump(), attention=False)


def _cnn_lstm_attention(shape: Shape, options: CnnLstmOptions, rngs: Rngs) -> nn.Module:
    from .frame_networks import CnnLstm

    return CnnLstm(shape, rngs, **options.model_dump(), attention=True)


def _transformer(shape: Shape, options: TransformerOptions, rngs: Rngs) -> nn.Module:
    from .frame_networks import Transformer

    return Transformer(shape, rngs, **options.model_dump())


def _ridge(options: RidgeOptions, seed: int, class_weights: str = "none") -> Any:
    from . import regressors

    return regressors.ridge(options.alpha)


def _svr(options: SvmOptions, seed: int) -> Any:
    from . import regressors

    return regressors.svr(options.c, options.kernel)


def _knn_regressor(options: KnnOptions, seed: int) -> Any:
    from . import regressors

    return regressors.knn(options.k)


def _forest_regressor(options: ForestOptions, seed: int) -> Any:
    from . import regressors

    return regressors.forest(options.trees, options.max_depth or None, seed)


def _svm(options: SvmOptions, seed: int, class_weights: str) -> Any:
    from . import estimators

    return estimators.svm(options.c, options.kernel, class_weights)


def _knn(options: KnnOptions, seed: int, class_weights: str) -> Any:
    from . import estimators

    return estimators.knn(options.k)


def _forest(options: ForestOptions, seed: int, class_weights: str) -> Any:
    from . import estimators

    return estimators.forest(options.trees, options.max_depth or None, class_weights, seed)


def _add(name: str, summary: str, source: str, options: type[Options], build: Any, **facts: Any) -> None:
    facts.setdefault("engine", "torch")
    HEADS.register(name, Architecture(summary=summary, source=source, options=options, build=build, **facts))


_RENO = "Phukan et al., RENO, section III"
_add("fcn", "dense 512, 128, output", _RENO, DenseOptions, _fcn)
_add(
    "cnn",
    "Conv1d 32 and 64 filters of width 3, max-pool 2 after each; flatten; dense 512, 128",
    _RENO,
    CnnOptions,
    _cnn,
    least_dim=4,
)
_add("mlp2", "two linear layers with ReLU between", "Koudounas et al., voc2vec, section III", MlpOptions, _mlp2)
UNTIL_IT_STOPS = {"epochs": 1000, "patience": 20, "lr": 1e-2, "warmup_steps": 0, "decay": "none"}
"""How the linear probe trains (ours): the demonstration's mfcc reached its best UAR after some 160 epochs at this rate, after
some 900 at 1e-3, and the 20 epochs of RENO reached little more than half of it."""
_add(
    "linear",
    "linear probe, trained until it stops improving",
    "baseline",
    NoOptions,
    _linear,
    training=UNTIL_IT_STOPS,
)
_SHARE = "Mohapatra et al., EmotionShare, section 2.4"
_add(
    "cnn-lstm",
    "on frames: convolution halving the length, 2-layer LSTM, mean over time, dense",
    f"{_SHARE}, architecture 1",
    CnnLstmOptions,
    _cnn_lstm,
    frames=True,
)
_add(
    "cnn-lstm-attention",
    "the same with attention over time, queried by the last hidden states of both layers",
    f"{_SHARE}, architecture 2",
    CnnLstmOptions,
    _cnn_lstm_attention,
    frames=True,
)
_add(
    "transformer",
    "on frames: encoder blocks, mean over time, dense",
    _SHARE,
    TransformerOptions,
    _transformer,
    frames=True,
)
_SKLEARN: dict[str, Any] = {"engine": "sklearn", "seeded": False}
_add("logreg", "logistic regression", "scikit-learn", LogregOptions, _logreg, **_SKLEARN)
_add(
    "ridge",
    "ridge regression, for continuous targets",
    "scikit-learn",
    RidgeOptions,
    _ridge,
    classifies=False,
    regressor=_ridge,
    **_SKLEARN,
)
_add("svm", "support vector machine, RBF kernel", "scikit-learn", SvmOptions, _svm, regressor=_svr, **_SKLEARN)
_add(
    "knn",
    "nearest neighbours",
    "scikit-learn",
    KnnOptions,
    _knn,
    regressor=_knn_regressor,
    weighs_classes=False,
    **_SKLEARN,
)
_add(
    "forest",
    "random forest",
    "scikit-learn",
    ForestOptions,
    _forest,
    engine="sklearn",
    regressor=_forest_regressor,
)
