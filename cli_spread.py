"""Options of `voxcache extract` that spread a run over processes and machines, and watch it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Gpus = Annotated[str | None, typer.Option("--gpus", help="all, or numbers such as 0,1: a process for each GPU")]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="processes side by side; with --scheduler, workers to start")
]
Worker = Annotated[
    str | None, typer.Option("--worker", help="I/N: do the I-th of N shares; start all N, on any machines")
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Dask: local, slurm, or an address such as tcp://host:8786")
]
Log = Annotated[Path | None, typer.Option("--log", help="add every event to this file, as a line of JSON")]
