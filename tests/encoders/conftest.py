"""Full-size models run only when asked for: VOXCACHE_SLOW=1."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "slow: full-size models, minutes; set VOXCACHE_SLOW=1 to run them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked slow, unless asked."""
    if os.environ.get("VOXCACHE_SLOW"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="full-size model; set VOXCACHE_SLOW=1"))
