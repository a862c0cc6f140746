"""Patience with a store behind a network: what may pass is tried again, and what is refused is said in a sentence."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import ConfigError, StoreError, StoreUnreachable
from .location import redacted

T = TypeVar("T")
log = logging.getLogger(__name__)

OUTAGE_S = 300.0
FIRST_S = 15.0
"""Patience with a store that has never answered in this process: more likely a wrong address than an outage."""
MAX_DELAY_S = 15.0


_answered: set[str] = set()
"""Stores that have answered in this process, whoever asked: opening one again during an outage is no wrong address."""


class Network:
    """Calls that are tried again, with growing pauses, while a store does not answer."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.down = False

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns.

        Raises:
            FileNotFoundError: the object is not there.
            StoreUnreachable: no answer for as long as `outage_s` says.
            StoreError: an answer that trying again does not change.
        """
        began, delay = time.monotonic(), 0.2
        while True:
            try:
                result = await call()
            except FileNotFoundError as error:
                self._heard()
                _require_bucket(self.shown, error)
                raise
            except Exception as error:
                reason = redacted(str(error).partition("\n")[0])
                if not _may_pass(error):
                    raise _refused(self.shown, error, reason) from None
                patience = outage_s() if self.shown in _answered else min(FIRST_S, outage_s())
                waited = time.monotonic() - began
                if waited >= patience:
                    raise self._gave_up(waited, reason) from None
                self._tell(patience, reason)
                await asyncio.sleep(min(delay * random.uniform(0.5, 1.0), max(0.01, patience - waited)))
                delay = min(2 * delay, MAX_DELAY_S)
            else:
                self._heard()
                return result

    def _heard(self) -> None:
        _answered.add(self.shown)
        if self.down:
            self.down = False
            log.warning("store %s: answers again; going on", self.shown)

    def _tell(self, patience: float, reason: str) -> None:
        if not self.down:
            self.down = True
            log.warning("store %s: no answer (%s); trying again for up to %.0f s", self.shown, reason, patience)

    def _gave_up(self, waited: float, reason: str) -> StoreUnreachable:
        if self.shown not in _answered:
            return StoreUnreachable(
                f"store {self.shown}: no answer within {waited:.0f} s ({reason}). Check the address, the network and "
                f"AWS_ENDPOINT_URL, then run the same command again."
            )
        return StoreUnreachable(
            f"store {self.shown}: no answer for {waited:.0f} s ({reason}). What is written is whole; run the same command "
            f"again when the store is back, and it goes on from there. VOXCACHE_OUTAGE_S sets how long to wait."
        )


def outage_s() -> float:
    """Return how long to wait for a store that stopped answering: `VOXCACHE_OUTAGE_S`, in seconds."""
    text = os.environ.get("VOXCACHE_OUTAGE_S", "")
    try:
        return float(text) if text else OUTAGE_S
    except ValueError:
        raise ConfigError(f"VOXCACHE_OUTAGE_S: expected seconds, got {text!r}.") from None


def _may_pass(error: Exception) -> bool:
    """Return whether trying again may help: no answer, a server's own trouble, or too many requests."""
    if type(error).__name__ in {
        "NotSupportedError",
        "PermissionDeniedError",
        "UnauthenticatedError",
        "InvalidPathError",
    }:
        return False
    if isinstance(error, TypeError | ValueError | KeyError | AttributeError | ImportError):
        return False
    status = re.search(r"status code: (\d{3})", str(error))
    return status is None or (int(status[1]) >= 500 and status[1] != "501") or int(status[1]) in {408, 425, 429}


def _refused(shown: str, error: Exception, reason: str) -> StoreError:
    kind = type(error).__name__
    if kind in {"PermissionDeniedError", "UnauthenticatedError"}:
        return StoreError(
            f"store {shown}: access refused ({reason}). Check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            f"AWS_PROFILE, or user and password) and what they permit: get, list, and for writing put and delete."
        )
    if kind == "NotSupportedError" and "range" in reason.lower():
        return StoreError(
            f"store {shown}: expected a server that sends parts of files (HTTP Range), got one that does not. Put it "
            f"behind another server, or download it."
        )
    return StoreError(f"store {shown}: {reason}. Check the address, AWS_REGION and AWS_ENDPOINT_URL.")


def _require_bucket(shown: str, error: FileNotFoundError) -> None:
    if re.search("NoSuchBucket|ContainerNotFound|bucket does not exist", str(error)):
        raise StoreError(
            f"store {shown}: its bucket does not exist. Check the name, or make the bucket first."
        ) from None
