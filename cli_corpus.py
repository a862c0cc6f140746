"""`voxcache corpus`: look at a corpus before it is embedded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .extract.corpora.base import ClipSource, CorpusConfig

app = typer.Typer(help="Look at a corpus before it is embedded.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `check` a command of its own while it is the only one."""


@app.command(
    epilog="Example:  voxcache corpus check clips.csv --column label=emotion     Example:  voxcache corpus check mine.yaml"
)
def check(
    what: Annotated[Path, typer.Argument(help="a manifest (.csv, .tsv, .parquet), or a pipeline file (.yaml)")],
    column: Annotated[
        list[str] | None, typer.Option("--column", help="the manifest's own name for a role: label=emotion")
    ] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="a column of numbers to predict")] = None,
    root: Annotated[Path | None, typer.Option("--root", help="folder that paths start from")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="read every file, as extraction will")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List every problem of a manifest at once, with its row, then what looks odd. Exit code 2 if there is a problem."""
    from .extract.corpora.check import check_corpus

    configs = _configs(what, column or [], tuple(target or ()), root)
    found = [check_corpus(name, config, _probe if audio else None) for name, config in configs.items()]
    if as_json:
        typer.echo(json.dumps([vars(item) for item in found], indent=2, ensure_ascii=False))
    for item in [] if as_json else found:
        for line in (*item.problems, *(f"note: {remark}" for remark in item.remarks)):
            typer.echo(line)
        problems = f"{len(item.problems)} problem{'' if len(item.problems) == 1 else 's'}"
        typer.echo(f"{item.corpus}: {item.n_clips} clips, {problems if item.problems else 'no problem found'}")
    if any(item.problems for item in found):
        raise typer.Exit(2)


def _configs(
    what: Path, columns: Sequence[str], targets: tuple[str, ...], root: Path | None
) -> dict[str, CorpusConfig]:
    from .errors import ConfigError
    from .extract.corpora import CorpusConfig

    if what.suffix.lower() in {".yaml", ".yml"}:
        from .pipeline import load_pipeline

        if columns or targets or root:
            raise ConfigError(f"{what}: --column, --target and --root stand in the pipeline file. Leave them out.")
        return dict(load_pipeline(what).corpora)
    wrong = [pair for pair in columns if "=" not in pair]
    if wrong:
        raise ConfigError([f"--column {pair!r}: expected role=column, such as label=emotion." for pair in wrong])
    named = dict(pair.split("=", 1) for pair in columns)
    return {what.name: CorpusConfig(manifest=what, root=root, columns=named, targets=targets)}


def _probe(clips: Sequence[ClipSource]) -> list[str | None]:
    from .extract.audio import FileIndex
    from .extract.progress import Reporter

    with Reporter().counting("reading", "files") as progress:
        return [file.error for file in FileIndex().scan(clips, progress=progress)]
