"""Giving files and folders their names, and waiting for the disk, on every system.

Windows lets nobody rename, replace or remove what another has open, a virus scanner included; most are through in an instant.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from .. import machine
from ..errors import StoreError

PATIENCE_S = 10.0
"""How long what is open elsewhere is waited for, on Windows."""
POLL_S = 0.02


def move(source: Path, target: Path) -> None:
    """Give `source` the name `target`; a file that is there is replaced in one step, a folder must not be.

    Raises:
        StoreError: on Windows, another has one of them open and keeps it.
    """
    _patiently(lambda: os.replace(source, target), target)


def to_disk(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder; Windows keeps those by itself and syncs no folder."""
    if machine.WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if machine.WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _patiently(act: Callable[[], None], path: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except PermissionError as error:
            if not machine.WINDOWS:
                raise
            if time.monotonic() > until:
                raise StoreError(
                    f"{path}: cannot be replaced or moved: another program has it open ({error.strerror}). Close it "
                    f"there, such as in a notebook, and run the same command again."
                ) from error
        time.sleep(POLL_S)
