"""Shared by all tests: one thread a process, and a cache folder that is nobody's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXCACHE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def donate_a_cry() -> Path:
    """Folder of the real corpus; tests that need it skip where it is absent."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "donate-a-cry"
    root = Path(os.environ.get("VOXCACHE_DONATE_A_CRY", beside))
    if not root.is_dir():
        pytest.skip("the Donate-a-Cry corpus is not here")
    return root
