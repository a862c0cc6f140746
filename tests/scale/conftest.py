"""What one undisturbed process makes of a small corpus in many units."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import small

from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the audio and `whole.zarr`, made by one undisturbed process."""
    folder = tmp_path_factory.mktemp("whole")
    extract(small(folder, "whole.zarr"), Reporter(quiet=True))
    return folder
