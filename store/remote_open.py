"""Opening, making, measuring and shrinking a store that lies at a URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import zarr
from zarr.core.sync import sync

from ..errors import SchemaError, StoreError
from . import schema
from .buckets import open_bucket
from .cache import open_cache
from .checksums import MANIFEST
from .layout import update_attributes
from .location import Url
from .remote import CONCURRENCY, Reader, RemoteStore

ROOT = "zarr.json"


def remote_root(url: Url, *, writable: bool) -> zarr.Group:
    """Return the root group of an existing store at a URL; its schema is still to be checked.

    Raises:
        SchemaError: no Zarr group is there.
        StoreError: it is to be written to and cannot, or it does not answer.
    """
    if is_archive(url):
        if writable:
            raise SchemaError(
                f"store {url}: a .zip can be read, not written to. Unzip it into a folder or a bucket first."
            )
        from .remote_zip import zip_root

        return zip_root(url)
    reader = _reader(url, writable=writable)
    fetched = sync(reader.bucket.get(reader.whole(ROOT)))
    if fetched is None:
        raise SchemaError(
            f"store {url}: no Zarr group there. Check the address, or make a store with `voxcache extract`."
        )
    if not writable:
        reader.hold(ROOT, fetched.data)
        reader.uuid = _uuid(fetched.data)
    return _group(RemoteStore(reader, read_only=not writable))


def root_for_writing(url: Url, attributes: Mapping[str, Any]) -> zarr.Group:
    """Return the root of the store at a URL for writing, made with `attributes` where nothing is.

    Raises:
        SchemaError: something else is there.
    """
    if is_archive(url) or is_store(url):
        root = remote_root(url, writable=True)
        sync(root.store_path.store.delete_dir(MANIFEST))  # a pack that is written to is a pack no more
        return root
    reader = _reader(url, writable=True)
    objects, folders = sync(reader.within(""))
    if objects or folders:
        raise SchemaError(
            f"store {url}: expected nothing or a store there, got something else. Choose another address."
        )
    return zarr.create_group(RemoteStore(reader, read_only=False), attributes=dict(attributes))


def is_store(url: Url) -> bool:
    """Return whether something that looks like a store is at a URL."""
    key = "" if is_archive(url) else ROOT
    reader = _reader(url, writable=False)
    return sync(reader.bucket.head(reader.whole(key))) is not None


def is_archive(url: Url) -> bool:
    """Return whether a URL means one .zip."""
    return url.name.lower().endswith(".zip")


def drop_remote(parent: zarr.Group, name: str) -> None:
    """Remove a group. From the first write on readers pass over it, and whatever a kill leaves is replaced or removed later."""
    group = cast(zarr.Group, parent[name])
    about = cast(dict[str, Any], group.attrs.get(schema.ATTRS, {}))
    for encoder in about.get("encoders", ()):
        update_attributes(cast(zarr.Group, group[encoder]), {"kind": schema.UNFINISHED})
    update_attributes(group, {"kind": schema.UNFINISHED})
    sync(group.store_path.store.delete_dir(group.path))


def _reader(url: Url, *, writable: bool) -> Reader:
    bucket = open_bucket(url)
    if writable and not bucket.writable:
        raise StoreError(
            f"store {url}: {url.scheme}:// can be read, not written to. Write to a folder or to a bucket (s3://, gs://, az://)."
        )
    if zarr.config.get("async.concurrency") < CONCURRENCY:
        zarr.config.set({"async.concurrency": CONCURRENCY})
    return Reader(url, bucket, None if writable else open_cache())


def _group(store: RemoteStore) -> zarr.Group:
    try:
        return zarr.open_group(store, mode="r" if store.read_only else "r+", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            f"store {store.url}: expected a Zarr v3 group, got something else ({error}). Check the address."
        ) from None


def _uuid(document: bytes) -> str:
    try:
        return str(json.loads(document)["attributes"][schema.ATTRS]["uuid"])
    except (ValueError, KeyError, TypeError):
        return ""
