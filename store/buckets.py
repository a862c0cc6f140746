"""Objects behind a network: get, put, list and delete, with patience while nothing answers.

S3, Google Cloud Storage, Azure, HTTP and memory go through obstore, anything else that fsspec knows can be read through fsspec.
Keys are whole paths in the bucket. Errors leave here without passwords or signed queries in them.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest

from ..errors import StoreError
from .location import Url, redacted
from .network import Network

CLIENT = {"timeout": "300s", "connect_timeout": "10s", "read_timeout": "60s"}
NEEDED = "`pip install 'voxcache[remote]'`"


@dataclass(frozen=True)
class Version:
    """What tells one state of an object from another: its size and the server's tag, "" where it gives none.

    `modified_s` is the server's time of the last change, in seconds since 1970.
    """

    size: int
    tag: str
    modified_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Fetched:
    """Bytes of an object, or of a range of it, the version they came from, and what `put` takes to replace just that."""

    data: bytes
    version: Version
    token: Any = None


class Bucket(Protocol):
    """What a store needs of the place it lies in. A missing object is None, never an error."""

    listable: bool
    writable: bool

    async def get(self, key: str, part: ByteRequest | None = None) -> Fetched | None:
        """Return an object or a range of it."""

    async def head(self, key: str) -> Version | None:
        """Return the version of an object."""

    async def below(self, prefix: str) -> dict[str, Version]:
        """Return every object below a folder, by key."""

    async def within(self, prefix: str) -> tuple[dict[str, Version], list[str]]:
        """Return the objects right in a folder, and the folders in it."""

    async def put(self, key: str, data: Any, *, instead_of: Any = None, new: bool = False) -> Any:
        """Write an object whole; return its token, or None where it is there and `new`, or it is not `instead_of`."""

    async def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


def open_bucket(url: Url) -> Bucket:
    """Return the bucket of a URL.

    Raises:
        StoreError: the package that speaks this protocol is not installed, or none does.
    """
    try:
        import obstore.store as stores
    except ImportError:
        raise StoreError(
            f"store {url}: reading and writing over a network needs obstore, which is not installed. {NEEDED} brings it."
        ) from None
    if url.scheme in {"http", "https"}:
        return ObstoreBucket(url, _web(url, stores), listable=False, writable=False)
    if url.scheme in {"s3", "s3a"}:
        return ObstoreBucket(url, _s3(url, stores))
    if url.scheme == "memory":
        return ObstoreBucket(url, _MEMORY.setdefault("", stores.MemoryStore()))
    if url.scheme in {"gs", "az", "abfs", "abfss"}:
        base = urlsplit(url.text)._replace(path="", query="").geturl()
        return ObstoreBucket(url, stores.from_url(base, client_options=_client(os.environ), retry_config=_ONCE))
    from .fsspec_bucket import FsspecBucket

    return FsspecBucket(url)


_MEMORY: dict[str, Any] = {}
_ONCE: Any = {"max_retries": 0}
"""Trying again is done here, where it can be told to the user."""


def _client(environment: Any) -> Any:
    plain = any(str(environment.get(name, "")).startswith("http://") for name in environment if "ENDPOINT" in name)
    return {**CLIENT, "allow_http": plain}


def _web(url: Url, stores: Any) -> Any:
    parts = urlsplit(url.text)
    options: Any = {**CLIENT, "allow_http": url.scheme == "http"}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        options["default_headers"] = {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    base = parts._replace(netloc=url.host, path="", fragment="").geturl()
    return stores.HTTPStore(base, client_options=options, retry_config=_ONCE)


def _s3(url: Url, stores: Any) -> Any:
    options: dict[str, Any] = {"client_options": _client(os.environ), "retry_config": _ONCE}
    said = ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if not any(os.environ.get(name) for name in said):
        options |= _from_profile()
    return stores.S3Store(url.host, **options)


def _from_profile() -> dict[str, Any]:
    """Return credentials as the aws command finds them (~/.aws, SSO, the machine's role); nothing signed without any."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return {}
    try:
        return {"credential_provider": Boto3CredentialProvider()}
    except ValueError:
        return {"skip_signature": True}
    except Exception as error:  # botocore has many: a profile that is not there, an SSO session that ended
        raise StoreError(f"AWS credentials: {redacted(str(error))}. Check AWS_PROFILE and ~/.aws.") from None


class ObstoreBucket:
    """A bucket that obstore speaks to."""

    def __init__(self, url: Url, client: Any, *, listable: bool = True, writable: bool = True) -> None:
        self.client, self.listable, self.writable = client, listable, writable
        self.try_ = Network(url.shown)

    async def get(self, key: str, part: ByteRequest | None = None) -> Fetched | None:
        """Return an object or a range of it."""
        import obstore

        async def call() -> Fetched:
            result = await obstore.get_async(self.client, key, options=_options(part))
            data = memoryview(await result.bytes_async()).tobytes()
            return Fetched(data, _version(result.meta), _token(result.meta))

        try:
            return await self.try_(call)
        except FileNotFoundError:
            return None

    async def head(self, key: str) -> Version | None:
        """Return the version of an object."""
        import obstore

        try:
            return _version(await self.try_(lambda: obstore.head_async(self.client, key)))
        except FileNotFoundError:
            return None

    async def below(self, prefix: str) -> dict[str, Version]:
        """Return every object below a folder, by key."""
        import obstore

        async def call() -> Any:
            return await obstore.list(self.client, f"{prefix}/").collect_async()

        return {meta["path"]: _version(meta) for meta in await self.try_(call)}

    async def within(self, prefix: str) -> tuple[dict[str, Version], list[str]]:
        """Return the objects right in a folder, and the folders in it."""
        import obstore

        found = await self.try_(lambda: obstore.list_with_delimiter_async(self.client, f"{prefix}/"))
        return {meta["path"]: _version(meta) for meta in found["objects"]}, list(found["common_prefixes"])

    async def put(self, key: str, data: Any, *, instead_of: Any = None, new: bool = False) -> Any:
        """Write an object whole; return its token, or None where it is there and `new`, or it is not `instead_of`."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if new else instead_of

        async def call() -> Any:
            try:
                return _token(await obstore.put_async(self.client, key, data, mode=mode))
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if instead_of:
                    return None
                raise

        try:
            return await self.try_(call)
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.try_.shown}: cannot be written: {redacted(str(error).partition(chr(10))[0])}"
            ) from None

    async def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        async def call() -> None:
            try:
                await obstore.delete_async(self.client, key)
            except FileNotFoundError:
                return

        await self.try_(call)


def _options(part: ByteRequest | None) -> Any:
    if part is None:
        return None
    if isinstance(part, RangeByteRequest):
        return {"range": (part.start, part.end)}
    if isinstance(part, OffsetByteRequest):
        return {"range": {"offset": part.offset}}
    return {"range": {"suffix": part.suffix}}


def _token(meta: Any) -> dict[str, str]:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name]}


def _version(meta: Any) -> Version:
    modified_s = meta["last_modified"].timestamp()
    tag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    return Version(meta["size"], tag or (f"t{modified_s:.0f}" if modified_s > 0 else ""), modified_s)
