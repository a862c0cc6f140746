"""What an encoder is: a card that can be read without torch, and a loaded module that maps waveforms to layers.

Nothing here imports torch, so that listing, planning and `--dry-run` stay fast.
"""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

SAMPLE_RATE_HZ = 16_000

Dtype = Literal["float32", "bfloat16", "float16"]
Scalar = str | int | float | bool | None
Emit = Callable[[int, "torch.Tensor"], None]
"""Receives (layer, states); states is [clip, frame, feature]. Frames past a clip's own are undefined."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts about an encoder that hold before it is loaded.

    Attributes:
        name: registry name, or hub id / path for models outside the registry.
        family: the module that knows how to run it, such as "wav2vec2".
        source: hub id or address the weights come from; "computed" for acoustic features.
        dim: length of a feature vector.
        n_layers: layers emitted, layer 0 (input to the first block) included.
        frame: how sample counts become frame counts.
        normalise: waveform is brought to zero mean and unit variance per clip, over its own samples.
        normalise_eps: what is added to the variance first; in a quiet recording 1e-5 and 1e-7 are far apart.
        pooling: how a clip's vectors become one, for people.
        max_window_s: longer clips run in overlapping windows; None where the encoder takes any length.
        pretraining: corpora the weights were trained on, for contamination notes.
        weights: the default origin of the weights: "hub", "random" (made for tests and demos), "none" (nothing learned).
    """

    name: str
    family: str
    source: str
    revision: str | None = None
    dim: int
    n_layers: int
    frame: FrameRule
    normalise: bool = False
    normalise_eps: float = 1e-7
    pooling: str = "mean over the clip's own frames"
    max_window_s: float | None = 30.0
    licence: str = "unknown"
    citation: str = ""
    pretraining: tuple[str, ...] = ()
    weights: Literal["hub", "random", "none"] = "hub"
    n_parameters: int | None = None


@dataclass(frozen=True)
class FrameRule:
    """Sample count to frame count, as a formula of integers.

    `kind` "conv": a stack of unpadded convolutions with `kernels` and `strides` (wav2vec 2.0 section 2).
    `kind` "centred": a centred STFT, n // hop + 1. `kind` "framed": (n - receptive) // hop + 1.
    `kind` "ceil": ceil(n / hop). `kind` "clip": one vector a clip.
    `kind` "mamba": see `encoders.audio_mamba`.
    """

    kind: Literal["conv", "centred", "framed", "ceil", "clip", "mamba"]
    hop_samples: int
    receptive_samples: int
    kernels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    def n_frames(self, n_samples: int) -> int:
        """Return the frames that `n_samples` samples give; clips shorter than `receptive_samples` are padded to it."""
        n = max(n_samples, self.receptive_samples)
        if self.kind == "conv":
            for kernel, stride in zip(self.kernels, self.strides, strict=True):
                n = (n - kernel) // stride + 1
            return n
        if self.kind == "centred":
            return n // self.hop_samples + 1
        if self.kind == "framed":
            return (n - self.receptive_samples) // self.hop_samples + 1
        if self.kind == "ceil":
            return -(-n // self.hop_samples)
        if self.kind == "mamba":
            n_mel = n // 160 + 1
            windows = -(-n_mel // 200)
            return 50 * windows - int(50 * (200 * windows - n_mel) / 200)
        return 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """An encoder as the user asked for it: one entry of `encoders:` in pipeline.yaml.

    Attributes:
        name: registry name, hub id, local folder, or `hear:package.module`.
        weights: "hub", "random", "none", or a local path (folder or checkpoint file).
        options: family specific settings, such as {"layout": "time"}; part of the cache key.
    """

    name: str
    weights: str | None = None
    revision: str | None = None
    seed: int = 0
    dtype: Dtype = "float32"
    options: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A registry entry: the card and a lazy loader. `load(request, card, device)` may import anything.

    `config` is the architecture as JSON-able data, where there is one: a changed architecture must not find the
    weights hash remembered for the old one. `check(request, card)` raises what is wrong with the checkpoint, its
    configuration and its feature extractor, reading no weights; called once when a run is planned.
    """

    card: Card
    load: Callable[[Request, Card, str], Encoder]
    config: Mapping[str, object] = field(default_factory=dict)
    check: Callable[[Request, Card], object] | None = None


def weight_bytes(card: Card, dtype: Dtype) -> int:
    """Return the bytes an encoder's weights take in memory; 0 where nothing was learned."""
    return (card.n_parameters or 0) * (4 if dtype == "float32" else 2)


class Encoder(abc.ABC):
    """A loaded, frozen encoder on one device.

    Implementations set the attributes below in `__init__`. `preprocessing` lists everything between the 16 kHz
    waveform and the embedding that can change a number (normalisation, mel settings, layout, version of this code
    as `extractor`); it is part of the cache key.
    """

    card: Card
    device: str
    dtype: Dtype
    weights_sha256: str
    weights_origin: str
    preprocessing: Mapping[str, Scalar]
    ignored: Mapping[str, int] = MappingProxyType({})
    """Parts of the checkpoint that are not the encoder's, such as heads, and the tensors in each."""
    batched: bool = True
    """False where clips can only run one at a time (functionals, HEAR modules)."""

    @abc.abstractmethod
    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch and emit every layer once, in order, 0 to n_layers - 1.

        Args:
            waves: [clip, sample] float32 on `device`, zero beyond each clip's own samples, already normalised where
                the card says so, every clip at least `card.frame.receptive_samples` long.
            n_samples: each clip's own length; frames emitted for clip i are valid up to card.frame.n_frames(n_samples[i]).
            emit: called as emit(layer, states), states [clip, frame, feature]; may pool at once, must not keep a view.
        """


def canonical_hash(value: object) -> str:
    """Return the sha256 of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
