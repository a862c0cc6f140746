"""What this machine is: cores, memory, processes. Asked of psutil, which knows Linux, macOS and Windows."""

from __future__ import annotations

import io
import os
import sys

from .errors import ConfigError

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


def require_mps(where: str) -> None:
    """Raise `ConfigError`, naming the setting at `where`, unless this is a Mac whose GPU torch can use."""
    import torch

    if not torch.backends.mps.is_available():
        why = "is not there" if torch.backends.mps.is_built() else "is unknown to this torch"
        raise ConfigError(
            f"{where}: mps asked for, it {why}: expected a Mac with Apple's own processor. Use `device: auto`."
        )


def speak_to_all() -> None:
    """Let no character that a console's code page lacks end a command: `?` stands for it. Files and pipes get UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            chosen = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if chosen else "utf-8", errors="replace")
