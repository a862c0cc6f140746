"""Servers for the tests of stores at URLs; skipped where the packages of `voxcache[remote]` and moto are absent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import Server, s3_server

SECRET = "wJalrXUtnFEMI-K7MDENG"


@pytest.fixture(scope="session")
def _s3() -> Iterator[Server]:
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_s3: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3-compatible server with a bucket "bucket", reached by the usual environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    _s3.traffic.clear()
    yield _s3
    _s3.traffic.refuse = lambda method, path: False
    _s3.traffic.latency_s = 0.0
