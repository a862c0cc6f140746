"""Ctrl-C and SIGTERM: the first lets the work in hand finish, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""Exit code of a run that was stopped."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGBREAK] if hasattr(signal, "SIGBREAK") else []))
"""SIGBREAK is what Windows sends instead of SIGTERM, which it has but nobody can send."""

GO_ON = "stopped. What is finished is kept; run the same command to go on."


class Stop(threading.Event):
    """Set by the first signal. Before `armed` is called there is nothing in hand, and a signal interrupts at once.

    `at_once` is called before the process ends on the second signal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patient = False
        self.at_once: list[Callable[[], None]] = []

    def armed(self) -> None:
        """From now on, a signal lets the unit in hand finish."""
        self.patient = True


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turn signals into a request to stop; a batch system that preempts a node sends SIGTERM some time before SIGKILL."""
    stop = Stop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if not stop.patient:
            raise KeyboardInterrupt
        if stop.is_set():
            _end_at_once(stop)
        stop.set()
        os.write(2, b"stopping: the unit in hand is finished first; once more to stop at once\n")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        if not stop.is_set():  # else the process is about to end, and a second signal ends it here too
            for number, handler in before.items():
                signal.signal(number, handler)


def _end_at_once(stop: Stop) -> None:
    for end in stop.at_once:
        end()
    os.write(2, f"{GO_ON}\n".encode())
    sys.stdout.flush()
    os._exit(STOPPED)  # threads at work would be waited for; a store stands every moment of a kill
