"""Refusing what an encoder does not take, so that no setting is ignored in silence."""

from __future__ import annotations

from ...errors import ConfigError, EncoderError
from .base import Request


def refuse_options(request: Request) -> None:
    """Raise `ConfigError` if a request has options, for encoders that take none."""
    if request.options:
        raise ConfigError(
            f"{request.name}, options: expected none, got {', '.join(sorted(request.options))}. Remove them."
        )


def refuse_weights(request: Request) -> None:
    """Raise `EncoderError` if a request names weights, for features that are computed."""
    if request.weights not in (None, "none"):
        raise EncoderError(
            f"{request.name}, weights {request.weights!r}: expected none, it is computed, not learned. "
            f"Leave `weights:` out."
        )
