"""What happens in a run, one event at a time: for the progress display, the log file and the counts at the end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError

Kind = Literal[
    "run_started",
    "batch",
    "unit_done",
    "halved",
    "retry",
    "unit_lost",
    "worker_lost",
    "finished",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened; `facts` are JSON-able. docs/gpu.md lists the facts of every kind."""

    kind: Kind
    facts: Mapping[str, Any] = field(default_factory=dict)


Tell = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Tell nobody."""


class EventLog:
    """A file of JSON lines, one event a line, each with its time (ISO 8601, UTC). Lines of several runs follow each other."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--log {path}: cannot be written: {error.strerror}. Name another file.") from None
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one event. Batches are not written: there are too many."""
        if event.kind == "batch":
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event.kind, "process": os.getpid(), **event.facts}, ensure_ascii=False)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
