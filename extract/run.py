"""Stage 1: every clip through every encoder once, into the store. Unit by unit, and only what is missing."""

from __future__ import annotations

import contextlib
import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import AudioError, ConfigError, StoreError
from ..pipeline import Pipeline
from ..store import Corpus
from ..store.backend import writer_lock
from ..store.schema import FAILED
from .audio import load
from .config import ExtractConfig
from .corpora import ClipSource
from .encoders.base import SAMPLE_RATE_HZ
from .jobs import Block, Job, Loaded, cut_units, register
from .plan import CorpusPlan, plan_corpora, plan_encoders, require_readable
from .progress import Reporter, Speed, Work

if TYPE_CHECKING:
    from .embed import Cutting

Clip = np.ndarray | AudioError
Step = Callable[[str], None]
"""Told the encoder at work after every batch."""


@dataclass(frozen=True)
class Outcome:
    """How one encoder ended on one corpus. `reasons` counts failures by what they say."""

    corpus: str
    encoder: str
    n_clips: int
    embedded: int
    counts: dict[str, int]
    reasons: dict[str, int]
    audio_s: float = 0.0
    busy_s: float = 0.0


def extract(
    pipeline: Pipeline,
    report: Reporter,
    *,
    verify: bool = False,
    retry_failed: bool = False,
    replace: Sequence[str] = (),
    loaded: Loaded | None = None,
) -> list[Outcome]:
    """Bring the store up to date with the pipeline: scan, register, embed what is missing.

    Args:
        verify: hash every audio file again, whatever its size and time say.
        retry_failed: embed clips again that failed before.
        replace: encoders (names in the store) whose present embeddings are removed first.
        loaded: encoders in memory from an earlier call, to use and to add to.

    Returns:
        One outcome per corpus and encoder.

    Raises:
        ConfigError, StoreError, EncoderError: nothing already written is lost.
    """
    encoders = plan_encoders(pipeline)
    corpora = plan_corpora(pipeline, report, verify=verify)
    require_readable(corpora)
    unknown = sorted(set(replace) - {plan.name for plan in encoders})
    if unknown:
        raise ConfigError(
            f"--replace {unknown[0]}: not among the encoders asked for ({', '.join(p.name for p in encoders)})."
        )
    path = Path(pipeline.store)
    with _explain_os_errors(path), writer_lock(path):
        loaded = loaded or Loaded(pipeline.extract.device, report)
        jobs = register(pipeline, encoders, corpora, loaded, report, retry_failed=retry_failed, replace=replace)
        work = _work(jobs)
        if not work.todo_clips:
            report.say("nothing to do: every clip is embedded by every encoder asked for")
        else:
            _announce(jobs, loaded, report)
            with report.working(work) as step:
                run = _Run(pipeline.extract, loaded, work, step, report)
                for group in loaded.groups([plan for plan in encoders if any(j.plan is plan and j.todo for j in jobs)]):
                    for corpus in corpora:
                        mine = [j for j in jobs if j.plan in group and j.corpus.name == corpus.scan.name and j.todo]
                        _run_corpus(corpus, mine, run)
    return [_outcome(job, work) for job in jobs]


@contextlib.contextmanager
def _explain_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full. Free some space",
            errno.EDQUOT: "the quota is used up. Free some space",
            errno.EROFS: "the file system is read-only. Choose another place for `store:`",
            errno.EACCES: "writing is not permitted. Change the permissions or the place of `store:`",
            errno.EPERM: "writing is not permitted. Change the permissions or the place of `store:`",
        }.get(error.errno or 0)
        if advice is None:
            raise
        raise StoreError(
            f"store {path}: {advice}, then run the same command again; what is written is whole and is not done again."
        ) from error


def _work(jobs: Sequence[Job]) -> Work:
    todo_s: dict[str, float] = {}
    for job in jobs:
        samples = sum(int(job.corpus.n_samples[rows].sum()) for rows in job.todo.values())
        todo_s[job.plan.name] = todo_s.get(job.plan.name, 0.0) + samples / SAMPLE_RATE_HZ
    sizes = {job.plan.name: job.plan.card.n_parameters or 0 for job in jobs}
    return Work(todo_s, sum(job.n_todo for job in jobs), sizes, speeds={name: Speed() for name in todo_s})


def _announce(jobs: Sequence[Job], loaded: Loaded, report: Reporter) -> None:
    report.say(f"device: {loaded.device.describe()}")
    for job in jobs:
        if job.todo:
            random = " (random weights: for tests and demonstrations only)" if job.plan.is_random else ""
            report.say(
                f"{job.corpus.name} x {job.plan.name}: {job.n_todo} of {job.corpus.n_clips} clips to embed{random}"
            )


@dataclass(frozen=True)
class _Run:
    """What all blocks of a run share."""

    settings: ExtractConfig
    loaded: Loaded
    work: Work
    step: Step
    report: Reporter


def _run_corpus(corpus: CorpusPlan, jobs: Sequence[Job], run: _Run) -> None:
    if not jobs:
        return
    decoder = _Decoder(corpus, jobs[0].corpus)
    blocks = list(cut_units(jobs, jobs[0].corpus.n_samples, jobs[0].corpus.unit_rows))
    with ThreadPoolExecutor(run.settings.workers or run.loaded.device.decode_workers) as pool:
        ahead = decoder.submit(pool, blocks[0])
        try:
            for i, block in enumerate(blocks):
                clips = {row: future.result() for row, future in ahead.items()}
                ahead = decoder.submit(pool, blocks[i + 1]) if i + 1 < len(blocks) else {}
                for job in jobs:
                    _run_block(job, block, clips, run)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Decoder:
    """Reads the clips of a block ahead of the encoders."""

    def __init__(self, plan: CorpusPlan, corpus: Corpus) -> None:
        self.sources = plan.sources
        self.errors = {clip.clip: file.error for clip, file in zip(plan.scan.clips, plan.files, strict=True)}
        self.corpus = corpus

    def submit(self, pool: ThreadPoolExecutor, block: Block) -> dict[int, Future[Clip]]:
        """Start reading a block."""
        return {row: pool.submit(self._read, row) for row in block.rows}

    def _read(self, row: int) -> Clip:
        clip = str(self.corpus.clip[row])
        error = self.errors[clip]
        if error is not None:
            return AudioError(error)
        source: ClipSource = self.sources[clip]
        try:
            wave = load(source.path, source.start_s, source.end_s)
        except AudioError as failure:
            return failure
        expected = int(self.corpus.n_samples[row])
        if len(wave) != expected:
            return AudioError(
                f"{source.path.name}: expected {expected} samples at 16 kHz, got {len(wave)}. Check the file."
            )
        return wave


def _run_block(job: Job, block: Block, clips: dict[int, Clip], run: _Run) -> None:
    from .embed import embed

    rows = np.intersect1d(job.todo.get(block.unit, np.empty(0, dtype=np.int64)), block.rows)
    if not len(rows):
        return
    encoder = run.loaded.get(job.plan)
    waves = [clips[int(row)] for row in rows]
    cutting = _cutting(job, waves, run)
    _report_precision(job, waves, cutting, run)
    speed = run.work.speeds[job.plan.name]
    began = time.monotonic()

    def on_batch(n_samples: int) -> None:
        nonlocal began
        now = time.monotonic()
        speed.add(n_samples / SAMPLE_RATE_HZ, now - began)
        began = now
        run.step(job.plan.name)

    data = embed(encoder, waves, cutting=cutting, products=job.writer.products, on_batch=on_batch)
    job.writer.commit(block.unit, rows, data, final=rows[-1] == job.todo[block.unit][-1])
    speed.add(0.0, time.monotonic() - began)
    run.work.done_clips += len(rows)
    run.step(job.plan.name)


def _report_precision(job: Job, clips: Sequence[Clip], cutting: Cutting, run: _Run) -> None:
    """Say once per encoder and corpus what reduced precision costs, and keep it beside the embeddings."""
    if job.plan.config.dtype == "float32" or "precision_error" in job.writer.encoder.attrs:
        return
    from .precision import measure

    if waves := [clip for clip in clips if isinstance(clip, np.ndarray)]:
        error = measure(job.plan, run.loaded.get(job.plan), waves, cutting)
        run.report.say(f"{job.corpus.name} x {job.plan.name}: {error}")
        job.writer.annotate(error.attributes())


def _cutting(job: Job, clips: Sequence[Clip], run: _Run) -> Cutting:
    """Return how to cut batches: as asked for, as this encoder's embeddings here were cut, else as measured now."""
    from .calibrate import calibrate
    from .embed import Cutting

    cutting = Cutting(run.settings.max_s, run.settings.overlap_s)
    if run.settings.batch_s is not None:
        return replace(cutting, budget_samples=int(run.settings.batch_s * SAMPLE_RATE_HZ))
    kind = run.loaded.device.name.partition(":")[0]
    remembered = job.writer.encoder.attrs.get("batch_samples", {})
    if kind not in remembered:
        waves = [clip for clip in clips if isinstance(clip, np.ndarray)]
        remembered = {**remembered, kind: calibrate(run.loaded.get(job.plan), waves, cutting)}
        job.writer.annotate({"batch_samples": remembered})
    return replace(cutting, budget_samples=remembered[kind])


def _outcome(job: Job, work: Work) -> Outcome:
    ledger = job.writer.reader().ledger()
    reasons = Counter(str(reason) for reason in ledger.reason[ledger.status == FAILED])
    speed = work.speeds[job.plan.name]
    return Outcome(
        job.corpus.name,
        job.plan.name,
        job.corpus.n_clips,
        job.n_todo,
        ledger.counts(),
        dict(reasons),
        speed.audio_s,
        speed.busy_s,
    )
