"""`voxcache store drop STORE CORPUS --clips …|--unlisted`: clips taken out of a store for good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from .errors import ConfigError
from .words import some

_LISTS = (".csv", ".txt")


def drop_clips(path: str, what: str, clips: Sequence[str], *, unlisted: bool, dry_run: bool, yes: bool) -> None:
    """Overwrite clips of a corpus with their embeddings, after asking unless `yes`."""
    from .store import create_store, open_store
    from .store.backend import writer_lock
    from .store.dropping import chosen_rows
    from .store.dropping import drop_clips as drop_from

    if "/" in what:
        raise ConfigError(f"{what}: clips are dropped from a corpus with all its encoders. Name the corpus alone.")
    held = open_store(path).corpus(what)
    known = {str(clip) for clip in held.clip}
    ids = [name for text in clips for name in ([text] if text in known else _ids(text))]
    rows = chosen_rows(held, ids, unlisted=unlisted)
    named = some([str(clip) for clip in held.clip[rows]])
    subject = f"{len(rows)} clips of {what} with their labels and their embeddings by {len(held.encoders)} encoders"
    if dry_run:
        typer.echo(f"would remove {subject}: {named or 'none'}")
        return
    if len(rows) and not yes:
        typer.confirm(f"remove {subject} ({named}) from {held.path}, for good?", abort=True)
    with writer_lock(Path(path)):
        corpus = create_store(path).corpus(what)  # again: the store may have changed before the lock was held
        n_dropped = drop_from(corpus, chosen_rows(corpus, ids, unlisted=unlisted))
    typer.echo(f"removed {n_dropped} clips of {what}; their rows stay, empty")


def _ids(text: str) -> list[str]:
    """Return the ids of a .csv or .txt file, one a row; any other text is an id."""
    from .train.listed import read_clip_list

    return [clip for _, clip in read_clip_list(Path(text)).named] if Path(text).suffix.lower() in _LISTS else [text]
