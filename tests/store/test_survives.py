"""What a store goes through: a full disk, a folder that may not be written to, units that a dead worker left half written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.errors import StoreError
from voxcache.store import Products, backend, open_store
from voxcache.store.locks import writer_lock
from voxcache.store.verify import verify

PRODUCTS = Products(std=True, frames=(2,))


@pytest.mark.parametrize("room", range(0, 30_000, 2_000))
def test_a_disk_that_is_full_after_any_byte_leaves_a_whole_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Where an object no longer fits, half of it is on the disk and none of it in the store; with room the run goes on."""
    path, made, written = tmp_path / "s.zarr", Made(n=7, failed=(1,)), 0
    real = backend._fill

    def full(partial: Path, value: object) -> None:
        nonlocal written
        data = bytes(value.as_buffer_like())  # type: ignore[attr-defined]
        written += len(data)
        if written > room:
            partial.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(partial, value)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(backend, "_fill", full)
        with pytest.raises(OSError, match="No space left"):
            fill(register(path, made, PRODUCTS), made)
    assert list(path.rglob("*.partial")) == []
    fill(register(path, made, PRODUCTS), made)
    assert verify(open_store(path)) == []
    held = open_store(path).corpus("corpus").encoder("made")
    np.testing.assert_array_equal(held.pooled_all(), np.stack([made.pooled(row) for row in range(made.n)]))


HALF_WRITTEN = {
    "values only": ("sha256", "reason", "status", "digest", "done"),
    "values and ledger": ("done",),
    "some values": ("pooled_std", "frames/layer_02", "sha256", "reason", "status", "digest", "done"),
    "values, ledger and the first count": ("done/pooled_std", "done/layer_02"),
}


@pytest.mark.parametrize("left", HALF_WRITTEN)
def test_a_unit_half_written_by_a_dead_worker_is_done_again(tmp_path: Path, left: str) -> None:
    """Whatever a dead worker had written of a unit, its clips are missing, the others are not, and the next run does it."""
    path, made = tmp_path / "s.zarr", Made()
    fill(register(path, made, PRODUCTS), made)
    whole = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for array in HALF_WRITTEN[left]:
        for chunk in (path / "corpus/made" / array).rglob("c/1"):
            shutil.rmtree(chunk) if chunk.is_dir() else chunk.unlink()
    held = open_store(path).corpus("corpus").encoder("made")
    for product in PRODUCTS.names():
        counts = held.ledger(product).counts()
        assert counts["missing"] == (0 if (product, left[-5:]) == ("pooled", "count") else 4)
    writer = register(path, made, PRODUCTS)
    assert {unit: list(rows) for unit, rows in writer.todo().items()} == {1: [4, 5, 6, 7]}
    fill(writer, made)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == whole


@pytest.fixture
def shown() -> Iterator[Path]:
    """A folder that another user can look into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


AS_NOBODY = """
import os, sys
from pathlib import Path
import voxcache.store.read, voxcache.store.write, voxcache.store.locks
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
from voxcache.errors import StoreError
from voxcache.store import open_store
from voxcache.store.locks import writer_lock
path = Path(sys.argv[1])
print(open_store(path).corpus("corpus").encoder("made").ledger().counts()["ok"])
try:
    with writer_lock(path):
        print("written")
except StoreError as error:
    print(error)
"""


def test_a_read_only_store_is_read_and_not_written_to(shown: Path) -> None:
    """Without the permission to write, reading works, and writing is refused before anything is tried."""
    path, made = shown / "s.zarr", Made()
    fill(register(path, made), made)
    for item in (*path.rglob("*"), path, shown):
        item.chmod(0o555 if item.is_dir() else 0o444)
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=False)
    shown.chmod(0o755)
    for item in (path, *path.rglob("*")):
        item.chmod(0o755)
    counted, said = done.stdout.splitlines()
    assert counted == "10"
    assert said.startswith(
        f"store {path}: cannot be written to: no permission, or a read-only file system. Reading works"
    )


def test_a_store_in_a_read_only_folder_says_where_the_lock_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the folder around the store is closed, the message is about the lock file and that folder."""
    (tmp_path / "s.zarr").mkdir()
    real = Path.open

    def refuse(self: Path, *args: object, **kwargs: object) -> object:
        if self.name.endswith(".lock"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.raises(StoreError, match=rf"cannot be made: Permission denied.*permissions of {tmp_path}"),
        writer_lock(tmp_path / "s.zarr"),
    ):
        pass
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / ".s.zarr.lock").unlink()
