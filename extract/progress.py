"""What a run says while it works: bars on a terminal, plain lines elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ..words import duration

PLAIN_EVERY_S = 10.0

Counter = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass
class Speed:
    """Audio carried by one encoder and the seconds that its batches took, without decoding and writing."""

    audio_s: float = 0.0
    busy_s: float = 0.0

    def add(self, audio_s: float, busy_s: float) -> None:
        """Count a batch."""
        self.audio_s += audio_s
        self.busy_s += busy_s


@dataclass
class Work:
    """Audio seconds to do per encoder, clips in all, encoders' parameters, what is done so far, and when the run began."""

    todo_s: dict[str, float]
    todo_clips: int
    sizes: dict[str, int]
    done_clips: int = 0
    speeds: dict[str, Speed] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    n_devices: int = 1
    device_s: float = 0.0
    utilisation: Callable[[], str] = lambda: ""
    """Says how busy the GPUs are, where that can be asked; "" elsewhere."""
    queue: Callable[[], str] = lambda: ""
    """Says what waits for what."""

    @property
    def done_s(self) -> float:
        """Audio seconds carried so far, summed over encoders."""
        return sum(speed.audio_s for speed in self.speeds.values())

    def left_s(self) -> float | None:
        """Return the seconds that are left, None before anything was measured.

        Each encoder goes by its own speed; one not yet measured by that of the others, scaled by parameters.
        """
        carried = sum(speed.audio_s * self._size(name) for name, speed in self.speeds.items())
        if not carried:
            return None
        per_parameter = sum(speed.busy_s for speed in self.speeds.values()) / carried
        left = 0.0
        for name, todo in self.todo_s.items():
            speed = self.speeds[name]
            cost = speed.busy_s / speed.audio_s if speed.audio_s else per_parameter * self._size(name)
            left += max(todo - speed.audio_s, 0.0) * cost
        return left

    def _size(self, name: str) -> int:
        return max(self.sizes.get(name, 0), 100_000)

    def line(self) -> str:
        """Return speed, how busy the device is, what waits, and the time left, in words."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        left = self.left_s()
        rest = "time left: measuring" if left is None else f"{duration(left / self.n_devices)} left"
        busy = self.utilisation() or f"device busy {min(self.device_s / elapsed / self.n_devices, 1):.0%}"
        said = (f"{self.done_s / elapsed:.1f} x real time", busy, self.queue(), rest)
        return ", ".join(part for part in said if part)


def wide_console(*, stderr: bool = False) -> Console:
    """Return a console that does not squeeze tables where its width is unknown, in a file or a pipe."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


class Reporter:
    """Where a run's progress and remarks go."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or wide_console(stderr=True)
        self.quiet = quiet

    def say(self, text: str, style: str = "") -> None:
        """Print one line, nothing for an empty text."""
        if text and not self.quiet:
            self.console.print(text, style=style, markup=False, highlight=False)

    @contextmanager
    def counting(self, what: str, unit: str) -> Iterator[Counter]:
        """Show a simple count; yields a function to call with (done, total)."""
        with self._bar(what, unit) as (progress, task):
            last = time.monotonic()

            def count(done: int, total: int) -> None:
                nonlocal last
                if progress is not None:
                    progress.update(task, completed=done, total=total)
                elif time.monotonic() - last > PLAIN_EVERY_S:
                    last = time.monotonic()
                    self.say(f"{what}: {done} of {total} {unit}")

            yield count

    @contextmanager
    def working(self, work: Work) -> Iterator[Callable[[str], None]]:
        """Show a run's progress; yields a function to call with the encoder at work after each step."""
        with self._bar("embedding", "") as (progress, task):
            last = time.monotonic()

            def step(now: str) -> None:
                nonlocal last
                done = work.done_s
                if progress is not None:
                    total = round(sum(work.todo_s.values()))
                    progress.update(task, completed=round(done), total=total, what=f"embedding {now}", rate=work.line())
                elif time.monotonic() - last > PLAIN_EVERY_S:
                    last = time.monotonic()
                    share = done / max(sum(work.todo_s.values()), 1e-9)
                    self.say(f"embedding {now}: {share:.0%}, {work.line()}")

            yield step

    @contextmanager
    def _bar(self, what: str, unit: str) -> Iterator[tuple[Progress | None, TaskID]]:
        if self.quiet or not self.console.is_terminal:
            yield None, TaskID(0)
            return
        columns = (
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield progress, progress.add_task(what, what=what, rate=unit, total=None)
