"""Work on a Dask cluster: one that runs already, one of this machine, or one that a batch system starts. For both stages.

Dask schedules; what is here only hands it tasks a few at a time, so that a million of them need no memory, and names those that
could not be done. Dask itself gives a task to another worker when the one that had it dies.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConfigError, RunError

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

INSTALL = "Install it with: pip install 'voxcache[cluster]'"
ATTEMPTS = 3
"""How often a task may raise, or its worker die, before it is given up."""
AHEAD = 2
"""Tasks handed out for each worker's thread: one to do and one to go on with."""
WAIT_S = 600
"""How long to wait for the first worker; a batch system may have a queue."""


@dataclass(frozen=True)
class Lost:
    """A task that could not be done: it raised `ATTEMPTS` times, or its worker died as often."""

    why: str


@contextmanager
def connect(scheduler: str, *, processes: int = 1, threads: int = 1) -> Iterator[Client]:
    """Yield a client of a Dask cluster, once it has a worker.

    Args:
        scheduler: "local" (processes of this machine), "slurm" (jobs, set up by dask-jobqueue's own configuration files), or
            the address of a scheduler that runs: tcp://host:port, tls://…, ucx://….
        processes: workers to start, for "local" and "slurm".
        threads: threads a worker, for "local".

    Raises:
        ConfigError: no such scheduler, or Dask is not installed.
        RunError: no worker came.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(f"--scheduler {scheduler}: needs Dask, which is not installed. {INSTALL}") from None
    with _cluster(scheduler, processes, threads) as address:
        try:
            client = Client(address, timeout="30s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({str(error).splitlines()[0]}). Start one with `dask "
                f"scheduler`, or use --scheduler local."
            ) from error
        with client:
            _wait_for_workers(client, scheduler)
            yield client


@contextmanager
def _cluster(scheduler: str, processes: int, threads: int) -> Iterator[Any]:
    if "://" in scheduler:
        yield scheduler
        return
    if scheduler == "local":
        from distributed import LocalCluster

        made: Any = LocalCluster(
            n_workers=processes,
            threads_per_worker=threads,
            processes=True,
            dashboard_address=None,
            silence_logs="ERROR",
        )
    elif scheduler == "slurm":
        made = _slurm(processes)
    else:
        raise ConfigError(f"--scheduler {scheduler}: expected local, slurm, or an address such as tcp://host:8786.")
    with made:
        yield made


def _slurm(jobs: int) -> Any:
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError:
        raise ConfigError(f"--scheduler slurm: needs dask-jobqueue, which is not installed. {INSTALL}") from None
    try:
        made = SLURMCluster()
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"--scheduler slurm: dask-jobqueue cannot start jobs ({error}). Set cores, memory and the rest in "
            f"~/.config/dask/jobqueue.yaml; docs/gpu.md has an example."
        ) from error
    made.scale(jobs=jobs)
    return made


def _wait_for_workers(client: Client, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WAIT_S)
    except TimeoutError:
        raise RunError(
            f"--scheduler {scheduler}: no worker came within {WAIT_S} s. See whether the jobs are queued, and start workers with "
            f"`dask worker`."
        ) from None


def run_all(
    client: Client,
    call: Callable[[T], R],
    items: Iterable[T],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[T, R | Lost]]:
    """Yield (item, what `call` gave for it on some worker) as they end, in any order.

    Args:
        call: importable on the workers; may be called again for an item whose worker died.
        items: taken a few at a time, when there is room.
        stop: asked before every item; once true, no more are handed out and those at work are waited for.
    """
    executor = client.get_executor(pure=False, retries=ATTEMPTS - 1)
    source = iter(items)
    waiting: dict[Future[Any], T] = {}
    try:
        while True:
            room = AHEAD * max(sum(client.nthreads().values()), 1) - len(waiting)
            for item in itertools.islice(source, 0 if stop() else max(room, 0)):
                waiting[executor.submit(call, item)] = item
            if not waiting:
                return
            for future in wait(list(waiting), return_when=FIRST_COMPLETED, timeout=5.0).done:
                item = waiting.pop(future)
                yield item, _result(future)
    finally:
        for future in waiting:
            future.cancel()


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            return Lost(f"the workers that did it died: {error}")
        return Lost(f"{type(error).__name__}: {error} ({ATTEMPTS} attempts)")
