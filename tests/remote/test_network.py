from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from made_store import Made, fill, register
from servers import Server, put
from zarr.core.sync import sync

from voxcache.errors import StoreBusy, StoreError, StoreUnreachable
from voxcache.store import EncoderWriter, Products, create_store, open_store, remote_lock
from voxcache.store.buckets import ObstoreBucket, open_bucket
from voxcache.store.locks import registration_lock, worker_lock, writer_lock
from voxcache.store.verify import verify

pytest.importorskip("obstore")

MADE = Made(n=40)


def from_now(seconds: float) -> Any:
    """Return a rule that refuses everything until `seconds` have passed."""
    until = time.monotonic() + seconds
    return lambda method, path: time.monotonic() < until


def test_writing_survives_an_outage(s3: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A server that answers 503 for two seconds in the middle costs two seconds and one line, and nothing is lost."""
    writer = register("s3://bucket/outage/s.zarr", MADE)  # type: ignore[arg-type]
    todo = writer.todo()
    with caplog.at_level(logging.WARNING):
        for unit, rows in todo.items():
            if unit == 4:
                s3.traffic.refuse = from_now(2)
            writer.commit(unit, rows, MADE.unit(rows, writer.products))
    store = open_store("s3://bucket/outage/s.zarr")
    assert verify(store) == []
    np.testing.assert_array_equal(store.corpus("corpus").encoder("made").pooled(0)[39], MADE.pooled(39)[0])
    said = [record.message for record in caplog.records]
    assert len([text for text in said if "no answer" in text and "trying again for up to 300 s" in text]) == 1
    assert len([text for text in said if "answers again" in text]) == 1


def test_an_outage_that_lasts_ends_with_how_to_go_on(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `VOXCACHE_OUTAGE_S` writing gives up; the next run does only what is left."""
    monkeypatch.setenv("VOXCACHE_OUTAGE_S", "1")
    writer = register("s3://bucket/lasting/s.zarr", MADE)  # type: ignore[arg-type]
    units = list(writer.todo().items())
    for unit, rows in units[:3]:
        writer.commit(unit, rows, MADE.unit(rows, writer.products))
    s3.traffic.refuse = lambda method, path: True
    with pytest.raises(StoreUnreachable, match="run the same command again when the store is back") as caught:
        writer.commit(units[3][0], units[3][1], MADE.unit(units[3][1], writer.products))
    assert "VOXCACHE_OUTAGE_S" in str(caught.value)
    s3.traffic.refuse = lambda method, path: False
    assert fill(register("s3://bucket/lasting/s.zarr", MADE), MADE) == 28  # type: ignore[arg-type]
    assert verify(open_store("s3://bucket/lasting/s.zarr")) == []


def test_an_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never answered is given up soon, with a hint at the address and no key in the text."""
    monkeypatch.setattr("voxcache.store.network.FIRST_S", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHIDDEN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    with pytest.raises(StoreUnreachable, match="Check the address, the network and AWS_ENDPOINT_URL") as caught:
        open_store("s3://bucket/nobody-there.zarr")
    assert "hidden" not in str(caught.value).lower()


def test_a_second_writer_is_kept_out(s3: Server) -> None:
    """Whoever comes second is told who writes and how to go on if that one is gone; afterwards no lock is left."""
    with writer_lock("s3://bucket/locked.zarr"):  # type: ignore[arg-type]
        said = r"another process is writing to it \(pid \d+ on .*voxcache store unlock"
        with pytest.raises(StoreBusy, match=said), writer_lock("s3://bucket/locked.zarr"):  # type: ignore[arg-type]
            pass
        assert len(remote_lock.locked_by(remote_lock.Url("s3://bucket/locked.zarr"))) == 1
    assert remote_lock.locked_by(remote_lock.Url("s3://bucket/locked.zarr")) == []


def test_of_many_at_once_one_gets_the_lock(s3: Server) -> None:
    """However many begin at the same moment, at most one holds the store at a time."""
    held, most, lock = [0], [0], threading.Lock()

    def attempt() -> None:
        try:
            with writer_lock("s3://bucket/race.zarr"):  # type: ignore[arg-type]
                with lock:
                    held[0] += 1
                    most[0] = max(most[0], held[0])
                time.sleep(0.05)
                with lock:
                    held[0] -= 1
        except StoreBusy:
            pass

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1


def leave_lock(s3: Server, name: str, **said: Any) -> None:
    """Put a lock as a writer that was killed leaves it."""
    body = json.dumps({"host": "elsewhere", "pid": 1, "started": "then", "mark": "x", **said}).encode()
    put(s3, name, body)


def test_a_lock_whose_writer_is_gone(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is taken over at once from a process of this machine that has ended, else after ten silent minutes."""
    import socket

    leave_lock(s3, ".gone.zarr.lock", host=socket.gethostname(), pid=2**22 + 1)
    with writer_lock("s3://bucket/gone.zarr"):  # type: ignore[arg-type]
        pass
    leave_lock(s3, ".gone.zarr.lock")
    busy = pytest.raises(StoreBusy, match="pid 1 on elsewhere, since then")
    with busy, writer_lock("s3://bucket/gone.zarr"):  # type: ignore[arg-type]
        pass
    monkeypatch.setattr(remote_lock, "STALE_S", -1.0)
    with writer_lock("s3://bucket/gone.zarr"):  # type: ignore[arg-type]
        pass


def test_a_writer_that_lost_its_lock_stops(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose lock was taken over while it could not be reached writes nothing more."""
    monkeypatch.setattr(remote_lock, "RENEW_S", 0.1)
    with writer_lock("s3://bucket/lost.zarr"):  # type: ignore[arg-type]
        store = create_store("s3://bucket/lost.zarr")
        leave_lock(s3, ".lost.zarr.lock")
        time.sleep(1)
        with pytest.raises(StoreBusy, match="took over its lock"):
            store.group.attrs["x"] = 1
    remote_lock.unlock(remote_lock.Url("s3://bucket/lost.zarr"))


def test_a_refusal_does_not_end_the_renewal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A lock whose renewal was refused for a while is renewed again afterwards, and the refusal is said."""
    monkeypatch.setattr(remote_lock, "RENEW_S", 0.02)
    url = remote_lock.Url("memory://locks/refused.zarr")
    bucket, put_ = open_bucket(url), ObstoreBucket.put
    refused: list[str] = []

    async def put(self: ObstoreBucket, key: str, data: Any, **how: Any) -> Any:
        if len(refused) < 3:
            refused.append(key)
            raise StoreError("store memory://locks/refused.zarr: access refused.")
        return await put_(self, key, data, **how)

    def renewed() -> float:
        found = sync(bucket.get("locks/.refused.zarr.lock"))
        return float(json.loads(found.data)["renewed"])

    with caplog.at_level(logging.WARNING), writer_lock(url):  # type: ignore[arg-type]
        monkeypatch.setattr(ObstoreBucket, "put", put)
        until = time.monotonic() + 10
        while len(refused) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        last = renewed()
        while renewed() == last and time.monotonic() < until:
            time.sleep(0.01)
        assert renewed() > last
    assert "access refused. Its lock was not renewed; trying again" in caplog.text


def test_workers_share_a_bucket(s3: Server) -> None:
    """Workers of one job hold a store together, register one after another, and keep plain writers and doubles out."""
    place: Any = "s3://bucket/workers.zarr"
    with worker_lock(place, 1, 2) as one:
        assert one.alone
        with pytest.raises(StoreBusy), worker_lock(place, 2, 2, wait_s=0.2):
            pass
        one.registered()
        with worker_lock(place, 2, 2) as two:
            assert not two.alone
            two.registered()
            for busy in (writer_lock(place), worker_lock(place, 2, 2), worker_lock(place, 1, 3, wait_s=0.2)):
                with pytest.raises(StoreBusy), busy:  # type: ignore[attr-defined]
                    pass
    with writer_lock(place):
        pass


def test_a_web_server_is_not_written_to(s3: Server) -> None:
    """Writing to http:// is refused before anything is asked."""
    s3.traffic.clear()
    with pytest.raises(StoreError, match="can be read, not written to"), writer_lock(f"{s3.url}/bucket/s.zarr"):  # type: ignore[arg-type]
        pass
    assert s3.traffic.requests == []


def test_workers_that_annotate_at_once_lose_nothing(s3: Server) -> None:
    """Facts that several workers add to one encoder in a bucket at the same moment are all there; no lock is left."""
    place: Any = "s3://bucket/facts/s.zarr"
    fill(register(place, MADE), MADE)
    writers = [EncoderWriter(create_store(place).corpus("corpus").encoder("made"), Products()) for _ in range(3)]
    s3.traffic.latency_s = 0.05
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(lambda i: writers[i].annotate({f"fact_{i}": i}), range(3)))
        settled = list(workers.map(lambda i: writers[i].settle("budgets", {"cpu": i}), range(3)))
    s3.traffic.latency_s = 0.0
    attributes = open_store(place).corpus("corpus").encoder("made").attrs
    assert [attributes[f"fact_{i}"] for i in range(3)] == [0, 1, 2]
    assert settled == [attributes["budgets"]] * 3
    assert remote_lock.locked_by(remote_lock.Url(place)) == []


def test_the_registration_lock_of_a_bucket_nests_and_keeps_others_out(s3: Server) -> None:
    """Whoever registers may ask for the lock again; another thread waits, and is told who holds it when it gives up."""
    place: Any = "s3://bucket/registering.zarr"

    def attempt() -> None:
        with registration_lock(place, wait_s=0.2):
            pass

    with ThreadPoolExecutor(1) as other, worker_lock(place, 1, 2) as one:
        with registration_lock(place):
            pass
        with pytest.raises(StoreBusy, match=r"pid \d+ on "):
            other.submit(attempt).result()
        one.registered()
        other.submit(attempt).result()


def test_registering_does_not_hide_a_lost_lock(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose lock was taken over writes nothing more, even when it gets the registration lock."""
    monkeypatch.setattr(remote_lock, "RENEW_S", 0.1)
    place: Any = "s3://bucket/hidden.zarr"
    with worker_lock(place, 1, 2) as one:
        store = create_store(place)
        one.registered()
        leave_lock(s3, ".hidden.zarr.worker-1-of-2.lock")
        time.sleep(1)
        with registration_lock(place), pytest.raises(StoreBusy, match="took over its lock"):
            store.group.attrs["x"] = 1
    remote_lock.unlock(remote_lock.Url(place))
