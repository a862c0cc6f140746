"""Where a store lies: a path of this machine or a URL, and what of a URL may be shown.

A URL can carry a password (`https://user:pass@host/…`) or a signed query (`…?X-Amz-Signature=…`). `Url.shown` has neither, and only
that goes into messages, names, results and the store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ..errors import ConfigError

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<second>/?)(?P<rest>.*)", re.DOTALL)
_SECRETS = re.compile(r"([A-Za-z][\w+.-]+:/{1,2})([^\s/]*@)?([^\s?'\"<>]*)(\?[^\s'\"<>),]*)?")
SHORTENED = ("s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https", "memory", "file")
"""Schemes that are recognised behind one slash too: `Path("s3://bucket/x")` drops the other."""


@dataclass(frozen=True)
class Url:
    """A store in a bucket or behind a web server. `text` may hold secrets and is never shown."""

    text: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """What comes before `://`, lower case."""
        return urlsplit(self.text).scheme

    @property
    def shown(self) -> str:
        """The URL without password and query."""
        return redacted(self.text)

    @property
    def host(self) -> str:
        """Bucket, container, or host and port; no user."""
        return urlsplit(self.text).netloc.rpartition("@")[2]

    @property
    def path(self) -> str:
        """The path without slashes around it; in memory there are no buckets, so that all of it is path."""
        parts = urlsplit(self.text)
        return unquote(f"{parts.netloc}{parts.path}" if self.scheme == "memory" else parts.path).strip("/")

    @property
    def name(self) -> str:
        """The last part of the path: `store.zarr`."""
        return self.path.rpartition("/")[2] or self.host

    def __str__(self) -> str:
        return self.shown


def place(path: str | Path | Url) -> Path | Url:
    """Return where a store lies. `file://` becomes a path.

    Raises:
        ConfigError: a URL without a path, or one that cannot be taken apart.
    """
    if isinstance(path, Url):
        return path
    text = str(path)
    found = _SCHEME.fullmatch(text)
    if not found or not (found["second"] or found["scheme"].lower() in SHORTENED):
        return Path(path)
    scheme = found["scheme"].lower()
    if scheme == "file":
        return Path(url2pathname(urlsplit(f"file:/{found['second']}{found['rest']}").path))
    return _checked(Url(f"{scheme}://{found['rest']}"))


def _checked(url: Url) -> Url:
    try:
        parts = urlsplit(url.text)
        parts.port  # noqa: B018  raises where a password with a slash was not percent-encoded
    except ValueError:
        raise ConfigError(
            f"store {url.scheme}://…: expected host, port and path, got something else. Percent-encode special "
            f"characters of a password."
        ) from None
    if not url.path and url.scheme in SHORTENED:
        raise ConfigError(
            f"store {url}: expected a path such as {url.scheme}://{url.host or 'bucket'}/name.zarr, got none."
        )
    if parts.username and url.scheme not in {"http", "https"} and url.scheme in SHORTENED:
        raise ConfigError(
            f"store {url}: expected no user or password in it. Put them into the environment (AWS_ACCESS_KEY_ID, "
            f"AWS_SECRET_ACCESS_KEY); see docs/remote.md."
        )
    return url


def local_target(path: str | Path) -> Path:
    """Return where a copy is to be built. Raises `ConfigError` for a URL: copies are swapped in by renaming, which S3 lacks."""
    where = place(path)
    if isinstance(where, Url):
        raise ConfigError(
            f"{where}: expected a folder or file on this machine to write to. Write there, then copy it, such as with "
            f"`aws s3 sync`."
        )
    return where


def is_there(path: str | Path) -> bool:
    """Return whether anything is at a path, or a store at a URL."""
    where = place(path)
    if isinstance(where, Path):
        return where.exists()
    from .remote_open import is_store

    return is_store(where)


def redacted(text: str) -> str:
    """Return text in which no URL has a user, a password or a query."""
    return _SECRETS.sub(lambda m: m[1] + ("…@" if m[2] else "") + m[3] + ("?…" if m[4] else ""), text)
