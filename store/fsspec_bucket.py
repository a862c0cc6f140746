"""A place that only fsspec knows: sftp, hf, github and so on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from ..errors import StoreError
from .buckets import NEEDED, Fetched, Version
from .location import Url, redacted
from .network import Network


class FsspecBucket:
    """A place that only fsspec knows (sftp, hf, github, …). It is read, not written to: nothing there keeps two writers apart."""

    listable, writable = True, False

    def __init__(self, url: Url) -> None:
        try:
            import fsspec

            self.fs, _ = fsspec.core.url_to_fs(url.text)
            self.root = self.fs._strip_protocol(url.text)[: -len(url.path) or None]
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"store {url}: nothing here speaks {url.scheme}:// ({redacted(str(error))}). {NEEDED} brings S3, HTTP and "
                f"others; for more, install the fsspec package of that protocol."
            ) from None
        self.try_ = Network(url.shown)

    async def get(self, key: str, part: ByteRequest | None = None) -> Fetched | None:
        """Return an object or a range of it."""
        start, stop = _bounds(part)
        try:
            data = await self._call(self.fs.cat_file, self.root + key, start, stop)
        except FileNotFoundError:
            return None
        return Fetched(bytes(data), Version(-1, ""))

    async def head(self, key: str) -> Version | None:
        """Return the version of an object."""
        try:
            return _fsspec_version(await self._call(self.fs.info, self.root + key))
        except FileNotFoundError:
            return None

    async def below(self, prefix: str) -> dict[str, Version]:
        """Return every object below a folder, by key."""
        found = await self._call(lambda: self.fs.find(self.root + prefix, detail=True))
        return {path[len(self.root) :]: _fsspec_version(info) for path, info in found.items()}

    async def within(self, prefix: str) -> tuple[dict[str, Version], list[str]]:
        """Return the objects right in a folder, and the folders in it."""
        found = await self._call(lambda: self.fs.ls(self.root + prefix, detail=True))
        names = {info["name"].rstrip("/")[len(self.root) :]: info for info in found}
        files = {name: _fsspec_version(info) for name, info in names.items() if info["type"] == "file"}
        return files, [name for name in names if name not in files]

    async def put(self, key: str, data: Any, *, instead_of: Any = None, new: bool = False) -> Any:
        """Refuse: see the class."""
        raise StoreError(f"store {self.try_.shown}: can be read, not written to. Write to a folder or to S3.")

    async def delete(self, key: str) -> None:
        """Refuse: see the class."""
        raise StoreError(f"store {self.try_.shown}: can be read, not written to. Nothing was removed.")

    async def _call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self.try_(lambda: asyncio.to_thread(work, *arguments))


def _bounds(part: ByteRequest | None) -> tuple[int | None, int | None]:
    if isinstance(part, RangeByteRequest):
        return part.start, part.end
    if isinstance(part, OffsetByteRequest):
        return part.offset, None
    return (-part.suffix, None) if isinstance(part, SuffixByteRequest) else (None, None)


def _fsspec_version(info: Any) -> Version:
    for name in ("ETag", "etag", "sha", "md5Checksum", "mtime", "LastModified", "last_modified"):
        if info.get(name):
            return Version(int(info.get("size") or 0), str(info[name]))
    return Version(int(info.get("size") or 0), "")
