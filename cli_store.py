"""`voxcache store`: look into a store without writing code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_share import add_commands
from .store.document import printable
from .store.recalled import recalled, sentence
from .store.schema import FAILED, MISSING, STALE
from .words import size, together, with_names

app = typer.Typer(help="Look into, check and share stores.", no_args_is_help=True)

add_commands(app)

StorePath = Annotated[str, typer.Argument(help="path or URL of the store")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command("ls", epilog="Example:  voxcache store ls store.zarr")
def list_contents(path: StorePath) -> None:
    """List corpora and the encoders in each."""
    from .store import open_store

    store = open_store(path)
    for name in store.corpora:
        corpus = store.corpus(name)
        typer.echo(f"{name}  {corpus.listing.text}  columns: {', '.join(corpus.columns) or 'none'}")
        for encoder in corpus.encoders:
            held = corpus.encoder(encoder)
            random = "  RANDOM WEIGHTS" if held.is_random else ""
            typer.echo(f"  {encoder}  {held.n_layers} layers x {held.dim}{random}")


@app.command(epilog="Example:  voxcache store info store.zarr --json")
def info(path: StorePath, as_json: AsJson = False) -> None:
    """Say what the numbers are: corpora, licences, encoders, weights, precision, size on disk."""
    from .store import open_store

    store = open_store(path)
    facts: dict[str, Any] = {
        "store": store.path,
        "schema": store.attrs["schema"],
        "created_by": store.attrs["created_by"],
        "bytes": store.n_bytes,
        "corpora": {name: _corpus_facts(store.corpus(name)) for name in store.corpora},
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for line in _info_lines(facts):
        typer.echo(line)


def _corpus_facts(corpus: Any) -> dict[str, Any]:
    return {
        "clips": int(corpus.listing.used.sum()),
        "listing": corpus.listing.facts(corpus.clip, corpus.sha256),
        "hours": round(float(corpus.n_samples[corpus.listing.used].sum()) / 16_000 / 3600, 3),
        "licence": corpus.attrs.get("licence", "unknown"),
        "citation": corpus.attrs.get("citation", ""),
        "columns": corpus.roles,
        "encoders": {name: _encoder_facts(corpus.encoder(name)) for name in corpus.encoders},
    }


def _encoder_facts(encoder: Any) -> dict[str, Any]:
    return {
        "weights": encoder.weights_origin,
        "random_weights": encoder.is_random,
        "layers": encoder.n_layers,
        "dim": encoder.dim,
        "dtype": encoder.attrs.get("dtype"),
        "std": encoder.has_std,
        "frames": list(encoder.frame_layers),
        "licence": encoder.card.get("licence"),
        "key": encoder.key,
        "bytes": encoder.n_bytes,
    }


def _info_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['store']}: schema {facts['schema']}, {_said(facts['bytes'])}, made by {facts['created_by']}"]
    for name, corpus in facts["corpora"].items():
        lines.append(f"{name}: {corpus['clips']} clips, {corpus['hours']} h, licence {corpus['licence']}")
        rest = {state: corpus["listing"][state] for state in ("merged", "unlisted", "dropped")}
        also = ", ".join(f"{count} {state}" for state, count in rest.items() if count)
        lines.append(f"  listing {corpus['listing']['digest']}" + (f": {also}" if also else ""))
        lines.append("  columns: " + (", ".join(f"{c} ({role})" for c, role in corpus["columns"].items()) or "none"))
        for encoder, held in corpus["encoders"].items():
            kept = (
                "mean" + (", std" if held["std"] else "") + (f", frames of {held['frames']}" if held["frames"] else "")
            )
            lines.append(
                f"  {encoder}: {held['layers']} layers x {held['dim']}, {kept}, {held['dtype']}, weights "
                f"{held['weights']}, {_said(held['bytes'])}" + (" - RANDOM WEIGHTS" if held["random_weights"] else "")
            )
    return lines


@app.command(
    epilog="Example:  voxcache store status store.zarr     Exit code 5 if anything is missing, stale, failed or recalled."
)
def status(path: StorePath, as_json: AsJson = False) -> None:
    """Say how every clip ended: ok, failed and why, missing, stale (its audio has changed since)."""
    from .store import open_store

    store = open_store(path)
    rows = [
        _status_row(store.corpus(corpus), encoder)
        for corpus in store.corpora
        for encoder in store.corpus(corpus).encoders
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(_status_line(row))
            if row["recalled"]:
                typer.echo(f"    {sentence(row['encoder'], row['recalled'])}")
            for reason, clips in row["failures"].items():
                typer.echo(f"    {len(clips)} failed: {printable(with_names(reason, clips), 800)}")
    if any(row["missing"] or row["stale"] or row["failed"] or row["recalled"] for row in rows):
        raise typer.Exit(5)


def _status_row(corpus: Any, name: str) -> dict[str, Any]:
    ledger, used = corpus.encoder(name).ledger(), corpus.listing.used
    failed = used & (ledger.status == FAILED)
    failures = together(zip(corpus.clip[failed], ledger.reason[failed], strict=True))
    counts = ledger.counts(used) | {"unlisted": corpus.listing.counts()["unlisted"]}
    lists = {
        label: [str(clip) for clip in corpus.clip[used & (ledger.status == code)]]
        for label, code in (("missing_clips", MISSING), ("stale_clips", STALE))
    }
    why = recalled(corpus.encoder(name).key)
    facts = {"corpus": corpus.name, "encoder": name, "clips": int(used.sum()), **counts}
    return {**facts, **lists, "failures": failures, "recalled": why}


def _status_line(row: dict[str, Any]) -> str:
    rest = ", ".join(f"{row[key]} {key}" for key in ("failed", "missing", "stale") if row.get(key))
    besides = f"; {row['unlisted']} more in the store are not listed now" if row["unlisted"] else ""
    return f"{row['corpus']} x {row['encoder']}: {row.get('ok', 0)} of {row['clips']} ok" + (
        f", {rest}{besides}" if rest else besides
    )


def _said(n_bytes: int | None) -> str:
    return "size unknown (the server cannot list)" if n_bytes is None else size(n_bytes)


@app.command(
    epilog="Example:  voxcache store verify store.zarr     Example:  voxcache store verify store.zarr --repair mine.yaml"
)
def verify(
    path: StorePath,
    repair: Annotated[
        Path | None, typer.Option("--repair", help="compute damaged units again, with the pipeline file that made them")
    ] = None,
    re_embed: Annotated[
        int,
        typer.Option("--re-embed", min=0, help="also embed this many clips of every encoder again, with --pipeline"),
    ] = 0,
    pipeline: Annotated[Path | None, typer.Option("--pipeline", help="pipeline file, for --re-embed")] = None,
    as_json: AsJson = False,
) -> None:
    """Read everything and compare checksums, digests, sizes and the ledger. Exit code 1 if anything is damaged."""
    from .errors import ConfigError
    from .extract.progress import Reporter
    from .store import open_store
    from .store.location import place
    from .store.verify import verify as verify_store

    if re_embed and pipeline is None:
        raise ConfigError("--re-embed: which audio and encoders? Name the pipeline file with --pipeline.")
    report = Reporter(quiet=as_json)
    with report.counting(f"verifying {place(path)}", "units") as progress:
        damage = verify_store(open_store(path), progress=progress)
    if as_json:
        typer.echo(json.dumps([vars(item) for item in damage], indent=2))
    else:
        for item in damage:
            typer.echo(str(item))
        typer.echo(
            f"{place(path)}: {len(damage)} damaged" if damage else f"{place(path)}: every object read, nothing damaged"
        )
    if damage and repair is not None:
        _repair(path, damage, repair, report)
    elif damage:
        raise typer.Exit(1)
    if re_embed and pipeline is not None:
        _re_embed(path, pipeline, re_embed, report)


def _repair(path: str, damage: Any, pipeline: Path, report: Any) -> None:
    from .errors import IntegrityError
    from .extract.run import extract
    from .pipeline import load_pipeline
    from .store import create_store, open_store
    from .store.backend import writer_lock
    from .store.location import place
    from .store.repair import clear
    from .store.verify import verify as verify_store

    config = load_pipeline(pipeline).model_copy(update={"store": path})
    with writer_lock(Path(path)):
        left = clear(create_store(path), damage)
    extract(config, report)
    left += [str(item) for item in verify_store(open_store(path))]
    if left:
        raise IntegrityError("\n".join(left))
    typer.echo(f"{place(path)}: repaired; every object read, nothing damaged")


def _re_embed(path: str, pipeline: Path, n_clips: int, report: Any) -> None:
    from .errors import IntegrityError
    from .extract.recheck import re_embed
    from .pipeline import load_pipeline

    config = load_pipeline(pipeline).model_copy(update={"store": path})
    wrong = []
    for result in re_embed(config, n_clips, report):
        typer.echo(str(result))
        if not result.agrees:
            wrong.append(str(result))
    if wrong:
        raise IntegrityError("embeddings that do not come out again:\n" + "\n".join(wrong))


@app.command(
    epilog="Example:  voxcache store drop s.zarr mine/wavlm-base     Example:  voxcache store drop s.zarr mine --clips a.wav --yes"
)
def drop(
    path: StorePath,
    what: Annotated[str, typer.Argument(help="a corpus, or corpus/encoder")],
    clips: Annotated[
        list[str] | None,
        typer.Option(
            "--clips",
            help="only these clips of the corpus: an id, or a .csv or .txt file of ids, one a row; may be repeated",
        ),
    ] = None,
    unlisted: Annotated[bool, typer.Option("--unlisted", help="only the clips that are not listed now")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be removed; remove nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Remove an encoder, a whole corpus, or clips with their embeddings and labels from a store."""
    if clips or unlisted:
        from .cli_drop import drop_clips

        drop_clips(path, what, clips or [], unlisted=unlisted, dry_run=dry_run, yes=yes)
        return
    from .store import create_store, open_store
    from .store import drop as drop_from
    from .store.backend import writer_lock

    name, _, encoder = what.partition("/")
    held = open_store(path)
    corpus = held.corpus(name)
    chosen = corpus.encoder(encoder) if encoder else corpus
    subject = f"{encoder}'s embeddings of {name}" if encoder else f"corpus {name} with {len(corpus.encoders)} encoders"
    if dry_run:
        typer.echo(f"would remove {subject} ({_said(chosen.n_bytes)}) from {held.path}")
        return
    if not yes:
        typer.confirm(f"remove {subject} ({_said(chosen.n_bytes)}) from {held.path}?", abort=True)
    with writer_lock(Path(path)):
        store = create_store(path)
        drop_from(store.corpus(name).group if encoder else store.group, path, encoder or name)
    typer.echo(f"removed {subject}")


@app.command(epilog="Example:  voxcache store unlock s3://bucket/store.zarr")
def unlock(
    path: StorePath,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Remove the lock of a writer that is gone from a store in a bucket. On a disk locks go with their processes."""
    from .store.location import Url, place

    where = place(path)
    if not isinstance(where, Url):
        typer.echo(f"{where}: nothing to do; the lock of a store on a disk ends with the process that holds it")
        return
    from .store.remote_lock import locked_by
    from .store.remote_lock import unlock as remove

    holders = locked_by(where)
    if not holders:
        typer.echo(f"{where}: not locked")
        return
    if not yes:
        typer.confirm(f"{where}: locked by {'; '.join(holders)}. Is it gone, and the lock to be removed?", abort=True)
    remove(where)
    typer.echo(f"{where}: unlocked")
