"""What a Dask worker process keeps between tasks, without Dask: sessions are fakes that note what happens to them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small_run import small

from voxcache.extract import schedulers
from voxcache.extract.events import Event, Tell
from voxcache.extract.schedulers import Answer, Order, carry_out


class FakeSession:
    """Does nothing but tell of it; a task "wait" ends when `go_on` is set."""

    made: list[FakeSession]
    go_on: threading.Event

    def __init__(self, _pipeline: object, *, device: str, tell: Tell) -> None:
        self.tell, self.device, self.closed = tell, device, False
        self.made.append(self)

    def do(self, task: Any) -> None:
        if task == "wait":
            self.go_on.wait(10)
        assert not self.closed
        self.tell(Event("batch", {"encoder": "logmel", "audio_s": 1.0, "busy_s": 0.5}))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeSession]:
    """The sessions made, in order."""
    FakeSession.made, FakeSession.go_on = [], threading.Event()
    monkeypatch.setattr(schedulers, "Session", FakeSession)
    monkeypatch.setattr(schedulers, "_held", {})
    return FakeSession.made


def order(folder: Path, run: str, task: Any = "soon") -> Order:
    """Return a task of a run."""
    return Order(run, small(folder), "cpu", task)


def test_two_runs_on_one_worker_leave_each_other_alone(made: list[FakeSession], tmp_path: Path) -> None:
    """A session with a task in hand survives the orders of another run; one that is idle ends when a third begins."""
    with ThreadPoolExecutor(1) as lane:
        waiting = lane.submit(carry_out, order(tmp_path, "a", "wait"))
        while not made or not schedulers._held["a"].n_busy:
            pass
        carry_out(order(tmp_path, "b"))
        assert [session.closed for session in made] == [False, False]
        FakeSession.go_on.set()
        assert waiting.result().failure is None
    carry_out(order(tmp_path, "a"))
    assert len(made) == 2, "both were still there"
    carry_out(order(tmp_path, "c"))
    assert [session.closed for session in made] == [True, True, False]


def test_no_event_is_lost_or_told_twice(made: list[FakeSession], tmp_path: Path) -> None:
    """What four lanes answer adds up to what happened."""
    with ThreadPoolExecutor(4) as lanes:
        answers: list[Answer] = list(lanes.map(carry_out, [order(tmp_path, "a")] * 200))
    assert len(made) == 1
    assert sum(event.facts["audio_s"] for answer in answers for event in answer.events) == 200
