from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voxcache.errors import ConfigError
from voxcache.store.cache import Cache, open_cache


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    """An entry is found under its whole name and under no other."""
    cache = Cache(tmp_path, 1000)
    cache.put(b"abc", "store", "key", 7)
    assert cache.get("store", "key", 7) == b"abc"
    assert cache.get("store", "key", 8) is None
    assert cache.has("store", "key", 7)


def test_an_entry_that_is_not_whole_is_not_served(tmp_path: Path) -> None:
    """A cut or changed entry is removed and fetched again."""
    cache = Cache(tmp_path, 1000)
    for damage in (lambda raw: raw[:-1], lambda raw: b"x" + raw[1:], lambda raw: b""):
        cache.put(b"abcdef", "key")
        (file,) = (item for item in tmp_path.rglob("*") if item.is_file())
        file.write_bytes(damage(file.read_bytes()))
        assert cache.get("key") is None
        assert not file.exists()


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    """Above the limit entries go in the order of their last use, until nine tenths of it are left."""
    cache = Cache(tmp_path, 1000)
    for number in range(9):
        cache.put(bytes(96), "entry", number)
        os.utime(cache._path(("entry", number)), (number, number))
    assert cache.get("entry", 0) is not None  # used now
    cache.put(bytes(196), "entry", 9)
    kept = [number for number in range(10) if cache.has("entry", number)]
    assert kept == [0, 3, 4, 5, 6, 7, 8, 9]


def test_processes_share_a_cache(tmp_path: Path) -> None:
    """Processes that write, read and evict at once meet whole entries or none."""
    code = (
        "import sys; from pathlib import Path; from voxcache.store.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]), 200_000)\n"
        "for i in range(400):\n"
        "    n = i % 50\n"
        "    found = cache.get('entry', n)\n"
        "    assert found in (None, bytes([n]) * 9000)\n"
        "    cache.put(bytes([n]) * 9000, 'entry', n)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert not list(tmp_path.rglob("*.partial"))
    assert sum(item.stat().st_size for item in tmp_path.rglob("*") if item.is_file()) <= 220_000


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """A file where the folder should be costs the cache, not the run."""
    (tmp_path / "no-folder").write_text("")
    cache = Cache(tmp_path / "no-folder", 1000)
    cache.put(b"abc", "key")
    assert cache.get("key") is None


def test_its_size_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`VOXCACHE_CACHE_GB` sets the limit, 0 turns it off, nonsense is refused with its value."""
    monkeypatch.setenv("VOXCACHE_CACHE_GB", "0.5")
    cache = open_cache()
    assert cache is not None
    assert cache.limit_bytes == 500_000_000
    monkeypatch.setenv("VOXCACHE_CACHE_GB", "0")
    assert open_cache() is None
    monkeypatch.setenv("VOXCACHE_CACHE_GB", "lots")
    with pytest.raises(ConfigError, match="VOXCACHE_CACHE_GB: expected a number of gigabytes, got 'lots'"):
        open_cache()
