"""Running experiments: those that differ in their seed only go together, as one stack of models or one loop of fits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ConfigError, TrainError
from .architecture import Shape
from .config import Training
from .grid import CorpusPlan, Experiment
from .inputs import Input, load, load_frames
from .records import FoldResult, Outcome
from .splits import inner_split

if TYPE_CHECKING:
    from ..store import Store
    from .clips import Clips
    from .fit import Fitted, Member

_CACHED_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Job:
    """Experiments that share everything but the seed."""

    corpus: CorpusPlan
    experiments: tuple[Experiment, ...]
    training: Training
    joint: bool = False

    @property
    def text(self) -> str:
        """One line that names it."""
        first = self.experiments[0]
        return f"{first.corpus}: {first.encoders} -> {first.chosen.label}"


@dataclass(frozen=True)
class Ended:
    """A job that ended: its outcomes, or why there are none."""

    job: Job
    outcomes: tuple[Outcome, ...]
    failure: str = ""


def jobs(
    corpora: Sequence[CorpusPlan], experiments: Sequence[Experiment], training: Training, *, joint: bool = False
) -> list[Job]:
    """Return the experiments in jobs, in their order."""
    together: dict[tuple[object, ...], list[Experiment]] = {}
    for experiment in experiments:
        together.setdefault((experiment.corpus, experiment.inputs, experiment.chosen), []).append(experiment)
    by_name = {corpus.name: corpus for corpus in corpora}
    return [Job(by_name[group[0].corpus], tuple(group), training, joint) for group in together.values()]


def run_jobs(store: Store, wanted: Sequence[Job], *, device: str, workers: int) -> Iterator[Ended]:
    """Yield jobs as they end; a failing one does not stop the others."""
    if workers <= 1 or len(wanted) <= 1:
        worker = Worker(store, device)
        for job in wanted:
            yield worker.run(job)
        return
    yield from _side_by_side(store.path, wanted, device=device, workers=min(workers, len(wanted)))


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """Return "cuda" or "cpu". Raises `ConfigError` where a GPU is asked for and there is none."""
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("train.device: expected a CUDA device, torch sees none. Use `device: auto`.")
    return "cpu"


Loaded = np.ndarray | list[np.ndarray]
"""One input of all clips: vectors, or the frames of each."""


def _n_bytes(loaded: Loaded) -> int:
    return loaded.nbytes if isinstance(loaded, np.ndarray) else sum(clip.nbytes for clip in loaded)


class Worker:
    """Runs jobs one after the other, keeping the inputs that the next one is likely to want again."""

    def __init__(self, store: Store, device: str, threads: int | None = None) -> None:
        self.store = store
        self.device = device
        self.threads = threads
        self._inputs: dict[tuple[str, str, Input], Loaded] = {}

    def run(self, job: Job) -> Ended:
        """Run a job. What goes wrong in it becomes its failure."""
        try:
            return Ended(job, tuple(self._outcomes(job)))
        except Exception as error:
            if not isinstance(error, TrainError | ConfigError):
                return Ended(job, (), f"{type(error).__name__}: {error}")
            return Ended(job, (), str(error))

    def _outcomes(self, job: Job) -> list[Outcome]:
        started = time.perf_counter()
        xs = [self._load(job.corpus, wanted) for wanted in job.experiments[0].inputs]
        is_torch = job.experiments[0].chosen.entry.engine == "torch"
        device = self.device if is_torch else "cpu"
        if is_torch and self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        folds, n_parameters = _networks(job, xs, device) if is_torch else (_estimators(job, xs), None)
        each_s = (time.perf_counter() - started) / len(job.experiments)
        return [
            Outcome(experiment.key, tuple(folds[experiment.seed]), each_s, n_parameters, device)
            for experiment in job.experiments
        ]

    def _load(self, corpus: CorpusPlan, wanted: Input) -> Loaded:
        key = (corpus.name, corpus.clips.content, wanted)
        if key not in self._inputs:
            read = load_frames if wanted.statistics == "frames" else load
            values: Loaded = read(self.store.corpus(corpus.name), wanted, corpus.clips.rows)
            while self._inputs and _n_bytes(values) + sum(map(_n_bytes, self._inputs.values())) > _CACHED_BYTES:
                del self._inputs[next(iter(self._inputs))]
            self._inputs[key] = values
        return self._inputs[key]


Folds = dict[int, list[FoldResult]]


def _tested_folds(corpus: CorpusPlan) -> list[int]:
    folds = [fold for fold in range(corpus.split.n_folds) if len(corpus.split.test(fold))]
    for fold in folds:
        if len(corpus.split.train(fold)) == 0:
            raise TrainError(f"corpus {corpus.name!r}, fold {fold}: no clip is left to train on. Use other folds.")
    return folds


def _networks(job: Job, xs: Sequence[Loaded], device: str) -> tuple[Folds, int]:
    from .fit import Data, fit

    clips, chosen = job.corpus.clips, job.experiments[0].chosen
    members = [member for experiment in job.experiments for member in _members(job, experiment.seed)]
    n_outputs = len(members[0].targets) or len(clips.classes)
    shape = Shape(tuple((x if isinstance(x, np.ndarray) else x[0]).shape[-1] for x in xs), n_outputs)
    entry, options = chosen.entry, chosen.values
    fitted = fit(
        lambda rngs: entry.build(shape, options, rngs),
        Data.of(xs, clips.y, len(clips.classes), device),
        members,
        job.training,
    )
    together: dict[tuple[int, int], list[tuple[Member, Fitted]]] = {}
    for member, got in zip(members, fitted, strict=True):
        together.setdefault((member.seed, member.fold), []).append((member, got))
    folds: Folds = {experiment.seed: [] for experiment in job.experiments}
    for (seed, _), parts in together.items():
        folds[seed].append(_fold_result(parts))
    networks = len(next(iter(together.values())))
    return folds, networks * fitted[0].n_parameters


def _fold_result(parts: Sequence[tuple[Member, Fitted]]) -> FoldResult:
    """Return what the networks of one fold gave: one, or one a target, whose columns stand side by side."""
    member, first = parts[0]
    return FoldResult(
        fold=member.fold,
        test=member.test,
        outputs=np.concatenate([got.outputs for _, got in parts], axis=1),
        n_train=len(member.train),
        n_inner=len(member.inner),
        best_epoch=max(got.best_epoch for _, got in parts),
        n_epochs=max(got.n_epochs for _, got in parts),
        layer_weights=first.layer_weights if len(parts) == 1 else (),
    )


def _members(job: Job, seed: int) -> list[Member]:
    from .fit import Member

    clips, split = job.corpus.clips, job.corpus.split
    members = []
    for fold in _tested_folds(job.corpus):
        train, inner = inner_split(clips, split, fold, seed=seed, share=job.training.inner)
        for targets, stream in _networks_of(clips, joint=job.joint):
            members.append(Member(seed, fold, train, inner, split.test(fold), targets, stream))
    return members


def _networks_of(clips: Clips, *, joint: bool) -> list[tuple[tuple[int, ...], str]]:
    """Return the target columns of each network of a fold, and the name of its random numbers."""
    if not clips.targets or joint:
        return [(tuple(range(len(clips.targets))), "")]
    return [((index,), name) for index, name in enumerate(clips.targets)]


def _estimators(job: Job, xs: Sequence[Loaded]) -> Folds:
    corpus = job.corpus
    x = np.concatenate([x for x in xs if isinstance(x, np.ndarray)], axis=-1)
    folds: Folds = {}
    for experiment in job.experiments:
        folds[experiment.seed] = []
        for fold in _tested_folds(corpus):
            train, test = corpus.split.train(fold), corpus.split.test(fold)
            outputs = _estimated(job, experiment.seed, x, train, test)
            folds[experiment.seed].append(FoldResult(fold, test, outputs, len(train)))
    return folds


def _estimated(job: Job, seed: int, x: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    clips, chosen = job.corpus.clips, job.experiments[0].chosen
    entry, options, y = chosen.entry, chosen.values, clips.y
    if clips.targets:
        from .regressors import fit_targets

        regressor = entry.regressor
        assert regressor is not None
        return fit_targets(lambda: regressor(options, seed), x[train], y[train], x[test])
    from .estimators import fit_predict

    estimator = entry.build(options, seed, job.training.class_weights)
    return fit_predict(estimator, x[train], y[train], x[test], n_classes=len(clips.classes))


_worker: Worker | None = None


def _start(store_path: str, device: str, threads: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from threadpoolctl import threadpool_limits

    from ..store import open_store

    threadpool_limits(threads)
    _worker = Worker(open_store(store_path), device, threads)


def _run_in_worker(job: Job) -> Ended:
    assert _worker is not None
    return _worker.run(job)


def _side_by_side(store_path: str, wanted: Sequence[Job], *, device: str, workers: int) -> Iterator[Ended]:
    threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(store_path, device, threads))
    waiting = {pool.submit(_run_in_worker, job): job for job in wanted}
    try:
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                yield _result(future, waiting.pop(future))
    finally:
        if waiting:
            for child in multiprocessing.active_children():
                child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[Ended], job: Job) -> Ended:
    try:
        return future.result()
    except Exception as error:
        return Ended(job, (), f"its process ended: {error or type(error).__name__}. Try fewer --workers")
