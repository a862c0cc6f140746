"""Keeps count of a run: what its events add up to, for the display, the summary and the profile in the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

from .events import Event, Tell, ignore
from .progress import Work
from .session import UnitReport


@dataclass
class Spent:
    """Where the seconds of one encoder on one corpus went; decoding is shared out over the encoders that used it."""

    n_clips: int = 0
    n_failed: int = 0
    audio_s: float = 0.0
    decode_s: float = 0.0
    wait_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0

    def add(self, other: Spent) -> None:
        """Add another's counts."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def facts(self) -> dict[str, float]:
        """Return what is kept, rounded to milliseconds."""
        found = {field.name: round(getattr(self, field.name), 3) for field in fields(self)}
        return found | {"x_real_time": round(self.audio_s / self.compute_s, 1) if self.compute_s else 0.0}


class Watch:
    """Takes the events of a run, from any thread, and tells the display and the log."""

    def __init__(self, work: Work, *, log: Tell = ignore) -> None:
        self.work = work
        self.spent: dict[tuple[str, str], Spent] = {}
        self.devices: set[str] = set()
        self.budgets: dict[tuple[str, str], int] = {}
        self.kinds: dict[tuple[str, str], str] = {}
        self._log = log
        self._step: Callable[[str], None] = lambda _name: None
        self._lock = threading.Lock()

    def show(self, step: Callable[[str], None]) -> None:
        """From now on, call `step` with the encoder at work after every batch."""
        self._step = step

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            if event.kind == "batch":
                facts = event.facts
                self.work.speeds[facts["encoder"]].add(facts["audio_s"], facts["busy_s"])
                self.work.device_s += facts["busy_s"]
        self._log(event)
        if event.kind == "batch":
            self._step(str(event.facts["encoder"]))

    def unit_done(self, report: UnitReport) -> None:
        """Count a unit that is committed."""
        self.devices.add(report.device)
        for part in report.parts:
            spent = Spent(part.n_clips, part.n_failed, part.audio_s, report.decode_s / len(report.parts))
            spent.add(Spent(wait_s=part.wait_s, compute_s=part.compute_s, write_s=part.write_s))
            self.spent.setdefault((report.corpus, part.encoder), Spent()).add(spent)
            self.work.done_clips += part.n_clips
            facts: dict[str, object] = {"corpus": report.corpus, "encoder": part.encoder, "unit": report.unit}
            self(Event("unit_done", {**facts, "device": report.device, **spent.facts()}))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.work.began

    def profile(self) -> dict[str, dict[str, float]]:
        """Return where the time went, by "corpus/encoder"."""
        return {"/".join(name): spent.facts() for name, spent in self.spent.items()}
