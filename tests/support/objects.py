"""Comparing stores object by object."""

from __future__ import annotations

from pathlib import Path


def contents(store: Path) -> dict[str, bytes]:
    """Return every object of a store but the root's attributes, which carry its identity and the times of its runs."""
    files = (file for file in store.rglob("*") if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files if file != store / "zarr.json"}


def assert_same(found: Path, expected: Path) -> None:
    """Fail unless two stores hold the same objects, byte for byte."""
    a, b = contents(found), contents(expected)
    different = [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]
    assert not different, different[:10]
