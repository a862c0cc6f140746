"""Merge B into a copy of A, killed before one file-system step after another; print what is found after each, as JSON lines.

Run as `kill_merge.py A B`. Every merge and every look runs in a fork of its own, so that nothing survives a kill but the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voxcache.store import open_store
from voxcache.store.merge import merge
from voxcache.store.verify import verify

STEPS = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree", "shutil.copytree"}
SPREAD = 3
"""Steps tried while the result is built; of the last ones, in which it takes its place, every one is."""
LAST = 5


def _forked(work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _merge(into: Path, source: Path, log: Path, kill_at: int | None) -> None:
    """Merge, noting each step's name before it happens; die before step `kill_at`."""
    count = 0

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in STEPS:
            if count == kill_at:
                os._exit(9)
            count += 1
            os.write(descriptor, f"{event} {arguments[0]}\n".encode())

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    sys.addaudithook(step)
    merge([source], into)


def _look(into: Path, source: Path, result: Path) -> None:
    beside = into.with_name(f".{into.name}.before-merge").exists() and not into.exists()
    store = open_store(into)
    found: dict[str, Any] = {"clips": store.corpus("corpus").n_clips, "beside": beside}
    found["damage"] = [str(item) for item in verify(store)]
    merge([source], into)
    found["after"] = open_store(into).corpus("corpus").n_clips
    found["damage"] += [str(item) for item in verify(open_store(into))]
    result.write_text(json.dumps(found))


def main(a: Path, b: Path) -> None:
    """Count the steps of a merge, then kill one after another."""
    folder = a.parent / "killed"
    into, log, result = folder / "a.zarr", folder / "steps", folder / "found.json"

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copytree(a, into)

    fresh()
    _forked(lambda: _merge(into, b, log, None))
    lines = log.read_text().splitlines()
    swap = max(i for i, line in enumerate(lines) if line == f"os.rename {into}")
    tried = {*range(0, swap, max(1, swap // SPREAD)), *range(swap - 2, min(swap + LAST, len(lines)))}
    for at in sorted(tried):
        fresh()
        _forked(lambda at=at: _merge(into, b, log, at))  # type: ignore[misc]
        _forked(lambda: _look(into, b, result))
        print(result.read_text(), flush=True)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
