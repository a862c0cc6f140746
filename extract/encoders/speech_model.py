"""Runs wav2vec 2.0, HuBERT, WavLM, UniSpeech(-SAT) and data2vec-audio: transformers' own models, exact in any batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils import parametrize

from .base import Card, Dtype, Emit, Encoder, Request
from .checkpoints import Loaded, load_transformers
from .inference import exact_inference, to_precision
from .listening import Listener
from .speech_padding import Padding, make_exact
from .wavlm_attention import fuse_attention

EXTRACTOR = "speech-1"
"""Part of the cache key; raise it when a change here changes numbers."""


def load_speech(
    request: Request, card: Card, device: str, *, config: Mapping[str, object], folder: str | None = None
) -> SpeechEncoder:
    """Load a wav2vec-type encoder; see `load_transformers` for `config` and `folder`."""
    loaded = load_transformers(request, card, config, folder=folder)
    return SpeechEncoder(loaded, card=card, device=device, dtype=request.dtype)


class SpeechEncoder(Encoder):
    """A transformers speech model whose layers are emitted as they come out.

    Layer 0 is the input to the first block, layer k the output of block k, the last what the model returns: after the
    final norm where `do_stable_layer_norm` puts one.
    """

    def __init__(self, loaded: Loaded, *, card: Card, device: str, dtype: Dtype) -> None:
        self.card = card if loaded.normalise is None else replace(card, normalise=loaded.normalise)
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = loaded.sha256
        self.weights_origin = loaded.origin
        self.ignored = loaded.ignored
        self.preprocessing = {"extractor": EXTRACTOR, "normalise": self.card.normalise}
        if loaded.language is not None:
            self.preprocessing |= {"adapter_language": loaded.language}
        self._padding = Padding(card.frame)
        _settle_weight_norm(loaded.model)
        self._model = to_precision(loaded.model, device, dtype)
        make_exact(self._model, self._padding)
        if card.family == "wavlm":
            fuse_attention(self._model)
        self._listener = Listener(self._model.encoder.layers)

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch; see `Encoder.encode`."""
        waves = waves[:, : max(n_samples)].to(getattr(torch, self.dtype))
        with exact_inference(), self._listener.to(emit), self._padding.of(waves, n_samples) as mask:
            emit(self.card.n_layers - 1, self._model(waves, attention_mask=mask).last_hidden_state)


def _settle_weight_norm(model: nn.Module) -> None:
    """Compute weight-normalised weights once, not in every forward pass: they are frozen (1 % of wav2vec 2.0's pass).

    `remove_parametrizations` would also change the model's copies, which share the class that torch made for it.
    """
    for name, module in list(model.named_modules()):
        if parametrize.is_parametrized(module, "weight") and isinstance(module, nn.Conv1d):
            model.set_submodule(name, _plain(module))


def _plain(conv: nn.Conv1d) -> nn.Conv1d:
    with torch.device("meta"):
        plain = nn.Conv1d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            stride=conv.stride[0],
            padding=conv.padding if isinstance(conv.padding, str) else conv.padding[0],
            dilation=conv.dilation[0],
            groups=conv.groups,
            bias=conv.bias is not None,
        )
    plain.weight = nn.Parameter(conv.weight.detach(), requires_grad=False)
    plain.bias = conv.bias
    return plain
