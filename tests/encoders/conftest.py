"""Full-size models run only when asked for: VOXCACHE_FULL_SIZE=1."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "full_size: full-size models, minutes; set VOXCACHE_FULL_SIZE=1 to run them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked full_size, unless asked."""
    if os.environ.get("VOXCACHE_FULL_SIZE"):
        return
    for item in items:
        if item.get_closest_marker("full_size"):
            item.add_marker(pytest.mark.skip(reason="full-size model; set VOXCACHE_FULL_SIZE=1"))
