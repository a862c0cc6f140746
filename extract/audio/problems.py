"""The sentences of `AudioError`. They name the file, never its folder: stores keep them and travel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import AudioError, InstallError

COPY_AGAIN = "Copy it again from its source."
CHECK_WHOLE = "Check that the file is what its name says and is whole."
CHECK_THEN_RETRY = "Check the file, then add --retry-failed."

MOST_REASON = 200
"""Characters of an unexpected error that are kept."""


class Unforeseen(AudioError):
    """A decoder failed in a way that nobody foresaw, which may pass."""


def problem(path: Path, expected: str, got: str, then: str) -> AudioError:
    """Return the error "file: expected X, got Y. Next step."."""
    return AudioError(f"{path.name}: expected {expected}, got {got}. {then}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a file into an `AudioError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise problem(path, "a file", "none at this path", "Correct the path or restore the file.") from error
    except IsADirectoryError as error:
        raise problem(path, "an audio file", "a directory", "Name the files inside it.") from error
    except PermissionError as error:
        raise problem(path, "a readable file", "permission denied", "Make it readable for this user.") from error
    except OSError as error:
        raise problem(path, "a readable file", f"{error.strerror or type(error).__name__}", COPY_AGAIN) from error


@contextmanager
def foreseen(path: Path, then: str = CHECK_WHOLE) -> Iterator[None]:
    """Turn a decoder's own bug into an `AudioError` with its text, so that it does not cost the clips beside this one.

    What the system says passes: a disk that cannot be read, or memory that is full, is not the file's fault.
    """
    try:
        yield
    except (AudioError, InstallError, OSError, MemoryError):
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".replace(str(path), path.name).split())
        raise Unforeseen(f"{path.name}: cannot be decoded ({what[:MOST_REASON]}). {then}") from error


def truncated(path: Path, expected: str, got: str) -> AudioError:
    """Return the error for a file that ends before its header says."""
    return problem(path, expected, f"{got}: the file is truncated", COPY_AGAIN)


def undecodable(path: Path, reason: str) -> AudioError:
    """Return the error for content that no decoder takes."""
    return problem(path, "audio", f"data that cannot be decoded ({reason})", CHECK_WHOLE)


def refuse_text(path: Path) -> None:
    """Raise if the file is text. FFmpeg would take some as a playlist, and wait for what it names."""
    with open(path, "rb") as file:
        head = file.read(512)
    if _is_text(head):
        raise problem(path, "audio", "text", CHECK_WHOLE)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character cut by the end of `head` is still text
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t" for character in text)
