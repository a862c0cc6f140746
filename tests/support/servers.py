"""Servers on this machine for tests: an S3-compatible one (moto) and a web server for files that knows Range."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Traffic:
    """What a server was asked, and how it is to misbehave.

    Attributes:
        requests: method and path of each; sent: bytes of bodies sent.
        latency_s: pause before every answer.
        refuse: told method and path; True answers 503.
    """

    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    latency_s: float = 0.0
    refuse: Callable[[str, str], bool] = lambda method, path: False

    def clear(self) -> None:
        self.requests.clear()
        self.sent = 0


@dataclass(frozen=True)
class Server:
    """A running server: its address and its traffic."""

    url: str
    traffic: Traffic


@contextmanager
def s3_server() -> Iterator[Server]:
    """Run an S3-compatible server with a bucket named "bucket"."""
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    traffic = Traffic()
    moto = DomainDispatcherApplication(create_backend_app)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        traffic.requests.append((method, path))
        time.sleep(traffic.latency_s)
        if traffic.refuse(method, path):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        chunks = list(moto(environ, start_response))
        traffic.sent += sum(map(len, chunks))
        return chunks

    server = make_server("127.0.0.1", 0, app, threaded=True)
    with _serving(server):
        import urllib.request

        url = f"http://127.0.0.1:{server.server_port}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
        traffic.clear()
        yield Server(url, traffic)


def put(server: Server, key: str, data: bytes) -> None:
    """Put an object into the bucket with a client that is not ours."""
    import boto3

    boto3.client("s3", endpoint_url=server.url).put_object(Bucket="bucket", Key=key, Body=data)


@contextmanager
def web_server(root: Path, *, login: str | None = None) -> Iterator[Server]:
    """Serve the files of a folder over HTTP with Range, ETag by time and size, and no listing."""
    traffic = Traffic()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = urlsplit(self.path).path
            traffic.requests.append((self.command, path))
            time.sleep(traffic.latency_s)
            file = root / unquote(path).lstrip("/")
            if traffic.refuse(self.command, path):
                return self._send(503)
            if login is not None and self.headers.get("Authorization") != login:
                return self._send(401)
            if not file.is_file():
                return self._send(404)
            found = file.stat()
            headers = {
                "ETag": f'"{int(found.st_mtime):x}-{found.st_size:x}"',
                "Last-Modified": formatdate(found.st_mtime, usegmt=True),
                "Accept-Ranges": "bytes",
            }
            start, stop = _range(self.headers.get("Range"), found.st_size)
            if self.headers.get("Range"):
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.st_size}"
            with file.open("rb") as opened:
                opened.seek(start)
                data = opened.read(stop - start)
            return self._send(206 if "Content-Range" in headers else 200, headers, data, body=body)

        def _send(
            self, status: int, headers: dict[str, str] | None = None, data: bytes = b"", *, body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)
                traffic.sent += len(data)
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    with _serving(server):
        yield Server(f"http://127.0.0.1:{server.server_port}", traffic)


def _range(header: str | None, size: int) -> tuple[int, int]:
    if not header:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size


@contextmanager
def _serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
