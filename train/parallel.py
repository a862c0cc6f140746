"""Jobs of experiments in several processes: of this machine, or of a Dask cluster. Results are written by whoever asked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache

from ..machine import usable_cores
from .execute import Ended, Job, Worker

DIED = "its process died twice, the second time with nothing beside it (out of memory, or killed). Give it more memory"


def side_by_side(source: str, wanted: Sequence[Job], *, device: str, workers: int) -> Iterator[Ended]:
    """Yield jobs as they end, `workers` at a time, the cores shared between them.

    A process that dies takes the others' pool with it: what was running then is run again, one job at a time, so that only a job
    that dies alone is given up.
    """
    rest = deque(wanted)
    while rest:
        for job in (yield from _pool(source, rest, device=device, workers=workers)):
            if (yield from _pool(source, deque([job]), device=device, workers=1, of=workers)):
                yield Ended(job, (), DIED)


def _pool(
    source: str, rest: deque[Job], *, device: str, workers: int, of: int | None = None
) -> Generator[Ended, None, list[Job]]:
    """Run jobs from the left of `rest` until none is left or a process dies; return what was running then."""
    threads = max(1, usable_cores() // (of or workers))
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(source, device, threads),
    )
    running: dict[Future[Ended], Job] = {}
    try:
        while rest or running:
            while rest and len(running) < workers:
                running[pool.submit(_run_in_worker, rest[0])] = rest[0]
                rest.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                ended = _result(future, running[future])
                del running[future]
                yield ended
    except BrokenProcessPool:
        return list(running.values())
    except BaseException:  # stopped, or nobody asks for the rest
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return []


def _result(future: Future[Ended], job: Job) -> Ended:
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except Exception as error:
        return Ended(job, (), f"its result did not come back: {type(error).__name__}: {error}. Run it with --workers 1")


_worker: Worker | None = None


def _start(source: str, device: str, threads: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from threadpoolctl import threadpool_limits

    from ..store import open_store

    threadpool_limits(threads)
    _worker = Worker(open_store(source), device, threads)


def _end_with_parent() -> None:
    """End this process when the one that made it is gone, however that ended: nobody would take its results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(job: Job) -> Ended:
    assert _worker is not None
    return _worker.run(job)


def on_cluster(source: str, wanted: Sequence[Job], *, device: str, scheduler: str, processes: int) -> Iterator[Ended]:
    """Yield jobs as they end on a Dask cluster, whose workers must reach the store under the same name; see `cluster`."""
    from .. import cluster

    with cluster.connect(scheduler, processes=processes, threads=1) as client:
        items = ((source, device, job) for job in wanted)
        for (_, _, job), ended in cluster.run_all(client, run_remote, items):
            yield Ended(job, (), ended.why) if isinstance(ended, cluster.Lost) else ended


def run_remote(item: tuple[str, str, Job]) -> Ended:
    """Run (store, device, job) in this process, which keeps the store and its inputs for the next one."""
    source, device, job = item
    return _kept(source, device).run(job)


@lru_cache(maxsize=2)
def _kept(source: str, device: str) -> Worker:
    from ..store import open_store

    return Worker(open_store(source), device)
