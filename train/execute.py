"""Running experiments: those that differ in their seed only go together, as one stack of models or one loop of fits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, Diverged, TrainError
from ..machine import require_mps
from .config import TrainConfig, Training
from .frame_source import FrameSource
from .grid import CorpusPlan, Experiment
from .inputs import Input, load, load_frames
from .learners import Setting, Task
from .models import Vectors
from .nested import Solver
from .records import FoldResult, Outcome

if TYPE_CHECKING:
    from ..store import Store

_CACHED_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Job:
    """Experiments that share everything but the seed."""

    corpus: CorpusPlan
    experiments: tuple[Experiment, ...]
    training: Training
    joint: bool = False
    inner_folds: int = 3

    @property
    def text(self) -> str:
        """One line that names it."""
        first = self.experiments[0]
        return f"{first.corpus}: {first.encoders} -> {first.chosen.label}"


@dataclass(frozen=True)
class Ended:
    """A job that ended: the outcomes of its experiments, and why some have none."""

    job: Job
    outcomes: tuple[Outcome, ...]
    failure: str = ""


def jobs(
    corpora: Sequence[CorpusPlan],
    experiments: Sequence[Experiment],
    config: TrainConfig,
) -> list[Job]:
    """Return the experiments in jobs, in their order."""
    together: dict[tuple[object, ...], list[Experiment]] = {}
    for experiment in experiments:
        together.setdefault((experiment.corpus, experiment.inputs, experiment.chosen), []).append(experiment)
    by_name = {corpus.name: corpus for corpus in corpora}
    return [
        Job(by_name[first.corpus], (first, *rest), first.chosen.trained_by(config), config.joint, config.inner_folds)
        for first, *rest in together.values()
    ]


def run_jobs(
    store: Store, wanted: Sequence[Job], *, device: str, workers: int = 1, scheduler: str | None = None
) -> Iterator[Ended]:
    """Yield jobs as they end; a failing one does not stop the others.

    Args:
        workers: processes side by side, of this machine or, with a scheduler that starts some, of its cluster.
        scheduler: a Dask cluster to run them on, see `cluster.connect`.
    """
    if scheduler is not None:
        from .parallel import on_cluster

        yield from on_cluster(store.source, wanted, device=device, scheduler=scheduler, processes=workers)
        return
    if workers <= 1 or len(wanted) <= 1:
        worker = Worker(store, device)
        for job in wanted:
            yield worker.run(job)
        return
    from .parallel import side_by_side

    yield from side_by_side(store.source, wanted, device=device, workers=min(workers, len(wanted)))


def pick_device(wanted: str) -> str:
    """Return "cpu", "cuda", "cuda:N" or "mps"; "auto" is the first GPU, else the CPU.

    Raises:
        ConfigError: a GPU is asked for that is not there.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if n_gpus else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "mps":
        require_mps("train.device")
        return wanted
    if not n_gpus or wanted not in ("cuda", *(f"cuda:{index}" for index in range(n_gpus))):
        raise ConfigError(f"train.device: {wanted} asked for, {n_gpus} CUDA devices found. Use `device: auto`.")
    return wanted


def _n_bytes(loaded: Vectors) -> int:
    if isinstance(loaded, FrameSource):
        return 0
    return loaded.nbytes if isinstance(loaded, np.ndarray) else sum(clip.nbytes for clip in loaded)


class Worker:
    """Runs jobs one after the other, keeping the inputs that the next one is likely to want again."""

    def __init__(self, store: Store, device: str, threads: int | None = None) -> None:
        self.store = store
        self.device = device
        self.threads = threads
        self._inputs: dict[tuple[str, str, Input], Vectors] = {}

    def run(self, job: Job) -> Ended:
        """Run a job. What goes wrong in it becomes its failure."""
        try:
            return Ended(job, tuple(self._outcomes(job)))
        except Diverged as error:
            return self._without(job, error)
        except Exception as error:
            if not isinstance(error, TrainError | ConfigError):
                return Ended(job, (), f"{type(error).__name__}: {error}")
            return Ended(job, (), str(error))

    def _without(self, job: Job, error: Diverged) -> Ended:
        """Run what is left of a job without the seeds that diverged."""
        rest = tuple(experiment for experiment in job.experiments if experiment.seed not in error.seeds)
        if len(rest) in (0, len(job.experiments)):
            return Ended(job, (), str(error))
        ended = self.run(replace(job, experiments=rest))
        return Ended(job, ended.outcomes, "; ".join(filter(None, (str(error), ended.failure))))

    def _outcomes(self, job: Job) -> list[Outcome]:
        started = time.perf_counter()
        chosen, inputs = job.experiments[0].chosen, job.experiments[0].inputs
        is_torch = chosen.learner.engine == "torch"
        device = self.device if is_torch else "cpu"
        if is_torch and self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        setting = Setting(job.corpus, job.training, job.joint, device, job.inner_folds)
        solver = Solver(setting, lambda wanted: self._load(job.corpus, wanted))
        tasks = [task for experiment in job.experiments for task in _tasks(job.corpus, experiment.seed)]
        learnt = solver.solve(chosen, inputs, tasks)
        folds: dict[int, list[FoldResult]] = {experiment.seed: [] for experiment in job.experiments}
        for task, one in zip(tasks, learnt, strict=True):
            folds[task.seed].append(one.result)
        n_parameters = max((one.n_parameters for one in learnt if one.n_parameters is not None), default=None)
        each_s = (time.perf_counter() - started) / len(job.experiments)
        return [
            Outcome(experiment.key, tuple(folds[experiment.seed]), each_s, n_parameters, device)
            for experiment in job.experiments
        ]

    def _load(self, corpus: CorpusPlan, wanted: Input) -> Vectors:
        key = (corpus.name, corpus.clips.content, wanted)
        if key not in self._inputs:
            read = load_frames if wanted.statistics == "frames" else load
            values: Vectors = read(self.store.corpus(corpus.name), wanted, corpus.clips.rows)
            while self._inputs and _n_bytes(values) + sum(map(_n_bytes, self._inputs.values())) > _CACHED_BYTES:
                del self._inputs[next(iter(self._inputs))]
            self._inputs[key] = values
        return self._inputs[key]


def _tasks(corpus: CorpusPlan, seed: int) -> list[Task]:
    """Return what one experiment asks: to learn from the training clips of each fold and to say of those tested."""
    folds = [fold for fold in range(corpus.split.n_folds) if len(corpus.split.test(fold))]
    for fold in folds:
        if len(corpus.split.train(fold)) == 0:
            raise TrainError(f"corpus {corpus.name!r}, fold {fold}: no clip is left to train on. Use other folds.")
    return [Task(seed, fold, corpus.split.train(fold), corpus.split.test(fold)) for fold in folds]
