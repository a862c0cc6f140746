"""How a run is spread, from the options of the command line."""

from __future__ import annotations

import re
import threading
import uuid

from ..errors import ConfigError
from ..pipeline import Pipeline
from .events import Tell
from .run import HERE, MakeRunner, Runner, Where


def spread(
    *,
    gpus: str | None = None,
    processes: int | None = None,
    worker: str | None = None,
    scheduler: str | None = None,
    device: str = "auto",
) -> Where:
    """Return where a run takes place.

    Args:
        gpus: "all" or numbers such as "0,1": a process for each.
        processes: processes side by side on this machine, all on `device`; with a scheduler, workers to start.
        worker: "2/8": this command is the second of eight that share the units.
        scheduler: see `cluster.connect`.

    Raises:
        ConfigError: options that do not go together, or GPUs that are not there.
    """
    if gpus is not None and (processes is not None or scheduler is not None):
        raise ConfigError("--gpus: not together with --processes or --scheduler. Use one of them.")
    if worker is not None and scheduler is not None:
        raise ConfigError(
            "--worker: not together with --scheduler, which shares the units out itself. Use one of them."
        )
    share = None if worker is None else parse_worker(worker)
    if scheduler is not None:
        return Where(_on_cluster(scheduler, processes or 1))
    devices = pick_gpus(gpus) if gpus is not None else [device] * (processes or 0)
    if not devices:
        return HERE if share is None else Where(worker=share)
    return Where(_in_processes(devices), share)


def parse_worker(text: str) -> tuple[int, int]:
    """Return (number, count) of "2/8". Raises `ConfigError` for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"--worker {text}: expected I/N with I from 1 to N, such as 2/8. In a Slurm array: "
                          "--worker $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT with --array=1-8.")  # fmt: skip
    return int(found[1]), int(found[2])


def pick_gpus(text: str) -> list[str]:
    """Return devices such as "cuda:1" for "all" or numbers. Raises `ConfigError` where they are not there."""
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise ConfigError(
            f"--gpus {text}: torch {torch.__version__} sees no GPU here. `voxcache doctor` says why; without GPUs, use "
            f"--processes N."
        )
    if text == "all":
        return [f"cuda:{i}" for i in range(found)]
    numbers = [part.strip() for part in text.split(",")]
    if wrong := [n for n in numbers if not n.isdigit() or int(n) >= found]:
        raise ConfigError(
            f"--gpus {text}: expected all, or numbers from 0 to {found - 1} with commas, got {wrong[0]!r}."
        )
    return [f"cuda:{int(n)}" for n in numbers]


def _in_processes(devices: list[str]) -> MakeRunner:
    def make(pipeline: Pipeline, tell: Tell, stop: threading.Event) -> Runner:
        from .workers import Processes

        return Processes(pipeline, devices, tell, stop)

    return make


def _on_cluster(scheduler: str, processes: int) -> MakeRunner:
    def make(pipeline: Pipeline, tell: Tell, stop: threading.Event) -> Runner:
        from .schedulers import OnCluster

        return OnCluster(pipeline, scheduler, tell, stop, processes=processes, run=uuid.uuid4().hex)

    return make
