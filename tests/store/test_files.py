"""Names and disks on a system that lets nobody move what is open: waited for, then said in a sentence."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache import machine
from voxcache.errors import StoreError
from voxcache.store import files, open_store


def _open_elsewhere(times: int, real: Callable[..., Any]) -> Callable[..., Any]:
    left = [times]

    def act(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(*args, **kwargs)

    return act


def test_what_is_open_elsewhere_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a name is given as soon as the reader is through; elsewhere a refusal is about permissions and ends it."""
    (tmp_path / "new").write_text("new")
    monkeypatch.setattr(os, "replace", _open_elsewhere(3, os.replace))
    with pytest.raises(PermissionError):
        files.move(tmp_path / "new", tmp_path / "old")
    monkeypatch.setattr(machine, "WINDOWS", True)
    files.move(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"


def test_an_object_that_gets_its_name_this_instant_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a reader that comes while an object is being replaced is refused for an instant; it reads on, either way."""
    made = Made()
    fill(register(tmp_path / "s.zarr", made), made)
    monkeypatch.setattr(machine, "WINDOWS", True)
    real, seen = Path.open, set()

    def once_refused(self: Path, *args: Any, **kwargs: Any) -> object:
        if self not in seen:
            seen.add(self)
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", once_refused)
    encoder = open_store(tmp_path / "s.zarr").corpus("corpus").encoder("made")
    assert np.isfinite(encoder.pooled(0)[encoder.ledger().ok]).all()
    assert {"zarr.json", "0"} <= {path.name for path in seen}


def test_what_stays_open_elsewhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds the message says what is open and what to do."""
    monkeypatch.setattr(machine, "WINDOWS", True)
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    monkeypatch.setattr(os, "replace", _open_elsewhere(10**6, os.replace))
    with pytest.raises(StoreError, match=r"old: cannot be read.*another program has it open.*run the same command"):
        files.move(tmp_path / "new", tmp_path / "old")


def test_a_folder_is_synced_where_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows opens no folder and syncs no file that was opened for reading; elsewhere folders are synced, too."""
    flags: list[int] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, how: (flags.append(how), real(path, how))[1])
    (tmp_path / "file").write_text("x")
    files.to_disk(tmp_path)
    files.to_disk(tmp_path / "file")
    monkeypatch.setattr(machine, "WINDOWS", True)
    files.to_disk(tmp_path)
    files.to_disk(tmp_path / "file")
    assert flags == [os.O_RDONLY, os.O_RDONLY, os.O_RDWR]


class _Console(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("where", "page", "shown"),
    [(_Console, "cp1252", "0.5 ± 0.1 – ? ?"), (_Console, "ascii", "0.5 ? 0.1 ? ? ?"), (io.BytesIO, "cp1252", None)],
)
def test_a_console_of_any_code_page_is_spoken_to(
    where: type[io.BytesIO], page: str, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its code page lacks is a question mark, never an error; files and pipes get everything, as UTF-8."""
    text, into = "0.5 ± 0.1 – あ 🎵", where()
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(into, encoding=page, write_through=True))
    machine.speak_to_all()
    print(text, end="")
    found = into.getvalue()
    monkeypatch.undo()
    assert found.decode("utf-8" if shown is None else page) == (shown or text)


def test_cores_memory_and_processes_are_asked_of_the_machine() -> None:
    """There is a core and memory; this process runs, and one with a number beyond all does not."""
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert machine.memory_bytes() > 2**28
    assert machine.is_running(os.getpid())
    assert not machine.is_running(2**22 + 1)
