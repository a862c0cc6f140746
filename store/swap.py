"""A folder takes the place of another in two renames; whoever comes after a kill between them puts the old one back.

    OUT -> .OUT.before-merge, then .OUT.merging -> OUT, then .OUT.before-merge is removed

Only between the two renames is nothing at OUT, and then the old store lies whole beside it.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from ..errors import StoreBusy
from .backend import writer_lock
from .files import move

WAIT_S = 5.0
"""The time between two renames, generously."""


def staging_path(path: Path) -> Path:
    """Return where what is to take the place of `path` is built."""
    return path.with_name(f".{path.name}.merging")


def previous_path(path: Path) -> Path:
    """Return where what was at `path` lies during the swap."""
    return path.with_name(f".{path.name}.before-merge")


def swap(path: Path) -> None:
    """Put what was built at `staging_path` in the place of `path`. Under the writer lock."""
    if path.exists():
        move(path, previous_path(path))
    move(staging_path(path), path)
    shutil.rmtree(previous_path(path), ignore_errors=True)


def tidy(path: Path) -> None:
    """Put back or remove what a killed swap left. Under the writer lock."""
    restore(path)
    shutil.rmtree(previous_path(path), ignore_errors=True)
    shutil.rmtree(staging_path(path), ignore_errors=True)


def restore(path: Path) -> None:
    """Put the store back at `path` if a killed swap left it beside. Under the writer lock."""
    if previous_path(path).exists() and not path.exists():
        move(previous_path(path), path)


def recover(path: Path) -> None:
    """Put the store back at `path` if a killed swap left it beside; wait where a swap is just going on. Needs no lock."""
    until = time.monotonic() + WAIT_S
    while not path.exists() and previous_path(path).exists():
        try:
            with writer_lock(path):
                restore(path)
        except StoreBusy:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
