"""Who may write at once: one plain writer, or the workers of one job; the second of the same is told who is there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_store import Made, fill, register, register_corpus

from voxcache.errors import ConfigError, StoreBusy, StoreError
from voxcache.store import create_store, drop, open_store, register_clips
from voxcache.store.backend import remove_partials
from voxcache.store.locks import registration_lock, worker_lock, writer_lock
from voxcache.store.verify import verify

HOLD = """
import sys, time
from pathlib import Path
from voxcache.store.locks import *
store = Path({store!r})
with {lock} as lock:
    {then}
    print("holding", flush=True)
    sys.stdin.read()
"""
Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a store would lie."""
    return tmp_path / "s.zarr"


@pytest.fixture
def hold(store: Path) -> Iterator[Hold]:
    """Start a process that takes a lock of the store and keeps it."""
    started: list[subprocess.Popen[str]] = []

    def start(lock: str, then: str = "pass") -> subprocess.Popen[str]:
        code = HOLD.format(store=str(store), lock=lock, then=then)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _committing(worker: int, count: int) -> tuple[str, str]:
    return f"worker_lock(store, {worker}, {count})", "lock.registered()"


def test_workers_of_one_job_write_together(store: Path, hold: Hold) -> None:
    """The first worker registers alone; the next registers and commits while the first commits."""
    hold(*_committing(1, 3))
    with worker_lock(store, 2, 3) as second:
        assert not second.alone
        second.registered()
        with worker_lock(store, 3, 3) as third:
            third.registered()


def test_a_worker_is_alone_before_others_and_after_them(store: Path, hold: Hold) -> None:
    """Only a worker beside whom nobody commits may tidy up what dead ones left."""
    first = hold(*_committing(1, 2))
    with worker_lock(store, 2, 2) as lock:
        assert not lock.alone
    first.kill()
    first.wait()
    with worker_lock(store, 2, 2) as lock:
        assert lock.alone


def test_one_worker_twice_is_refused(store: Path, hold: Hold) -> None:
    """Two processes that would do the same part are told apart by who came first."""
    first = hold(*_committing(2, 3))
    with (
        pytest.raises(StoreBusy, match=rf"worker 2 of 3, pid {first.pid} on .* runs already\. Start each worker once"),
        worker_lock(store, 2, 3),
    ):
        pass


def test_workers_of_another_count_are_refused(store: Path, hold: Hold) -> None:
    """Parts of three and parts of two overlap, so they may not run together."""
    hold(*_committing(1, 3))
    with (
        pytest.raises(StoreBusy, match=r"worker 1 of 3, pid .* runs and this would be one of 2"),
        worker_lock(store, 2, 2),
    ):
        pass


def test_a_plain_writer_is_refused_while_workers_write(store: Path, hold: Hold) -> None:
    """An extract, drop, label or merge started beside workers is told which they are."""
    one, two = hold(*_committing(1, 2)), hold(*_committing(2, 2))
    said = rf"another process is writing to it \(worker 1 of 2, pid {one.pid} on .*; worker 2 of 2, pid {two.pid} on "
    with pytest.raises(StoreBusy, match=said), writer_lock(store):
        pass
    one.kill()
    one.wait()
    with pytest.raises(StoreBusy, match=rf"\(worker 2 of 2, pid {two.pid}"), writer_lock(store):
        pass
    two.kill()
    two.wait()
    with writer_lock(store):
        pass


def test_a_worker_is_refused_while_a_plain_writer_writes(store: Path, hold: Hold) -> None:
    """A worker does not begin beside a run that takes the whole store."""
    plain = hold("writer_lock(store)")
    with (
        pytest.raises(StoreBusy, match=rf"another process is writing to it \(pid {plain.pid} "),
        worker_lock(store, 1, 2),
    ):
        pass


def test_registering_is_waited_for_and_said(store: Path, hold: Hold) -> None:
    """While one worker registers another waits, says so, and gives up with a sentence when it takes too long."""
    hold("worker_lock(store, 1, 2)")
    said: list[str] = []
    began = time.monotonic()
    with (
        pytest.raises(StoreBusy, match=r"has been registering for 1 s \(pid .*run the same command again"),
        worker_lock(store, 2, 2, say=said.append, wait_s=1),
    ):
        pass
    assert time.monotonic() - began >= 1
    assert len(said) == 1
    assert said[0].startswith("waiting for another worker to register its clips (pid ")


def test_registering_goes_on_when_the_other_is_done(store: Path, hold: Hold) -> None:
    """A worker that waits gets its turn as soon as the one that registers is through, even by being killed."""
    first = hold("worker_lock(store, 1, 2)")
    subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(1); os.kill({first.pid}, 9)"])
    with worker_lock(store, 2, 2, wait_s=30) as lock:
        assert lock.alone


def test_the_registration_lock_may_be_nested(store: Path, hold: Hold) -> None:
    """Facts about an encoder may be written while registering as well as later, beside other workers."""
    with worker_lock(store, 1, 2) as lock:
        with registration_lock(store):
            pass
        lock.registered()
        with registration_lock(store):
            pass
        hold(*_committing(2, 2))


def test_no_lock_files_stay_but_the_stores_own(store: Path) -> None:
    """Workers and registration leave no files behind; the plain lock file stays."""
    with worker_lock(store, 1, 2) as lock:
        lock.registered()
    assert [file.name for file in store.parent.iterdir()] == [".s.zarr.lock"]


@pytest.mark.parametrize(("index", "count"), [(0, 2), (3, 2), (-1, 1)])
def test_a_worker_number_out_of_range_is_refused(store: Path, index: int, count: int) -> None:
    """Worker numbers go from 1 to the number of workers."""
    with pytest.raises(ConfigError, match=f"worker {index}/{count}: expected a number from 1 to {count}"):
        worker_lock(store, index, count).__enter__()


def test_a_place_without_room_for_a_lock_file_is_refused(tmp_path: Path) -> None:
    """Where the folder of the store cannot take a lock file, the message names the file and says why it is needed."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"Writing a store needs a lock file beside it"),
        writer_lock(tmp_path / "file" / "s"),
    ):
        pass


ANNOTATE = """
import sys
sys.path.insert(0, {support!r})
from pathlib import Path
from made_store import Made, register
from voxcache.store.locks import worker_lock
index, store = int(sys.argv[1]), Path({store!r})
with worker_lock(store, index, 3) as lock:
    writer = register(store, Made())
    lock.registered()
    for i in range(10):
        writer.annotate({{f"fact-{{index}}-{{i}}": i}})
    print(writer.settle("measured", {{"cpu": index}})["cpu"])
"""


def test_facts_of_all_workers_are_kept(store: Path) -> None:
    """Three processes that describe one encoder at once lose nothing, and agree on what only one of them may decide."""
    code = ANNOTATE.format(support=str(Path(__file__).parents[1] / "support"), store=str(store))
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(i)], stdout=subprocess.PIPE, text=True) for i in (1, 2, 3)
    ]
    said = [worker.communicate()[0] for worker in workers]
    about = open_store(store).corpus("corpus").encoder("made").attrs
    assert {f"fact-{worker}-{i}" for worker in (1, 2, 3) for i in range(10)} <= set(about)
    assert said == [f"{about['measured']['cpu']}\n"] * 3
    assert verify(open_store(store)) == []


@pytest.mark.parametrize("change", ["new", "changed"])
def test_clips_may_not_change_under_other_workers(store: Path, change: str) -> None:
    """A worker that finds other clips than those registered is refused while others embed, and nothing is written."""
    made = Made()
    corpus, _ = register_corpus(store, made)
    hashes = made.hashes if change == "new" else ["f" * 64, *made.hashes[1:]]
    more = ["z.wav"] if change == "new" else []
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    with pytest.raises(StoreBusy, match="while other workers embed what was there before"):
        register_clips(
            create_store(store),
            "corpus",
            clip=[*made.ids, *more],
            sha256=[*hashes, *more],
            n_samples=[*corpus.n_samples, *(5 for _ in more)],
            others_write=True,
        )
    assert before == {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}


def test_a_file_url_is_locked_as_its_path(
    store: Path, hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a store by `file://` and whoever names it by its path keep each other out; no file appears elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    url = Path(f"file://{store}")
    with writer_lock(url), pytest.raises(StoreBusy), writer_lock(store):
        pass
    hold("writer_lock(store)")
    for busy in (writer_lock(url), worker_lock(url, 1, 2)):
        with pytest.raises(StoreBusy, match=r"store s\.zarr: another process is writing"), busy:  # type: ignore[attr-defined]
            pass
    assert not any(Path().iterdir())


def test_a_store_at_a_file_url_is_tidied_and_shrunk(store: Path) -> None:
    """What a killed writer left is removed, and an encoder is dropped, in the folder that a `file://` URL means."""
    made, url = Made(), f"file://{store}"
    fill(register(store, made), made)
    (store / "corpus" / "0.partial").touch()
    assert remove_partials(url) == 1
    drop(create_store(url).corpus("corpus").group, url, "made")
    assert open_store(url).corpus("corpus").encoders == ()
    assert not (store / "corpus" / "made").exists()
