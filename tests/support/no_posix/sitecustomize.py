"""Takes from Python what Windows does not have, before anything else is imported: put this folder on PYTHONPATH.

What is gone: `fcntl`, `resource`, `pwd`, `grp`; `os.sysconf`, `os.sched_getaffinity`, `os.register_at_fork`, `os.fork` and more;
all signals but those that Windows knows; `os.kill(pid, 0)`, which there ends the process it asks about.
What is refused, as there: to open a folder, to sync a file that was opened for reading, to rename, replace or remove a file that
this process has open or mapped, or a folder with such a file in it; names with characters that Windows keeps.
What text is: files opened without an encoding, and the console, have code page 1252; lines end as they do there.

portalocker gets a stand-in for its Windows branch: locks that keep others from reading, and exclusive ones that cannot be turned
into shared ones. It keeps files apart by `flock`, so that processes are kept apart for real. Drives, backslashes and the length of
paths are not faked.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import importlib.util
import io
import os
import shutil
import signal
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

real = types.SimpleNamespace(
    open=os.open, fsync=os.fsync, kill=os.kill, mkdir=os.mkdir, io_open=io.open, import_=builtins.__import__,
    flock=fcntl.flock, flags=fcntl.fcntl, GETFL=fcntl.F_GETFL,
    LOCK_SH=fcntl.LOCK_SH, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB, LOCK_UN=fcntl.LOCK_UN,
)  # fmt: skip
GONE_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "syslog")
GONE = frozenset(
    {
        "sysconf",
        "sched_getaffinity",
        "register_at_fork",
        "fork",
        "uname",
        "getuid",
        "geteuid",
        "getpgid",
        "killpg",
        "setsid",
        "statvfs",
    }
)
SIGNALS = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV"}
SIGNALS_GONE = frozenset(one.name for one in signal.Signals) - SIGNALS
FORBIDDEN = set('<>:"|?*\\')


def note(what: str) -> None:
    """Write down that a refusal happened, for tests that want to know."""
    if place := os.environ.get("NO_POSIX_LOG"):
        with real.io_open(place, "a", encoding="utf-8") as file:
            file.write(f"{what}\n")


def in_use(path: str) -> bool:
    """Return whether this process has a file open or mapped that is at `path` or below it."""
    path = os.path.realpath(path)
    held = []
    for number in os.listdir("/proc/self/fd"):
        try:
            held.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    with real.io_open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        held += [line.split(maxsplit=5)[-1].rstrip("\n") for line in maps if "/" in line]
    return any(name == path or name.startswith(f"{path}/") for name in held)


def refusing(act: Callable[..., Any], n_paths: int) -> Callable[..., Any]:
    """Return a function of `os` that lets nobody move or remove what is open."""

    def acting(*args: Any, **kwargs: Any) -> Any:
        for path in args[:n_paths]:
            text = os.fsdecode(path)
            if in_use(text):
                note(f"{act.__name__} of an open file: {text}")
                raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used", text)
        return act(*args, **kwargs)

    return acting


def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    """Open a file, never a folder."""
    if isinstance(path, str | bytes | os.PathLike) and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", os.fsdecode(path))
    return int(real.open(path, flags, *args, **kwargs))


def fsync(descriptor: Any) -> None:
    """Sync what was opened for writing."""
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if real.flags(number, real.GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    real.fsync(number)


def kill(pid: int, number: int) -> None:
    """Send a signal; asking with 0 ends the process there, so that here it is an error, but for psutil, which knows."""
    if number == 0 and not sys._getframe(1).f_globals.get("__name__", "").startswith("psutil"):
        raise AssertionError(f"os.kill({pid}, 0) ends process {pid} on Windows")
    real.kill(pid, number)


def require_name(name: str) -> None:
    """Refuse what no file of Windows is called."""
    if FORBIDDEN & set(name) or name.endswith((".", " ")):
        raise OSError(errno.EINVAL, "Invalid argument", name)


def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
    """Make a folder whose name Windows allows."""
    require_name(os.path.basename(os.fsdecode(path).rstrip("/")))
    real.mkdir(path, *args, **kwargs)


def opened(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: Any = None,
    errors: Any = None,
    newline: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Open a file as Windows would: text in code page 1252 and with its ends of lines, no name with a reserved character."""
    if isinstance(file, str | os.PathLike):
        name = os.path.basename(os.fspath(file))
        if isinstance(name, str) and set(mode) & set("wax+"):
            require_name(name)
    if "b" not in mode and encoding in (None, "locale"):
        encoding = "cp1252"
    if "b" not in mode and newline is None and set(mode) & set("wax+"):
        newline = "\r\n"
    found = real.io_open(file, mode, buffering, encoding, errors, newline, *args, **kwargs)
    if isinstance(file, str | os.PathLike) and str(file).endswith(".lock"):
        found.read = _unless_locked(found, found.read)
    return found


def _unless_locked(file: Any, read: Callable[..., Any]) -> Callable[..., Any]:
    def reading(*args: Any) -> Any:
        try:
            real.flock(file, real.LOCK_SH | real.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied", file.name) from None
        return read(*args)

    return reading


def portalocker() -> types.ModuleType:
    """Return a stand-in for portalocker on Windows with pywin32: what voxcache calls of it."""
    import enum

    class LockFlags(enum.IntFlag):
        EXCLUSIVE, SHARED, NON_BLOCKING = 0x2, 0x100, 0x1

    class LockException(Exception):
        pass

    class AlreadyLocked(LockException):
        pass

    held: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def lock(file: Any, flags: int) -> None:
        if not flags & LockFlags.NON_BLOCKING:
            raise AssertionError("voxcache never waits in the kernel")
        if held.get(file) == LockFlags.EXCLUSIVE:
            note("a lock over one's own lock")
            raise AlreadyLocked("LockFileEx: an exclusive lock overlaps another, also one's own")
        try:
            real.flock(file, (real.LOCK_EX if flags & LockFlags.EXCLUSIVE else real.LOCK_SH) | real.LOCK_NB)
        except BlockingIOError:
            raise AlreadyLocked(file.name) from None
        held[file] = flags & ~LockFlags.NON_BLOCKING

    def unlock(file: Any) -> None:
        real.flock(file, real.LOCK_UN)
        held.pop(file, None)

    module = types.ModuleType("portalocker")
    module.__dict__.update(
        LockFlags=LockFlags, LockException=LockException, AlreadyLocked=AlreadyLocked, lock=lock, unlock=unlock
    )
    return module


def _ours(frame: types.FrameType) -> bool:
    """Return whether voxcache or a test's program is at work; libraries take another way on each system."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in {"voxcache", "__main__"}


def _importing(name: str, *args: Any, **kwargs: Any) -> Any:
    if name in GONE_MODULES and _ours(sys._getframe(1)):
        raise ModuleNotFoundError(f"No module named {name!r}")
    return real.import_(name, *args, **kwargs)


def _lacking(names: frozenset[str]) -> type[types.ModuleType]:
    """Return the class of a module in which voxcache finds no such names."""

    class Lacking(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            if name in names and _ours(sys._getframe(1)):
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
            return super().__getattribute__(name)

    return Lacking


def install() -> None:
    """Take it all away."""
    builtins.__import__ = _importing
    os.__class__, signal.__class__ = _lacking(GONE), _lacking(SIGNALS_GONE)
    for name, n_paths in {"rename": 2, "replace": 2, "remove": 1, "unlink": 1}.items():
        setattr(os, name, refusing(getattr(os, name), n_paths))
    os.open, os.fsync, os.kill, os.mkdir = open_, fsync, kill, mkdir  # type: ignore[assignment]
    builtins.open = io.open = opened
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    sys.stdout.reconfigure(encoding="cp1252", errors="strict")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="cp1252", errors="backslashreplace")  # type: ignore[union-attr]
    sys.modules["portalocker"] = portalocker()
    if importlib.util.find_spec("voxcache") is not None:
        from voxcache import machine

        machine.WINDOWS = True  # type: ignore[misc]


if os.environ.get("NO_POSIX"):
    install()
