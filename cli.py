"""The `voxcache` command.

Exit codes: 0 done; 1 failed or damaged; 2 bad input; 3 store; 4 experiment; 5 `store status` found clips that are not ok;
130 stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .cli_corpus import app as corpus_app
from .cli_doctor import doctor
from .cli_predict import folds, predict, requests
from .cli_recipes import rehearse
from .cli_results import app as results_app
from .cli_spread import Gpus, Log, Processes, Scheduler, Worker
from .cli_store import app as store_app
from .errors import VoxcacheError
from .machine import speak_to_all
from .stopping import GO_ON, STOPPED, Stop, stopping

if TYPE_CHECKING:
    from .extract.run import Outcome
    from .pipeline import Pipeline

ORDER = ("init", "run", "extract", "train", "predict", "results", "folds", "store", "corpus", "rehearse")


class _AsUsed(TyperGroup):
    """Commands in the order in which people come to need them, then what lists and explains."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in order."""
        names = super().list_commands(ctx)
        return [*ORDER, *(name for name in names if name not in ORDER)]


app = typer.Typer(
    name="voxcache",
    cls=_AsUsed,
    help="Embed audio once with every frozen foundation model, then experiment all day from the store.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(store_app, name="store")
app.add_typer(corpus_app, name="corpus")
app.add_typer(results_app, name="results")
app.command(epilog="Example:  voxcache predict heads/cries--logmel--fcn new/*.wav --json")(predict)
app.command(epilog="Example:  voxcache folds mine.yaml --out folds.csv")(folds)
app.command(epilog="Example:  voxcache doctor       Example:  voxcache doctor /data/store.zarr --json")(doctor)
app.command(epilog="Example:  voxcache rehearse reno out/reno --small --seeds 1 --epochs 2")(rehearse)

PipelineFile = Annotated[Path, typer.Argument(help="what to do; see `voxcache init` and `voxcache schema`")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print results only")]
AsJson = Annotated[bool, typer.Option("--json", help="print the outcome as JSON on standard output")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done and what it would take; write nothing")]
Verify = Annotated[bool, typer.Option("--verify", help="hash every audio file again instead of trusting size and time")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="embed clips again that failed before")]
Replace = Annotated[
    list[str] | None, typer.Option("--replace", help="remove this encoder's embeddings first; may be repeated")
]
StoreOption = Annotated[str | None, typer.Option("--store", help="use this store instead of the pipeline's")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="experiments trained side by side")]


@app.command(epilog="Example:  voxcache run            Example:  voxcache run mine.yaml --dry-run")
def run(
    pipeline: PipelineFile = Path("pipeline.yaml"),
    store: StoreOption = None,
    device: Device = None,
    dry_run: DryRun = False,
    workers: Workers = 1,
    log: Log = None,
    quiet: Quiet = False,
) -> None:
    """Run both stages: embed what is missing, train what is missing, write the report."""
    config = _load(pipeline, store, device)
    _extract(config, quiet=quiet, dry_run=dry_run, log=log)
    from .store.location import is_there

    if dry_run and not is_there(config.store):
        typer.echo("train: nothing to plan on yet, the store would be made by extract")
        return
    _train(config, quiet=quiet, dry_run=dry_run, workers=workers)


@app.command(
    epilog="Example:  voxcache extract mine.yaml --dry-run     Example:  voxcache extract --device cuda:1 --verify"
)
def extract(
    pipeline: PipelineFile = Path("pipeline.yaml"),
    store: StoreOption = None,
    device: Device = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    retry_failed: RetryFailed = False,
    replace: Replace = None,
    gpus: Gpus = None,
    processes: Processes = None,
    worker: Worker = None,
    scheduler: Scheduler = None,
    log: Log = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Stage 1: put every clip through every encoder once and keep what comes out. Only what is missing is done."""
    from .extract.progress import Reporter
    from .extract.spread import spread
    from .extract.summary import print_estimates

    config = _load(pipeline, store, device)
    where = spread(gpus=gpus, processes=processes, worker=worker, scheduler=scheduler, device=config.extract.device)
    if dry_run:
        report, gone = Reporter(quiet=quiet or as_json), tuple(replace or ())
        print_estimates(
            config, report, verify=verify, retry_failed=retry_failed, replace=gone, where=where, as_json=as_json
        )
        return
    outcomes = _extract(
        config,
        quiet=quiet or as_json,
        dry_run=False,
        verify=verify,
        retry_failed=retry_failed,
        replace=tuple(replace or ()),
        where=where,
        log=log,
    )
    if as_json:
        typer.echo(json.dumps([vars(outcome) for outcome in outcomes], indent=2))


@app.command(epilog="Example:  voxcache train mine.yaml       Example:  voxcache train --store shared.zarr --workers 2")
def train(
    pipeline: PipelineFile = Path("pipeline.yaml"),
    store: StoreOption = None,
    device: Device = None,
    dry_run: DryRun = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="keep each head, fitted on all clips, below this folder")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Stage 2: run every head and fusion over the store and write the report. Needs no audio, no encoder, no GPU."""
    config = _load(pipeline, store, device)
    _train(config, quiet=quiet, dry_run=dry_run, workers=workers, scheduler=scheduler, save=save)


@app.command(epilog="Example:  voxcache report mine.yaml")
def report(pipeline: PipelineFile = Path("pipeline.yaml"), store: StoreOption = None, quiet: Quiet = False) -> None:
    """Write the report of the experiments that are finished; train nothing. `voxcache train` writes it as well."""
    from .store import open_store
    from .train.run import report as write_report

    config = _load(pipeline, store, None)
    with _stopping():
        write_report(config.train, open_store(config.store), config.results_dir, quiet=quiet)


@app.command(epilog="Example:  voxcache encoders      Example:  voxcache encoders --check hubert-large")
def encoders(
    name: Annotated[str | None, typer.Argument(help="show this one in full")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="compare the checkpoint with transformers, layer by layer; prints a report to send"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the encoders, or show one with its licence, layers and bytes per hour of audio."""
    if check:
        _check_encoder(name, as_json=as_json)
        return
    from .extract.encoders.listing import list_encoders, show_encoder

    typer.echo(show_encoder(name, as_json=as_json) if name else list_encoders(as_json=as_json))


def _check_encoder(name: str | None, *, as_json: bool) -> None:
    from .errors import ConfigError
    from .extract.encoders.against import check_against_transformers

    if name is None:
        raise ConfigError("--check: which encoder? Name one, a hub id or a folder.")
    found = check_against_transformers(name)
    typer.echo(found.as_json() if as_json else str(found))
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def heads() -> None:
    """List the heads and fusions of stage 2."""
    from .train.listing import list_heads

    typer.echo(list_heads())


@app.command()
def schema() -> None:
    """Print the JSON Schema of pipeline.yaml, for editors that complete and check it."""
    from .pipeline import schema_json

    typer.echo(schema_json())


@app.command()
def init(path: Annotated[Path, typer.Argument(help="file to write")] = Path("pipeline.yaml")) -> None:
    """Write a pipeline file to start from: the one that `voxcache run` demonstrates with, offline."""
    if path.exists():
        raise VoxcacheError(f"{path}: exists already. Nothing was written; name another file.")
    path.write_text((Path(__file__).parent / "pipeline.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    typer.echo(f"wrote {path}; next: voxcache run {path}")


def _load(path: Path, store: str | None, device: str | None) -> Pipeline:
    from .pipeline import load_pipeline

    config = load_pipeline(path)
    if store is not None:
        config = config.model_copy(update={"store": store})
    if device is not None:
        stages = {"extract": config.extract, "train": config.train}
        config = config.model_copy(
            update={name: stage.model_copy(update={"device": device}) for name, stage in stages.items()}
        )
    return config


def _extract(config: Pipeline, *, quiet: bool, dry_run: bool, **options: Any) -> list[Outcome]:
    from .extract.progress import Reporter
    from .extract.run import extract as run_extract
    from .extract.summary import print_estimates, print_outcomes

    report = Reporter(quiet=quiet)
    if dry_run:
        print_estimates(config, report)
        return []
    with _stopping() as stop:
        outcomes = run_extract(config, report, stop=stop, **options)
        print_outcomes(outcomes, report)
        if stop.is_set():
            raise KeyboardInterrupt
    return outcomes


def _train(
    config: Pipeline,
    *,
    quiet: bool,
    dry_run: bool,
    workers: int,
    scheduler: str | None = None,
    save: Path | None = None,
) -> None:
    from .store import open_store
    from .train.run import run as run_train

    store = open_store(config.store)
    folder = config.results_dir
    with _stopping():
        summary = run_train(
            config.train, store, folder, quiet=quiet, dry_run=dry_run, workers=workers, scheduler=scheduler
        )
        if save is None or dry_run:
            return
        from .train.saving import save_heads

        for path in save_heads(summary.plan, store, folder, save, requests=requests(config)):
            typer.echo(f"kept {path}; next: voxcache predict {path} new/*.wav")


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a sentence and exit code 130; an extraction finishes the unit in hand first."""
    with stopping() as stop:
        try:
            yield stop
        except KeyboardInterrupt:
            typer.echo(GO_ON, err=True)
            raise typer.Exit(STOPPED) from None


def main() -> None:
    """Run the command; errors become one clear text and an exit code, never a traceback."""
    speak_to_all()
    try:
        app(standalone_mode=True)
    except VoxcacheError as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        from .store.location import redacted

        print(redacted(f"error: {error}{notes}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        from .installed import blame

        if (found := blame(error)) is None:
            raise
        print(f"error: {found}", file=sys.stderr)
        sys.exit(found.exit_code)
