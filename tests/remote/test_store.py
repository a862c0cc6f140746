from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register
from servers import Server, put, web_server
from zarr.core.sync import sync

from voxcache.errors import IntegrityError, SchemaError, StoreError
from voxcache.store import Products, Store, create_store, drop, open_store
from voxcache.store.pack import pack
from voxcache.store.repair import clear
from voxcache.store.verify import verify

pytest.importorskip("obstore")

MADE = Made(n=40, failed=(2, 17))
KEPT = Products(std=True, frames=(0, 2))


def make(place: str | Path, made: Made = MADE) -> Store:
    """Write a whole store of made embeddings."""
    fill(register(place, made, KEPT), made)  # type: ignore[arg-type]
    return open_store(place)


def everything(store: Store) -> list[np.ndarray]:
    """Return all that stage 2 may read."""
    corpus = store.corpus("corpus")
    encoder = corpus.encoder("made")
    frames = encoder.frames(2).read(range(corpus.n_clips))
    columns = [column.values for column in corpus.columns.values()]
    status = encoder.ledger().status
    return [encoder.pooled(1), encoder.pooled_std(), encoder.pooled_all(), status, *columns, corpus.clip, *frames]


def same(one: Store, other: Store) -> None:
    """Fail unless two stores read the same."""
    for a, b in zip(everything(one), everything(other), strict=True):
        np.testing.assert_array_equal(a, b)


def settle(folder: Path) -> None:
    """Let files be old: what a web server changed within the last minute is not cached."""
    then = time.time() - 3600
    for item in folder.rglob("*"):
        os.utime(item, (then, then))


def objects(s3: Server, prefix: str) -> dict[str, bytes]:
    """Return every object below a prefix, read by a client that is not ours."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("s3", endpoint_url=s3.url)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{prefix}/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    return {key.removeprefix(f"{prefix}/"): client.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """A store on the disk."""
    return make(tmp_path / "local" / "store.zarr")


@pytest.fixture
def web(local: Store, tmp_path: Path) -> Iterator[Server]:
    """The store on the disk, and its .zip, behind a web server."""
    pack(local.path, tmp_path / "local" / "a store.zip")
    settle(tmp_path / "local")
    with web_server(tmp_path / "local") as server:
        yield server


def test_objects_equal_those_of_a_folder(s3: Server, local: Store) -> None:
    """What is written to S3 is byte for byte what is written to a folder; only the store's own identity differs."""
    make("s3://bucket/equal/store.zarr")
    there = objects(s3, "equal/store.zarr")
    here = {str(p.relative_to(local.path)): p.read_bytes() for p in Path(local.path).rglob("*") if p.is_file()}
    assert there.keys() == here.keys()
    assert [key for key in there if there[key] != here[key]] == ["zarr.json"]


def test_a_bucket_reads_as_a_folder_does(s3: Server, local: Store) -> None:
    """Pooled vectors, frames, ledger and columns from S3 equal those from the disk, and nothing is damaged."""
    store = make("s3://bucket/reads/store.zarr")
    same(store, local)
    assert verify(store) == []
    assert store.n_bytes == sum(map(len, objects(s3, "reads/store.zarr").values()))


def test_a_store_in_memory(local: Store) -> None:
    """`memory://` holds a store as long as the process runs."""
    same(make("memory://folder/store.zarr"), local)


def test_frames_that_are_gone_are_said() -> None:
    """Frames that the ledger counts and that are not at the URL are an error, as on a disk; those of other clips read on."""
    url = "memory://lost/store.zarr"
    make(url)
    sync(create_store(url).group.store_path.store.delete("corpus/made/frames/layer_02/c/1/0"))
    frames = open_store(url).corpus("corpus").encoder("made").frames(2)
    with pytest.raises(IntegrityError, match=r"chunk 0 of shard 1 is not there, though the ledger counts it"):
        frames.read([5])
    np.testing.assert_array_equal(frames.read([0])[0], MADE.frames(0))


def test_the_second_reading_asks_for_nothing(s3: Server) -> None:
    """A second reading of a bucket costs the root document and one list per level, whatever is read."""
    make("s3://bucket/twice/store.zarr")
    everything(open_store("s3://bucket/twice/store.zarr"))
    s3.traffic.clear()
    everything(open_store("s3://bucket/twice/store.zarr"))
    fetched = [path for method, path in s3.traffic.requests if path != "/bucket"]
    assert fetched == ["/bucket/twice/store.zarr/zarr.json"]
    assert len(s3.traffic.requests) <= 4


def test_without_a_cache_everything_is_fetched_again(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`VOXCACHE_CACHE_GB=0` keeps nothing on this machine."""
    monkeypatch.setenv("VOXCACHE_CACHE_GB", "0")
    make("s3://bucket/uncached/store.zarr")
    counts = []
    for _ in range(2):
        s3.traffic.clear()
        everything(open_store("s3://bucket/uncached/store.zarr"))
        counts.append(len(s3.traffic.requests))
    assert counts[0] == counts[1] > 20


def test_what_changed_is_never_served_from_the_cache(s3: Server) -> None:
    """A store that is written again under the same address, equal in every size, is read anew."""
    other = Made(n=40, seed=1, failed=(2, 17))
    url = "s3://bucket/changed/store.zarr"
    before = everything(make(url))
    writer = register(url, MADE, KEPT)  # type: ignore[arg-type]
    for unit in range(10):
        rows = np.arange(unit * 4, unit * 4 + 4)
        writer.commit(unit, rows, other.unit(rows, writer.products))
    after = everything(open_store(url))
    assert not np.array_equal(before[0], after[0], equal_nan=True)
    np.testing.assert_array_equal(after[0][0], other.pooled(0)[1])


def test_a_web_server_needs_no_listing(web: Server, local: Store) -> None:
    """A folder behind a web server that cannot list reads as it does on the disk; its size nobody knows."""
    store = open_store(f"{web.url}/store.zarr")
    same(store, local)
    assert verify(store) == []
    assert store.n_bytes is None


def test_a_web_server_sends_nothing_twice(web: Server, local: Store) -> None:
    """The second time a web server is asked only whether its files are as they were, and sends the root document alone."""
    store = open_store(f"{web.url}/store.zarr")
    everything(store)
    web.traffic.clear()
    everything(open_store(f"{web.url}/store.zarr"))
    assert web.traffic.sent == Path(local.path, "zarr.json").stat().st_size


def test_a_zip_behind_a_web_server(web: Server, local: Store) -> None:
    """A .zip is read by the offsets of its entries; the second time one question is enough."""
    same(open_store(f"{web.url}/a%20store.zip"), local)
    web.traffic.clear()
    store = open_store(f"{web.url}/a%20store.zip")
    same(store, local)
    assert web.traffic.requests == [("HEAD", "/a%20store.zip")]
    assert verify(store) == []


def test_a_file_that_was_replaced_on_a_web_server(web: Server, tmp_path: Path) -> None:
    """A store put in place of another, files of equal size, is read anew and not from the cache."""
    before = everything(open_store(f"{web.url}/store.zarr"))
    shutil.rmtree(tmp_path / "local" / "store.zarr")
    make(tmp_path / "local" / "store.zarr", Made(n=40, seed=1, failed=(2, 17)))
    after = everything(open_store(f"{web.url}/store.zarr"))
    assert not np.array_equal(before[0], after[0], equal_nan=True)


def test_a_login_is_sent_and_never_shown(local: Store, tmp_path: Path) -> None:
    """User and password of a URL reach the server; neither path nor errors nor cached names show them."""
    with web_server(tmp_path / "local", login="Basic YW5uOnMzY3IzdA==") as server:
        address = server.url.replace("//", "//ann:s3cr3t@")
        store = open_store(f"{address}/store.zarr?sig=s3cr3t")
        same(store, local)
        assert "s3cr3t" not in f"{store.path} {store.group} {store.group.store_path!r} {store.corpus('corpus').path}"
        with pytest.raises(SchemaError) as caught:
            open_store(f"{address}/nothing.zarr?sig=s3cr3t")
        assert "s3cr3t" not in str(caught.value)
        with pytest.raises(StoreError, match="access refused") as refused:
            open_store(f"{server.url}/store.zarr?sig=s3cr3t")
        assert "s3cr3t" not in f"{refused.value}{refused.value.__cause__}"


def test_any_protocol_of_fsspec_can_be_read(local: Store, tmp_path: Path) -> None:
    """What only fsspec knows is read as a folder is, and refused for writing."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.local import LocalFileSystem

    class Shelf(LocalFileSystem):  # type: ignore[misc]
        protocol = ("shelf",)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.removeprefix("shelf://").rstrip("/")

    fsspec.register_implementation("shelf", Shelf, clobber=True)
    same(open_store(f"shelf://{local.path}"), local)
    with pytest.raises(StoreError, match="can be read, not written to"):
        create_store(f"shelf://{local.path}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/nothing.zarr", "no Zarr group there"),
        ("s3://no-such-bucket/s.zarr", "its bucket does not exist"),
        ("s3://bucket/nothing.zip", "expected a .zip there, found none"),
        ("teleport://host/s.zarr", "nothing here speaks teleport://"),
    ],
)
def test_what_is_not_there_is_said(s3: Server, url: str, said: str) -> None:
    """Each way of finding no store has its own sentence with the address."""
    with pytest.raises(StoreError, match=said) as caught:
        open_store(url)
    assert url in str(caught.value)


def test_a_bucket_with_something_else_is_left_alone(s3: Server) -> None:
    """A store is not made among other objects."""
    put(s3, "mine/notes.txt", b"x")
    with pytest.raises(SchemaError, match="expected nothing or a store there"):
        create_store("s3://bucket/mine")


def test_dropping_removes_every_object(s3: Server) -> None:
    """A dropped encoder leaves no object, and what stays is sound."""
    url = "s3://bucket/drop/store.zarr"
    make(url)
    store = create_store(url)
    drop(store.corpus("corpus").group, url, "made")
    assert not [key for key in objects(s3, "drop/store.zarr") if key.startswith("corpus/made/")]
    left = open_store(url)
    assert left.corpus("corpus").encoders == ()
    assert verify(left) == []


def test_damage_in_a_bucket_is_found_and_cleared(s3: Server) -> None:
    """A changed object is named by unit, cleared, and embedded again."""
    url = "s3://bucket/damage/store.zarr"
    make(url)
    shard = "damage/store.zarr/corpus/made/pooled/c/3/0/0"
    raw = bytearray(objects(s3, "damage/store.zarr")["corpus/made/pooled/c/3/0/0"])
    raw[5] ^= 1
    put(s3, shard, bytes(raw))
    damage = verify(open_store(url))
    assert [(item.array, item.unit) for item in damage] == [("pooled", 3)]
    assert clear(create_store(url), damage) == []
    assert fill(register(url, MADE, KEPT), MADE) == 4  # type: ignore[arg-type]
    assert verify(open_store(url)) == []
