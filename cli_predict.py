"""`voxcache predict` and `voxcache folds`: using what was trained, and who is tested when."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .predict import Head, Prediction


def predict(
    head: Annotated[Path, typer.Argument(help="folder that `voxcache train --save` wrote")],
    audio: Annotated[list[str], typer.Argument(help="audio files, folders or patterns")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", help="take how the encoders are asked for from this file")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps")] = "auto",
) -> None:
    """Ask a kept head about new audio: embed it as the store was embedded, and print what the head says of each file."""
    from .errors import ConfigError
    from .pipeline import load_pipeline
    from .predict import audio_files, load_head, require_some

    if as_json and as_csv:
        raise ConfigError("predict: --json and --csv exclude each other. Choose one.")
    files = audio_files(audio)
    loaded = load_head(head, device=device, **(requests(load_pipeline(pipeline)) if pipeline else {}))
    said = loaded.predict(files)
    for one in said:
        if one.error:
            print(f"skipped {one.file}: {one.error}", file=sys.stderr)
    if as_json:
        typer.echo(json.dumps([vars(one) for one in said], indent=2, ensure_ascii=False))
    elif as_csv:
        _print_csv(loaded, said)
    else:
        _print_table(loaded, said)
    require_some(said)


def requests(config: Pipeline) -> dict[str, dict[str, object]]:
    """Return how each encoder of a pipeline is asked for, by the names that it may have in the store.

    No encoder is resolved for that: where no weights are stated, only its card knows whether they are random.
    """
    from .store.schema import node_name

    sure: dict[str, dict[str, object]] = {}
    perhaps: dict[str, dict[str, object]] = {}
    for encoder in config.encoders:
        said = encoder.model_dump(by_alias=True, exclude_defaults=True)
        name = node_name("encoder", encoder.store_as or encoder.name)
        random = name if encoder.store_as or name.endswith("-random") else f"{name}-random"
        sure[random if encoder.weights == "random" else name] = said
        if encoder.weights is None:
            perhaps[random] = said
    return {**perhaps, **sure}


def _print_csv(head: Head, said: list[Prediction]) -> None:
    names = head.classes or head.targets
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", *(["label"] if head.classes else []), *names, "error"])
    for one in said:
        values = [f"{one.values[name]:.6f}" if one.values else "" for name in names]
        writer.writerow([one.file, *([one.label] if head.classes else []), *values, one.error])


def _print_table(head: Head, said: list[Prediction]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = head.classes or head.targets
    table = Table(box=None)
    table.add_column("file", overflow="fold")
    for name in [*(["class"] if head.classes else []), *names]:
        table.add_column(name, justify="left" if name == "class" else "right")
    for one in said:
        if not one.error:
            table.add_row(
                one.file, *([one.label] if head.classes else []), *(f"{one.values[name]:.3f}" for name in names)
            )
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=160)).print(table)
    if head.saved.about["inputs"] and any(
        str(item["weights_origin"]).startswith("random") for item in head.saved.about["inputs"]
    ):
        typer.echo(
            "RANDOM WEIGHTS: an encoder of this head was never trained; what it says shows that it runs", err=True
        )


def folds(
    pipeline: Annotated[Path, typer.Argument(help="whose store and `train: split:` are used")] = Path("pipeline.yaml"),
    out: Annotated[Path | None, typer.Option("--out", help="write them as CSV: corpus, clip, fold")] = None,
    store: Annotated[str | None, typer.Option("--store", help="use this store instead of the pipeline's")] = None,
) -> None:
    """Show how clips are divided into folds, and write it as a file that `split: {from: folds.csv}` reads again."""
    from .pipeline import load_pipeline
    from .store import open_store
    from .train.console import print_plan
    from .train.foldfile import write_folds
    from .train.plan import plan

    config = load_pipeline(pipeline)
    planned = plan(config.train, open_store(store or config.store))
    print_plan(planned)
    for corpus in planned.corpora:
        for fold in range(corpus.split.n_folds):
            n_test, n_train = len(corpus.split.test(fold)), len(corpus.split.train(fold))
            typer.echo(f"  {corpus.name}, fold {fold}: {n_test} clips tested, {n_train} trained on")
    if out is not None:
        n_clips = write_folds(out, planned.corpora)
        typer.echo(f"wrote {out} ({n_clips} clips); use it with  split: {{from: {out}}}")
