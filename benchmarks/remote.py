"""Reading one layer of a store behind a web server against plain zarr, in one run.

    python benchmarks/remote.py [--clips 4000] [--latency 0 20]

Writes [clip, 13, 768] float32 once, serves it over HTTP with Range from a process of its own, which waits so many milliseconds
before each answer, and reads one layer of all clips: cold, from the read cache, both from a .zip too, and with zarr over fsspec's
HTTP file system (needs aiohttp) at zarr's own concurrency and at ours. Opening the store counts in each, but in those of a further
layer, for which another was read before: ours has compared the ledger by then. Medians over rounds that alternate, after one
that is not counted; results are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import zarr
from zarr.storage import FsspecStore

from voxcache.store import Products, UnitData, create_store, open_store, register_clips, register_encoder
from voxcache.store.archive import write_archive
from voxcache.store.remote import CONCURRENCY

LAYERS, DIM, LAYER = 13, 768, 6
PLAIN_CONCURRENCY = zarr.config.get("async.concurrency")
Way = Callable[[], Any]


def write(path: Path, n: int) -> None:
    """Make a store of random vectors, old enough that a reader may keep parts of it."""
    rng = np.random.default_rng(0)
    ids = [f"{i:06d}" for i in range(n)]
    corpus, _ = register_clips(create_store(path), "bench", clip=ids, sha256=["0" * 64] * n, n_samples=[16_000] * n)
    writer = register_encoder(
        corpus,
        "e",
        key={},
        n_layers=LAYERS,
        dim=DIM,
        n_frames=np.zeros(n, np.int64),
        products=Products(),
        about={"card": {}, "weights_origin": "none"},
    )
    for unit, rows in writer.todo().items():
        pooled = rng.normal(size=(len(rows), LAYERS, DIM)).astype(np.float32)
        writer.commit(unit, rows, UnitData(np.ones(len(rows), np.uint8), np.full(len(rows), "", object), pooled))
    write_archive(path, path.with_suffix(".zip"))
    then = time.time() - 3600
    for item in path.parent.rglob("*"):
        os.utime(item, (then, then))


def serve(root: str, latency_s: float, told: Connection) -> None:
    """Serve files with Range, each answer after `latency_s`; tell the port. Answers any number of requests at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(latency_s)
                writer.write(_response(Path(root), head.decode("latin-1")))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _response(root: Path, head: str) -> bytes:
    method, target, _ = head.split(" ", 2)
    file = root / unquote(target).lstrip("/")
    if not file.is_file():
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    found = file.stat()
    start, stop, status, extra = 0, found.st_size, "200 OK", ""
    if wanted := re.search(r"^range: *bytes=(\d*)-(\d*)", head, re.MULTILINE | re.IGNORECASE):
        first, last = wanted.groups()
        start = int(first) if first else max(0, found.st_size - int(last))
        stop = min(int(last) + 1, found.st_size) if first and last else found.st_size
        status, extra = "206 Partial Content", f"Content-Range: bytes {start}-{stop - 1}/{found.st_size}\r\n"
    modified = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(found.st_mtime))
    lines = f'ETag: "{found.st_mtime_ns:x}-{found.st_size:x}"\r\nLast-Modified: {modified}\r\nAccept-Ranges: bytes\r\n'
    top = f"HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\n{lines}{extra}\r\n".encode()
    if method == "HEAD":
        return top
    with file.open("rb") as opened:
        opened.seek(start)
        return top + opened.read(stop - start)


def ours(url: str, cache_gb: str) -> Way:
    """Return our reading, with no cache or with that of this machine."""

    def read() -> np.ndarray:
        os.environ["VOXCACHE_CACHE_GB"] = cache_gb
        return np.asarray(open_store(url).corpus("bench").encoder("e").pooled(LAYER))

    return read


def ours_further(url: str) -> Way:
    """Return our reading of one more layer, with no cache."""

    def open_first() -> Callable[[], np.ndarray]:
        os.environ["VOXCACHE_CACHE_GB"] = "0"
        encoder = open_store(url).corpus("bench").encoder("e")
        encoder.pooled(0)
        return lambda: np.asarray(encoder.pooled(LAYER))

    return open_first


def plain_further(url: str, concurrency: int) -> Way:
    """Return zarr's reading of one more layer."""

    def open_first() -> Callable[[], np.ndarray]:
        array: Any = zarr.open_group(FsspecStore.from_url(url, read_only=True), mode="r")["bench/e/pooled"]

        def read(layer: int = LAYER) -> np.ndarray:
            with zarr.config.set({"async.concurrency": concurrency}):
                return np.asarray(array[:, layer])

        read(0)
        return read

    return open_first


def plain(url: str, concurrency: int) -> Way:
    """Return zarr's reading of the same array over fsspec, as its documentation has it."""

    def read() -> np.ndarray:
        with zarr.config.set({"async.concurrency": concurrency}):
            array: Any = zarr.open_group(FsspecStore.from_url(url, read_only=True), mode="r")["bench/e/pooled"]
            return np.asarray(array[:, LAYER])

    return read


def medians(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Return the median ms of each way, rounds alternating. A way that returns a function is set up and then timed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    expected = None
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            found = way()
            if callable(found):
                began = time.perf_counter()
                found = found()
            if number:
                times[name].append((time.perf_counter() - began) * 1000)
            expected = found if expected is None else expected
            np.testing.assert_array_equal(found, expected)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(root: Path, latency_ms: float, rounds: int) -> None:
    """Serve, read in each way, and print the ratios."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(str(root), latency_ms / 1000, there), daemon=True
    )
    server.start()
    try:
        address = f"http://127.0.0.1:{here.recv()}"
        folder, packed = f"{address}/s.zarr", f"{address}/s.zip"
        theirs = f"zarr over fsspec, {PLAIN_CONCURRENCY} at once"
        ms = medians(
            {
                theirs: plain(folder, PLAIN_CONCURRENCY),
                f"zarr over fsspec, {CONCURRENCY} at once": plain(folder, CONCURRENCY),
                "voxcache, cold": ours(folder, "0"),
                "voxcache, from the cache": ours(folder, "10"),
                f"a further layer: zarr over fsspec, {CONCURRENCY} at once": plain_further(folder, CONCURRENCY),
                "a further layer: voxcache": ours_further(folder),
                "voxcache, a .zip, cold": ours(packed, "0"),
                "voxcache, a .zip, from the cache": ours(packed, "10"),
            },
            rounds,
        )
    finally:
        server.terminate()
        server.join()
    for name, value in ms.items():
        print(f"{latency_ms:g} ms latency, {name}: {value:.0f} ms, {value / ms[theirs]:.2f} x {theirs}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latency", type=float, nargs="+", default=[0.0, 20.0], help="ms before each answer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["VOXCACHE_CACHE"] = str(Path(scratch) / "cache")
        print("writing …", file=sys.stderr)
        write(Path(scratch) / "served" / "s.zarr", options.clips)
        for latency_ms in options.latency:
            measure(Path(scratch) / "served", latency_ms, options.rounds)


if __name__ == "__main__":
    main()
