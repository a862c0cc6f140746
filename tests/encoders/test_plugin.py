"""The example plug-in of the documentation, installed as a reader would install it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example-plugin"
USE = """
import torch
from voxcache.extract.encoders.base import Request
from voxcache.extract.encoders.exactness import compare_alone
from voxcache.extract.encoders.registry import fingerprint, load
encoder = load(Request(name="zero-crossings"))
error = compare_alone(encoder, [torch.randn(n) for n in (1, 9_999, 320, 4_000)]).worst
print(encoder.card.dim, error <= 1e-5, fingerprint(Request(name="zero-crossings"))["versions"]["voxcache-zero-crossings"])
"""


def test_example_plugin_installs_and_runs(tmp_path: Path) -> None:
    """Installed by pip, the example is found by name, is exact in a batch, and its version is part of the fingerprint."""
    pytest.importorskip("setuptools", minversion="70.1", reason="builds the example without a network")
    pytest.importorskip("pip")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (copy / file.name).write_text(file.read_text())
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    target = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(copy)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", USE], check=True, env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["2", "True", "0.1.0"]
