"""A store behind a network as zarr sees it, and reading it with few requests.

Where the bucket can be listed, one list per corpus tells the version of every object: objects that are not there cost nothing,
and parts that were read before come from the cache without asking. The list is a snapshot, `done` counts before the data
they count (they sort that way), so that what it shows as committed is there. A web server cannot be listed: there an object
that was read before is asked for its version first, and inventories in the attributes say what a group holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store

from ..errors import StoreBusy
from . import guard
from .buckets import Bucket, Fetched, Version
from .cache import Cache
from .location import Url

CONCURRENCY = 64
"""Requests at once; measured at 20 ms latency, more gain nothing."""
SETTLED_S = 60.0
"""A web server's tag may be a time in seconds: what changed just now may change again under the same tag."""
SEEN = "seen"
DOCUMENT = "zarr.json"
"""What ends the name of a node's document: small, and asked for again and again."""

lost_locks: set[str] = set()
"""Stores whose lock another process took over while this one wrote to them: it must stop."""


class Reader:
    """Objects of one bucket below one folder, for reading: a snapshot, and a cache where `uuid` is known."""

    def __init__(self, url: Url, bucket: Bucket, cache: Cache | None, *, listed: bool | None = None) -> None:
        self.url, self.bucket, self.cache = url, bucket, cache
        self.listed = bucket.listable if listed is None else listed
        self.uuid = ""
        self._held: dict[str, bytes] = {}
        self._versions: dict[str, Version | None] = {}
        self._listings: dict[str, asyncio.Task[dict[str, Version]]] = {}

    def hold(self, key: str, data: bytes) -> None:
        """Answer from memory when an object that was just read is asked for again."""
        self._held[key] = data

    async def get(self, key: str, part: ByteRequest | None = None) -> bytes | None:
        """Return an object or a range of it, from the cache where it holds that of the object's present version."""
        if part is None and key in self._held:
            return self._held[key]
        version = await self.version(key, ask=False)
        if version is None and (key in self._versions or self.listed):
            return None
        if version is not None and (data := self._kept(key, version, part)) is not None:
            return data
        fetched = await self.bucket.get(self.whole(key), part)
        if fetched is None:
            self._versions[key] = None
            return None
        self._keep(key, part, fetched, version)
        if part is None and key.endswith(DOCUMENT):
            self.hold(key, fetched.data)
        return fetched.data

    async def version(self, key: str, *, ask: bool = True) -> Version | None:
        """Return an object's version. Without `ask` a web server is asked only about what may be in the cache."""
        if key in self._versions:
            return self._versions[key]
        if self.listed:
            return (await self._listing(key)).get(key)
        if ask or (self.cache is not None and self.cache.has(*self._identity, key, SEEN)):
            self._versions[key] = await self.bucket.head(self.whole(key))
        return self._versions.get(key)

    async def below(self, prefix: str) -> dict[str, Version]:
        """Return every object below a folder, by key."""
        found = await self.bucket.below(self.whole(prefix))
        return {self._inner(key): version for key, version in found.items()}

    async def within(self, prefix: str) -> tuple[dict[str, Version], list[str]]:
        """Return the objects right in a folder, and the folders in it."""
        objects, folders = await self.bucket.within(self.whole(prefix))
        return {self._inner(key): version for key, version in objects.items()}, [self._inner(key) for key in folders]

    async def _listing(self, key: str) -> dict[str, Version]:
        folder = key.partition("/")[0] if "/" in key else ""
        if folder not in self._listings:
            self._listings[folder] = asyncio.ensure_future(self.below(folder) if folder else self._top())
        try:
            return await self._listings[folder]
        except BaseException:
            self._listings.pop(folder, None)
            raise

    async def _top(self) -> dict[str, Version]:
        return (await self.within(""))[0]

    @property
    def _identity(self) -> tuple[str, str]:
        return self.url.shown, self.uuid

    def _kept(self, key: str, version: Version, part: ByteRequest | None) -> bytes | None:
        if self.cache is None or not version.tag:
            return None
        return self.cache.get(*self._identity, key, version.tag, version.size, _named(part))

    def _keep(self, key: str, part: ByteRequest | None, fetched: Fetched, listed: Version | None) -> None:
        version = listed if fetched.version.size < 0 else fetched.version
        self._versions[key] = version
        if self.cache is None or version is None or not version.tag or not self._settled(version):
            return
        self.cache.put(fetched.data, *self._identity, key, version.tag, version.size, _named(part))
        if not self.listed and not self.cache.has(*self._identity, key, SEEN):
            self.cache.put(b"", *self._identity, key, SEEN)

    def _settled(self, version: Version) -> bool:
        return self.bucket.listable or version.modified_s + SETTLED_S < time.time()

    def whole(self, key: str) -> str:
        """Return an object's key in the bucket."""
        return "/".join(filter(None, (self.url.path, key)))

    def _inner(self, key: str) -> str:
        return key[len(self.url.path) :].strip("/")


def _named(part: ByteRequest | None) -> str:
    if part is None:
        return "all"
    if isinstance(part, RangeByteRequest):
        return f"{part.start}-{part.end}"
    return f"{part.offset}-" if isinstance(part, OffsetByteRequest) else f"-{part.suffix}"


class RemoteStore(Store):
    """A zarr store in a bucket or behind a web server. Every object is put whole, so that none is ever torn."""

    far = True
    """Whether each answer takes a while, so that it is better to ask for several things at once."""

    def __init__(self, reader: Reader, *, read_only: bool = True) -> None:
        super().__init__(read_only=read_only)
        self.reader, self.bucket, self.url = reader, reader.bucket, reader.url

    def with_read_only(self, read_only: bool = False) -> RemoteStore:
        """Return the same place, to be read only or not."""
        return RemoteStore(self.reader, read_only=read_only)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, RemoteStore) and value.url == self.url and value.read_only == self.read_only

    def __str__(self) -> str:
        return self.url.shown

    def __repr__(self) -> str:
        return f"RemoteStore({self.url.shown!r})"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a range of it, None where it is not there."""
        if self.read_only:
            data = await self.reader.get(key, byte_range)
        else:
            fetched = await self.bucket.get(self.whole(key), byte_range)
            data = None if fetched is None else fetched.data
        return guard.checked(key, None if data is None else prototype.buffer.from_bytes(data), byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several ranges, all asked for at once."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether an object is there."""
        found = await (self.reader.version(key) if self.read_only else self.bucket.head(self.whole(key)))
        return found is not None

    async def getsize(self, key: str) -> int:
        """Return the bytes of an object."""
        version = await (self.reader.version(key) if self.read_only else self.bucket.head(self.whole(key)))
        if version is None:
            raise FileNotFoundError(key)
        return version.size

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the bytes of all objects below a folder."""
        return sum(version.size for version in (await self.reader.below(prefix.rstrip("/"))).values())

    @property
    def supports_writes(self) -> bool:
        """True for buckets."""
        return self.bucket.writable

    @property
    def supports_deletes(self) -> bool:
        """True for buckets."""
        return self.bucket.writable

    @property
    def supports_listing(self) -> bool:
        """False for a web server."""
        return self.bucket.listable

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object whole."""
        self._check_writable()
        self._require_lock()
        await self.bucket.put(self.whole(key), value.as_buffer_like())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one object unless it is there."""
        self._check_writable()
        self._require_lock()
        await self.bucket.put(self.whole(key), value.as_buffer_like(), new=True)

    async def delete(self, key: str) -> None:
        """Remove one object, if it is there."""
        self._check_writable()
        self._require_lock()
        await self.bucket.delete(self.whole(key))

    async def delete_dir(self, prefix: str) -> None:
        """Remove everything below a folder; its own zarr.json last, so that a kill leaves a group that is seen as unfinished."""
        keys = sorted(await self.reader.below(prefix), key=lambda key: (-key.count("/"), key.endswith("zarr.json")))
        for deep in sorted({key.count("/") for key in keys}, reverse=True):
            level = [key for key in keys if key.count("/") == deep]
            for last in (False, True):
                chosen = [key for key in level if key.endswith("zarr.json") == last]
                for start in range(0, len(chosen), CONCURRENCY):
                    await asyncio.gather(*(self.delete(key) for key in chosen[start : start + CONCURRENCY]))

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        for key in await self.reader.below(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key below a folder."""
        for key in await self.reader.below(prefix.rstrip("/")):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names right in a folder."""
        objects, folders = await self.reader.within(prefix.rstrip("/"))
        for key in (*objects, *folders):
            yield key.rpartition("/")[2]

    def whole(self, key: str) -> str:
        """Return an object's key in the bucket."""
        return self.reader.whole(key)

    def _require_lock(self) -> None:
        if self.url.shown in lost_locks:
            raise StoreBusy(
                f"store {self.url}: another process took over its lock while this one could not be reached. What is "
                f"written is whole; run the same command again when that one has ended."
            )
