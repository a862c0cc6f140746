"""What is known of each audio file on this machine, so that an unchanged one is not read again.

A SQLite table in the user's cache folder, keyed by path and trusted while size, modification time and decoders are the
same. It is an aid only: deleting it costs one reading of the files, and where it cannot be written the scan goes on.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from ...errors import AudioError
from ...installed import require
from .clip import n_clip_samples
from .decode import Source, inspect
from .identity import cache_dir, clip_hash, content_hash
from .problems import CHECK_THEN_RETRY, Unforeseen, foreseen, reading

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called as progress(files done, files to do) from the scanning thread."""

BATCH = 500
"""Rows per transaction and per look-up; SQLite's default limit is 999 variables."""

_TABLE = """CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, decoders TEXT,
sha256 TEXT, rate_hz INTEGER, n_frames INTEGER, error TEXT) WITHOUT ROWID"""


class ClipLike(Protocol):
    """What a scan needs of a clip: a file and, for a part of it, the bounds in seconds."""

    @property
    def file(self) -> str:
        """The audio file; a `Path` of each of a million is made of parts that are remembered one by one."""

    @property
    def start_s(self) -> float | None:
        """Where the part begins; None for the file's beginning."""

    @property
    def end_s(self) -> float | None:
        """Where the part ends; None for the file's end."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan found for one clip.

    Attributes:
        sha256: of the file's bytes (and the bounds, for a part of a file); "" if the file could not be read.
        n_samples: at 16 kHz; 0 where `error` is given.
        error: why the clip cannot be used, or None.
        file_sha256: of the file's bytes alone; "" if it could not be read.
    """

    sha256: str
    n_samples: int
    error: str | None = None
    file_sha256: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One row: a file as it was when it was read. `error` "" means none; `decoders` "" that it is to be read again."""

    path: str
    size: int
    mtime_ns: int
    decoders: str
    sha256: str
    rate_hz: int
    n_frames: int
    error: str


class FileIndex:
    """Hashes and lengths of files, remembered between runs. Several processes may use one index at once.

    Args:
        path: the SQLite file; by default "files-1.sqlite" in the user's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_dir() / "files-1.sqlite"

    def scan(
        self,
        sources: Sequence[ClipLike],
        *,
        verify: bool = False,
        workers: int | None = None,
        share: tuple[int, int] = (1, 1),
        progress: Progress | None = None,
    ) -> list[Scanned]:
        """Return what is known of every clip, in the order given, reading only files that changed.

        Args:
            sources: the clips; a file that holds several of them is read once.
            verify: read every file, whatever its size and time say.
            workers: threads that read files.
            share: (i, n) for the i-th of n processes that scan the same files into one index: each begins with another
                part, and what one has read the others look up.
            progress: told after each file read, or looked up after another process read it.

        Raises:
            InstallError: what reads audio is not installed or does not load; else every file would be called bad.
        """
        require("extract", "soundfile")
        clips: dict[str, list[int]] = {}
        for i, source in enumerate(sources):
            clips.setdefault(os.path.abspath(source.file), []).append(i)
        found: dict[int, Scanned] = {}

        def take(entries: Iterable[_Entry]) -> None:
            for entry in entries:
                for i in clips.pop(entry.path):
                    found[i] = _scanned(entry, sources[i])

        if not verify:
            take(self._unchanged(clips))
        missing = list(clips)
        first = (share[0] - 1) * len(missing) // share[1]
        missing = missing[first:] + missing[:first]
        step = BATCH if share[1] == 1 else min(BATCH, 1 + len(missing) // (4 * share[1]))
        done = 0
        with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(missing), step):
                batch = missing[start : start + step]
                if share[1] > 1 and not verify:
                    take(self._unchanged(batch))
                left = [path for path in batch if path in clips]
                done += len(batch) - len(left)
                if progress and len(left) < len(batch):
                    progress(done, len(missing))
                read = []
                for entry in pool.map(_examine, left):
                    read.append(entry)
                    if progress:
                        progress(done + len(read), len(missing))
                done += len(read)
                self._keep(read)
                take(read)
        return [found[i] for i in range(len(sources))]

    def _unchanged(self, paths: Iterable[str]) -> Iterator[_Entry]:
        """Yield what is known of files that are as they were when they were read."""
        remaining = iter(list(paths))
        while some := list(islice(remaining, BATCH)):
            known = self._use(partial(_select, paths=some)) or []
            yield from (
                entry for entry in known if _identity(entry.path) == (entry.size, entry.mtime_ns, entry.decoders)
            )

    def _keep(self, entries: Sequence[_Entry]) -> None:
        rows = [astuple(entry) for entry in entries if entry.sha256 and entry.decoders]
        self._use(lambda db: db.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?)", rows))

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what `work` gives in one transaction, or None, with a warning, where the index cannot be used."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as db, db:
                db.execute(_TABLE)
                return work(db)
        except (sqlite3.Error, OSError) as error:
            warnings.warn(
                f"file index {self.path}: expected a writable SQLite file, got: {error}. Going on without it; "
                f"delete it, or set VOXCACHE_CACHE to another folder.",
                stacklevel=2,
            )
            return None


def _select(db: sqlite3.Connection, paths: Sequence[str]) -> list[_Entry]:
    marks = ",".join("?" * len(paths))
    return [_Entry(*row) for row in db.execute(f"SELECT * FROM files WHERE path IN ({marks})", paths)]


def _identity(path: str) -> tuple[int, int, str] | None:
    """Return what must be the same for a row to hold, or None if the file is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, _decoders()


@cache
def _decoders() -> str:
    """Return the decoders' versions: another one may decode a lossy file to another length."""
    return ", ".join(f"{name} {_version(name)}" for name in ("soundfile", "av"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _examine(path: str) -> _Entry:
    size, mtime_ns, decoders = _identity(path) or (0, 0, "")  # before reading: a later change then shows
    sha256, source, reason, file = "", Source(0, 0, exact=False), "", Path(path)
    try:
        sha256 = content_hash(file)
        with reading(file), foreseen(file, CHECK_THEN_RETRY):
            source = inspect(file)
    except AudioError as error:
        reason = str(error)
        if isinstance(error, Unforeseen) or isinstance(error.__cause__, OSError):
            decoders = ""  # it may pass, so the next run reads the file again
    return _Entry(path, size, mtime_ns, decoders, sha256, source.rate_hz, source.n_frames, reason)


def _scanned(entry: _Entry, clip: ClipLike) -> Scanned:
    sha256 = clip_hash(entry.sha256, clip.start_s, clip.end_s) if entry.sha256 else ""
    if entry.error:
        return Scanned(sha256, 0, entry.error, entry.sha256)
    source = Source(entry.rate_hz, entry.n_frames, exact=False)
    try:
        n_samples = n_clip_samples(source, os.path.basename(clip.file), clip.start_s, clip.end_s)
    except AudioError as error:
        return Scanned(sha256, 0, str(error), entry.sha256)
    return Scanned(sha256, n_samples, None, entry.sha256)
