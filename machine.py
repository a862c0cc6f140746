"""What this machine is: cores, memory, processes. Asked of psutil, which knows Linux, macOS and Windows."""

from __future__ import annotations

import os
import sys

WINDOWS = sys.platform == "win32"
"""There, an open file keeps its name and its place, and a folder cannot be synced."""


def usable_cores() -> int:
    """Return the cores that this process may use; a batch system often grants fewer than there are."""
    import psutil

    try:
        return len(psutil.Process().cpu_affinity())
    except (AttributeError, OSError, psutil.Error):  # macOS binds no process to cores
        return os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the bytes of memory of this machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def is_running(pid: int) -> bool:
    """Return whether a process of this machine has that number now, whoever owns it."""
    import psutil

    return bool(psutil.pid_exists(pid))
