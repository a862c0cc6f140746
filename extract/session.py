"""One process at work: its encoders on one device, its decoding threads, its hands on the store.

Whoever schedules (this process, others on this machine, a cluster) calls `Session.do` with plain tasks, from `LANES` threads: while
one lane computes, the others decode and write. A lane holds at most a block of decoded audio, and starts the next only when its
results are written, so that a slow disk slows everything and fills no memory.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import AudioError, EncoderError
from ..pipeline import Pipeline
from ..store import EncoderWriter, Products, Store
from ..store.read import open_root
from ..store.write import check_key
from .audio import CHECK_THEN_RETRY, foreseen, load
from .encoders.base import SAMPLE_RATE_HZ, Encoder
from .events import Event, Tell, ignore
from .jobs import Loaded
from .known_weights import identity_of
from .plan import EncoderPlan, plan_encoders
from .progress import Reporter
from .threads import decoding_threads
from .units import ClipFile, Part, SettleTask, Task, UnitTask, spread

if TYPE_CHECKING:
    from .embed import Batches

T = TypeVar("T")
Clip = np.ndarray | AudioError

LANES = 3
"""Units in hand at once: one that is decoded, one that is computed, one that is written."""


class Stopped(Exception):
    """The run was asked to stop; what was committed stays, this unit is taken up again by the next run."""


@dataclass(frozen=True)
class PartReport:
    """What one encoder did with one unit. Seconds waited are those in which the device was busy with other units."""

    encoder: str
    n_clips: int
    n_failed: int
    audio_s: float
    wait_s: float
    compute_s: float
    write_s: float


@dataclass(frozen=True)
class UnitReport:
    """What was done for a unit; `halved` holds batch budgets that had to be lowered, by encoder."""

    corpus: str
    unit: int
    decode_s: float
    parts: tuple[PartReport, ...]
    device: str
    halved: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """What was measured before the first unit: a batch budget for this kind of device, the cost of low precision.

    `budget_samples` is None where it was not to be measured, could not be (too few clips could be decoded), or was not worth
    it (too short a corpus); `unmeasured` is what then holds.
    """

    kind: str
    unmeasured: int
    budget_samples: int | None = None
    precision: dict[str, object] | None = None
    words: str = ""


class Session:
    """Carries out tasks.

    Args:
        device: as in `extract.device`.
        loaded: encoders in memory already, to use and to add to.
        writers: where the units of (corpus, encoder) go; opened when needed where not given, and then the weights are
            compared with the store's key: another machine may hold others under the same name.
        stop: set from outside when no further encoder should be begun.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        device: str | None = None,
        tell: Tell = ignore,
        loaded: Loaded | None = None,
        writers: dict[tuple[str, str], EncoderWriter] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings = pipeline.extract
        self.tell = tell
        self.loaded = loaded or Loaded(device or pipeline.extract.device, Reporter(quiet=True))
        self.stop = stop or threading.Event()
        self.n_ready = 0
        self._pipeline = pipeline
        self._plans: dict[str, EncoderPlan] = {plan.name: plan for plan in plan_encoders(pipeline)}
        self._given = writers is not None
        self._writers = dict(writers or {})
        self._opening = threading.Lock()
        self._lanes = threading.Semaphore(LANES)
        self._decoders = decoding_threads(self.settings.workers or self.loaded.decode_workers, self.loaded.thread)
        self._budgets: dict[str, int] = {}
        self._proven: set[str] = set()
        self._compiled: weakref.WeakSet[Encoder] = weakref.WeakSet()
        self._closed = threading.Event()

    def do(self, task: Task) -> UnitReport | Settled:
        """Carry out a task. Raises `Stopped` where the run was asked to stop meanwhile."""
        with self._lanes:
            return self._settle(task) if isinstance(task, SettleTask) else self._unit(task)

    @contextlib.contextmanager
    def ending_with_its_caller(self) -> Iterator[None]:
        """Begin nothing more once the caller failed or lost interest, so that its lanes end soon."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Begin nothing more and let go of the threads; what runs in them ends by itself."""
        self._closed.set()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _unit(self, task: UnitTask) -> UnitReport:
        files = {clip.row: clip for clip in task.clips}
        parts: list[PartReport] = []
        committed: set[str] = set()
        decode_s = 0.0
        try:
            for block in task.blocks:
                began = time.monotonic()
                clips = dict(zip(block, self._decode([files[row] for row in block]), strict=True))
                decode_s += time.monotonic() - began
                for part in task.parts:
                    rows = np.intersect1d(part.rows, block)
                    if len(rows):
                        final = bool(rows[-1] == part.rows[-1])
                        parts.append(self._part(task, part, rows, [clips[int(row)] for row in rows], final=final))
                        committed |= {part.encoder} if final else set()
        except Stopped:
            if not committed:
                raise
            parts = [part for part in parts if part.encoder in committed]  # what is in the store counts as done
        budgets = {part.encoder: self._budget(part) for part in task.parts}
        halved = {part.encoder: n for part in task.parts if (n := budgets[part.encoder]) < part.budget_samples}
        return UnitReport(task.corpus, task.unit, decode_s, _summed(parts), self.loaded.device.name, halved)

    def _part(self, task: UnitTask, part: Part, rows: np.ndarray, clips: list[Clip], *, final: bool) -> PartReport:
        from .embed import Batches, Cutting

        self._go_on()
        writer = self._writer(task.corpus, part.encoder)
        budget = self._budget(part)
        cutting = Cutting(self.settings.max_s, self.settings.overlap_s, budget)
        encoder = self._encoder(part.encoder, writer)
        batches = Batches(encoder, clips, cutting=cutting, products=writer.products)
        queued = time.monotonic()
        compute_s, audio_s = self._on_device(lambda: self._compute(part.encoder, batches))
        began = time.monotonic()
        if encoder.batched and batches.budget_samples < budget:
            with self._opening:
                self._budgets[part.encoder] = min(batches.budget_samples, self._budgets.get(part.encoder, budget))
            self.tell(Event("halved", {"encoder": part.encoder, "batch_s": batches.budget_samples / SAMPLE_RATE_HZ}))
        self._require_some_fit(encoder, batches)
        data = batches.finish()
        writer.commit(task.unit, rows, data, final=final)
        n_failed = int((data.status == 2).sum())
        wait_s, write_s = began - queued - compute_s, time.monotonic() - began
        return PartReport(part.encoder, len(rows), n_failed, audio_s, wait_s, compute_s, write_s)

    def _budget(self, part: Part) -> int:
        return min(part.budget_samples, self._budgets.get(part.encoder, part.budget_samples))

    def _require_some_fit(self, encoder: Encoder, batches: Batches) -> None:
        """Raise where not one clip fits in the device's memory, nor a second of silence: then it is not the clips' fault."""
        from .embed import Batches, Cutting

        name = encoder.card.name
        if name in self._proven or not batches.n_windows:  # a unit without a readable clip proves nothing
            return
        if batches.any_fits:
            self._proven.add(name)
            return
        second = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
        probe = Batches(encoder, [second], cutting=Cutting(budget_samples=1), products=Products())
        self._on_device(probe.run)
        if not probe.any_fits:
            raise EncoderError(
                f"{name} on {self.loaded.device.name}: not one clip fits in its memory, even alone. Free some, or use another "
                f"`device:`."
            )
        self._proven.add(name)

    def _compute(self, name: str, batches: Batches) -> tuple[float, float]:
        """Return the seconds that the batches took, and those of audio that they carried."""
        self._go_on()
        began = last = time.monotonic()
        audio_s = 0.0

        def on_batch(n_samples: int) -> None:
            nonlocal last, audio_s
            now = time.monotonic()
            audio_s += n_samples / SAMPLE_RATE_HZ
            facts = {"encoder": name, "audio_s": n_samples / SAMPLE_RATE_HZ, "busy_s": now - last}
            self.tell(Event("batch", facts))
            last = now

        batches.run(on_batch)
        return time.monotonic() - began, audio_s

    def _settle(self, task: SettleTask) -> Settled:
        """Measure what is to be measured, on a sample of the corpus."""
        from .calibrate import calibrate, sample_limits, unmeasured
        from .embed import Cutting
        from .precision import measure

        device, plan = self.loaded.device, self._plans[task.encoder]
        known = task.remembered.get(device.kind)
        most_s, most_clips = sample_limits(device.name)
        budget, precision, words = known, None, ""
        cutting = Cutting(self.settings.max_s, self.settings.overlap_s)
        if (task.calibrate and known is None) or task.compare:
            files = spread(task.clips, most_s=most_s, most_clips=most_clips)
            waves = [clip for clip in self._decode(files) if isinstance(clip, np.ndarray)]
            encoder = self._encoder(task.encoder, self._writer(task.corpus, task.encoder))
            if task.calibrate and known is None:
                budget = self._on_device(lambda: calibrate(encoder, waves, cutting, corpus_s=task.corpus_s))
            elif self.settings.batch_s is not None:
                budget = int(self.settings.batch_s * SAMPLE_RATE_HZ)
            if task.compare and waves:
                cutting = replace(cutting, budget_samples=budget or unmeasured(device.name))
                found = self._on_device(lambda: measure(plan, encoder, waves, cutting))
                precision, words = found.attributes(), str(found)
        return Settled(device.kind, unmeasured(device.name), budget if task.calibrate else None, precision, words)

    def _on_device(self, work: Callable[[], T]) -> T:
        """Do something on the device, after what waits for it already."""
        with self._opening:
            self.n_ready += 1

        def started() -> T:
            with self._opening:
                self.n_ready -= 1
            if self._closed.is_set():
                raise Stopped
            return work()

        return self.loaded.thread.do(started)

    def _encoder(self, name: str, writer: EncoderWriter) -> Encoder:
        held = self.loaded.held(name)
        if held is not None and (not self.settings.compile or held in self._compiled):
            return held
        return self._on_device(lambda: self._load(name, writer))

    def _load(self, name: str, writer: EncoderWriter) -> Encoder:
        self._go_on()
        plan = self._plans[name]
        encoder = self.loaded.get(plan)
        if self.settings.compile and encoder not in self._compiled:
            from .compiling import compile_blocks

            self.loaded.report.say(f"{name}: {compile_blocks(encoder)} blocks are compiled when first used")
            self._compiled.add(encoder)
        if not self._given:
            check_key(writer.encoder.corpus, name, plan.key(identity_of(encoder), self.settings))
        return encoder

    def _writer(self, corpus: str, encoder: str) -> EncoderWriter:
        with self._opening:
            if (corpus, encoder) not in self._writers:
                held = self._store.corpus(corpus).encoder(encoder)
                self._writers[corpus, encoder] = EncoderWriter(held, held.products)
            return self._writers[corpus, encoder]

    @cached_property
    def _store(self) -> Store:
        path = self._pipeline.store
        return Store(open_root(path, writable=True), str(path))

    def _decode(self, files: Sequence[ClipFile]) -> list[Clip]:
        return list(self._decoders.map(self._read, files))

    def _read(self, file: ClipFile) -> Clip:
        self._go_on()
        return read_clip(file)

    def _go_on(self) -> None:
        if self.stop.is_set() or self._closed.is_set():
            raise Stopped


def read_clip(file: ClipFile) -> Clip:
    """Return a decoded clip, or why there is none; only a disk that cannot be read at all is an exception."""
    if file.error is not None:
        return AudioError(file.error)
    path = Path(file.path)
    try:
        with foreseen(path, CHECK_THEN_RETRY):
            wave = load(path, file.start_s, file.end_s)
    except AudioError as failure:
        return failure
    if len(wave) != file.n_samples:
        return AudioError(f"{path.name}: expected {file.n_samples} samples at 16 kHz, got {len(wave)}. Check the file.")
    return wave


def _summed(parts: Sequence[PartReport]) -> tuple[PartReport, ...]:
    """Return one report an encoder: a unit of long clips runs in several blocks."""
    joined: dict[str, PartReport] = {}
    for part in parts:
        held = joined.get(part.encoder)
        joined[part.encoder] = part if held is None else _added(held, part)
    return tuple(joined.values())


def _added(a: PartReport, b: PartReport) -> PartReport:
    return PartReport(
        a.encoder,
        a.n_clips + b.n_clips,
        a.n_failed + b.n_failed,
        a.audio_s + b.audio_s,
        a.wait_s + b.wait_s,
        a.compute_s + b.compute_s,
        a.write_s + b.write_s,
    )
