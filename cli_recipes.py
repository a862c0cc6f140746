"""`voxcache rehearse`: a recipe with made audio and random weights, to see that it runs before the data are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rehearse(
    recipe: Annotated[str, typer.Argument(help="reno, voc2vec, emotion-share, or a pipeline file")],
    folder: Annotated[Path, typer.Argument(help="where made audio, store and results go")],
    clips: Annotated[int, typer.Option("--clips", min=2, help="made clips of each class")] = 4,
    small: Annotated[bool, typer.Option("--small", help="small networks under the names of the recipe's")] = False,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="only so many of the recipe's seeds")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="in place of the recipe's")] = None,
) -> None:
    """Write a recipe with made audio in the releases' layouts and random weights; corpora already there are used."""
    from .rehearse import rehearse as write

    path = write(recipe, folder, clips=clips, small=small, seeds=seeds, epochs=epochs)
    typer.echo(f"wrote {path}; next: voxcache run {path}")
