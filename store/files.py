"""Giving files and folders their names, and waiting for the disk, on every system.

Windows lets nobody rename, replace or remove what another has open, a virus scanner included; most are through in an instant.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar

from .. import machine
from ..errors import StoreError

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long what is open elsewhere is waited for, on Windows."""
POLL_S = 0.02


def move(source: Path, target: Path) -> None:
    """Give `source` the name `target`; a file that is there is replaced in one step, a folder must not be.

    Raises:
        StoreError: on Windows, another has one of them open and keeps it.
    """
    patiently(lambda: os.replace(source, target), target)


def to_disk(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder; Windows keeps those by itself and syncs no folder."""
    if machine.WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if machine.WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def opened(path: Path) -> FileIO:
    """Return a file open for reading; on Windows one that just gets its name is refused for an instant."""
    return patiently(lambda: path.open("rb", buffering=0), path)


def patiently(act: Callable[[], T], path: Path) -> T:
    """Do something to a file. Raises `StoreError` where, on Windows, another has it open and keeps it."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except PermissionError as error:
            _require_patience(error, until, path)
        time.sleep(POLL_S)


async def patiently_async(act: Callable[[], Awaitable[T]], path: Path) -> T:
    """The same, of something that is awaited."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await act()
        except PermissionError as error:
            _require_patience(error, until, path)
        await asyncio.sleep(POLL_S)


def _require_patience(error: PermissionError, until: float, path: Path) -> None:
    if not machine.WINDOWS:
        raise error
    if time.monotonic() > until:
        raise StoreError(
            f"{path}: cannot be read, replaced or moved: another program has it open ({error.strerror}). Close it there, "
            f"such as in a notebook, and run the same command again."
        ) from error
