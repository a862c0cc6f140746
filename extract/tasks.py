"""From what is missing in the store to tasks that any worker can carry out, made one by one as they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .config import ExtractConfig
from .encoders.base import SAMPLE_RATE_HZ
from .jobs import Job
from .units import (
    ClipFile,
    Part,
    SettleTask,
    UnitTask,
    longest_first,
    share,
    spread,
    unit_blocks,
    unit_samples,
    wanted_blocks,
)

MOST_SAMPLE_S, MOST_CLIPS = 960.0, 256
"""What a GPU's calibration takes at most; a CPU picks fewer among them."""

Budgets = Mapping[tuple[str, str], int]
"""Padded samples a batch, by (corpus, encoder)."""


def settle_tasks(jobs: Sequence[Job], settings: ExtractConfig) -> Iterator[SettleTask]:
    """Yield what has to be measured before the first unit, on clips spread over the lengths of those to do."""
    files = {job.corpus.name: _Files(job) for job in jobs}
    for job in jobs:
        attributes = job.writer.reader().attrs
        calibrate = settings.batch_s is None
        compare = job.plan.config.dtype != "float32" and "precision_error" not in attributes
        if calibrate or compare:
            rows = np.concatenate(list(job.todo.values()))
            readable = [clip for clip in files[job.corpus.name].of(rows) if clip.error is None]
            sample = spread(readable, most_s=MOST_SAMPLE_S, most_clips=MOST_CLIPS)
            corpus_s = float(job.corpus.n_samples.sum()) / SAMPLE_RATE_HZ
            remembered = dict(attributes.get("batch_samples", {}))
            yield SettleTask(job.corpus.name, job.plan.name, tuple(sample), corpus_s, remembered, calibrate, compare)


@dataclass(frozen=True)
class Unit:
    """A unit of some corpus, and its length in samples."""

    corpus: str
    unit: int
    samples: int


def units_of(jobs: Sequence[Job], worker: tuple[int, int] | None = None) -> list[Unit]:
    """Return the units of all corpora, the longest first, whether something is to do in them or not.

    Args:
        jobs: all jobs of the run: shares must not depend on what others have done meanwhile.
        worker: (number from 1, of how many): only that worker's share, which depends on the clips' lengths alone.
    """
    corpora = {job.corpus.name: job.corpus for job in jobs}
    units = [
        Unit(name, unit, int(samples))
        for name, corpus in corpora.items()
        for unit, samples in enumerate(unit_samples(corpus.n_samples, corpus.unit_rows))
    ]
    lengths = [unit.samples for unit in units]
    mine = set(range(len(units)) if worker is None else share(lengths, worker[0] - 1, worker[1]))
    return [units[i] for i in longest_first(lengths) if i in mine]


def unit_tasks(
    units: Sequence[Unit], jobs: Sequence[Job], settings: ExtractConfig, budgets: Budgets
) -> Iterator[UnitTask]:
    """Yield a task for each unit in which some of `jobs` lack something.

    Args:
        budgets: read when a task is made, so that what had to be lowered meanwhile holds for it.
    """
    by_corpus: dict[str, list[Job]] = {}
    for job in jobs:
        by_corpus.setdefault(job.corpus.name, []).append(job)
    files = {name: _Files(members[0]) for name, members in by_corpus.items()}
    for unit in units:
        wanting = [job for job in by_corpus.get(unit.corpus, ()) if unit.unit in job.todo]
        if wanting:
            yield _unit_task(unit.corpus, unit.unit, wanting, files[unit.corpus], settings, budgets)


def _unit_task(
    name: str, unit: int, jobs: Sequence[Job], files: _Files, settings: ExtractConfig, budgets: Budgets
) -> UnitTask:
    corpus = jobs[0].corpus
    needed = {int(row) for job in jobs for row in job.todo[unit]}
    blocks = tuple(wanted_blocks(unit_blocks(unit, corpus.n_samples, corpus.unit_rows), needed))
    asked = None if settings.batch_s is None else int(settings.batch_s * SAMPLE_RATE_HZ)
    parts = tuple(
        Part(job.plan.name, job.todo[unit], budgets[name, job.plan.name] if asked is None else asked) for job in jobs
    )
    return UnitTask(name, unit, tuple(files.of(np.array(sorted(needed)))), blocks, parts)


@dataclass(frozen=True)
class _Files:
    """Where the audio of a corpus' rows is."""

    job: Job

    def of(self, rows: np.ndarray) -> list[ClipFile]:
        """Return the files of some rows."""
        sources, samples = self.job.audio.scan.clips, self.job.corpus.n_samples
        scanned = self.job.audio.files
        found = []
        for row in rows:
            place = int(self._listed[row])
            source = sources[place]
            found.append(
                ClipFile(int(row), source.file, source.start_s, source.end_s, int(samples[row]), scanned[place].error)
            )
        return found

    @cached_property
    def _listed(self) -> np.ndarray:
        """Position in the corpus' listing of each row, int64 [clip]; -1 where it is not listed now."""
        listed = np.full(self.job.corpus.n_clips, -1, dtype=np.int64)
        listed[self.job.rows] = np.arange(len(self.job.rows))
        return listed
