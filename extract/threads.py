"""Which threads use torch: one computes with all cores, those that decode with one core each.

OpenMP gives every thread that computes in parallel a team of its own. As soon as the teams have more threads than there
are cores, GNU's stops waiting actively between two operations, and a transformer on a CPU takes a tenth longer
(docs/benchmarks.md). So there is one team.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DeviceThread:
    """The one thread that computes and that talks to the device. It ends when nobody holds this object any more."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        ids = self._ids  # what a thread begins with must not hold this object, or it would never end
        self._pool = ThreadPoolExecutor(1, "device", lambda: ids.append(threading.get_ident()))

    def do(self, work: Callable[[], T]) -> T:
        """Do something in that thread and wait for it; what it raises is raised here."""
        if threading.get_ident() in self._ids:
            return work()
        return self._pool.submit(work).result()


def decoding_threads(n: int, device: DeviceThread) -> ThreadPoolExecutor:
    """Return `n` threads, all begun, in which torch uses one core.

    Args:
        device: keeps the number of threads that it has.
    """
    import torch

    begun = threading.Barrier(n + 1)

    def begin() -> None:
        torch.get_num_threads()  # torch looks up once a thread with how many it begins; before that nothing set here lasts
        torch.set_num_threads(1)
        begun.wait()

    device.do(torch.get_num_threads)
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(n, "decode")
    for _ in range(n):
        pool.submit(begin)
    begun.wait()
    torch.set_num_threads(n_threads)  # what threads that come later begin with
    return pool
