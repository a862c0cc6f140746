"""A lock file: held by the kernel for whoever has it open, with the words of its holder beside it.

`flock` on Linux and macOS, `LockFileEx` on Windows, both through portalocker. Windows lets nobody read a file that is locked, nor
remove one that is open, and turns no exclusive lock into a shared one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .. import machine
from ..errors import StoreError


def open_lock(place: Path) -> IO[bytes]:
    """Return a lock file, open and not yet held. Raises `StoreError` where it cannot be made."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("a+b")
    except OSError as error:
        raise StoreError(
            f"{place}: cannot be made: {error.strerror}. Writing a store needs a lock file beside it: change the permissions "
            f"of {place.parent}, or choose another place."
        ) from error


def take(place: Path, wait_s: float) -> IO[bytes] | None:
    """Return a lock file that is made for this, held; None where another holds it for all of `wait_s`."""
    until = time.monotonic() + wait_s
    while True:
        file = open_lock(place)
        if try_lock(file, exclusive=True) and _still_there(file, place):
            return file
        file.close()
        if time.monotonic() > until:
            return None
        time.sleep(0.02)


@contextlib.contextmanager
def removed_after(place: Path, file: IO[bytes] | None) -> Iterator[IO[bytes] | None]:
    """Keep a lock that was taken, then remove its file and let go of it; nothing where there is none."""
    if file is None:
        yield None
        return
    with file:
        try:
            yield file
        finally:
            if machine.WINDOWS:  # nobody can remove what is open: not we what we hold, nor what another has taken since
                file.close()
            with contextlib.suppress(PermissionError):
                place.unlink(missing_ok=True)


def _still_there(file: IO[bytes], place: Path) -> bool:
    """Return whether the file held is the one that others would open: its last holder may have removed it meanwhile."""
    try:
        return machine.WINDOWS or os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False


def try_lock(file: IO[bytes], *, exclusive: bool) -> bool:
    """Lock a file for as long as it is open; False where another holds it. Raises `StoreError` where no file can be locked."""
    import portalocker

    kind = portalocker.LockFlags.EXCLUSIVE if exclusive else portalocker.LockFlags.SHARED
    try:
        portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        why = getattr(error.__cause__, "strerror", None) or error
        raise StoreError(
            f"{file.name}: cannot be locked: {why}. Choose a file system with locks for the store."
        ) from error
    except ImportError as error:
        raise StoreError(f"{file.name}: cannot be locked: {error}. Install it: pip install pywin32.") from error
    return True


def shared_instead(file: IO[bytes]) -> bool:
    """Turn an exclusive lock into a shared one, by way of none: Windows knows no other. False where another was faster."""
    import portalocker

    portalocker.unlock(file)
    return try_lock(file, exclusive=False)


def myself() -> str:
    """Return what tells people which process this is."""
    return f"pid {os.getpid()} on {socket.gethostname()}"


def _signature(place: Path) -> Path:
    return place.with_name(f".holder{place.name}")


@contextlib.contextmanager
def signed_by(place: Path, text: str) -> Iterator[None]:
    """Let others read who holds a lock that is held here. That is a courtesy: where it cannot be written, it is unknown."""
    with contextlib.suppress(OSError):
        _signature(place).write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            _signature(place).unlink(missing_ok=True)


def holder(place: Path) -> str:
    """Return who holds a lock file, as its holder put it."""
    try:
        return _signature(place).read_text(encoding="utf-8").strip() or "unknown"
    except (OSError, ValueError):
        return "unknown"
