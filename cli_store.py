"""`voxcache store`: look into a store without writing code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .store.schema import FAILED, MISSING, STALE

app = typer.Typer(help="Look into, check and share stores.", no_args_is_help=True)

StorePath = Annotated[Path, typer.Argument(help="path of the store")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command("ls", epilog="Example:  voxcache store ls store.zarr")
def list_contents(path: StorePath) -> None:
    """List corpora and the encoders in each."""
    from .store import open_store

    store = open_store(path)
    for name in store.corpora:
        corpus = store.corpus(name)
        typer.echo(f"{name}  {corpus.n_clips} clips  columns: {', '.join(corpus.columns) or 'none'}")
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
        "store": str(path),
        "schema": store.attrs["schema"],
        "created_by": store.attrs["created_by"],
        "bytes": _tree_bytes(path),
        "corpora": {name: _corpus_facts(store.corpus(name), path / name) for name in store.corpora},
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for line in _info_lines(facts):
        typer.echo(line)


def _corpus_facts(corpus: Any, folder: Path) -> dict[str, Any]:
    return {
        "clips": corpus.n_clips,
        "hours": round(float(corpus.n_samples.sum()) / 16_000 / 3600, 3),
        "licence": corpus.attrs.get("licence", "unknown"),
        "citation": corpus.attrs.get("citation", ""),
        "columns": {name: column.role for name, column in corpus.columns.items()},
        "encoders": {name: _encoder_facts(corpus.encoder(name), folder / name) for name in corpus.encoders},
    }


def _encoder_facts(encoder: Any, folder: Path) -> dict[str, Any]:
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
        "bytes": _tree_bytes(folder),
    }


def _info_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['store']}: schema {facts['schema']}, {_size(facts['bytes'])}, made by {facts['created_by']}"]
    for name, corpus in facts["corpora"].items():
        lines.append(f"{name}: {corpus['clips']} clips, {corpus['hours']} h, licence {corpus['licence']}")
        lines.append("  columns: " + (", ".join(f"{c} ({role})" for c, role in corpus["columns"].items()) or "none"))
        for encoder, held in corpus["encoders"].items():
            kept = "mean" + (", std" if held["std"] else "") + (f", frames of {held['frames']}" if held["frames"] else "")
            lines.append(
                f"  {encoder}: {held['layers']} layers x {held['dim']}, {kept}, {held['dtype']}, weights "
                f"{held['weights']}, {_size(held['bytes'])}" + (" - RANDOM WEIGHTS" if held["random_weights"] else "")
            )
    return lines


@app.command(epilog="Example:  voxcache store status store.zarr     Exit code 5 if anything is missing, stale or failed.")
def status(path: StorePath, as_json: AsJson = False) -> None:
    """Say how every clip ended: ok, failed and why, missing, stale (its audio has changed since)."""
    from .store import open_store

    store = open_store(path)
    rows = [
        _status_row(store.corpus(corpus), encoder) for corpus in store.corpora for encoder in store.corpus(corpus).encoders
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(_status_line(row))
            for reason, clips in row["failures"].items():
                typer.echo(f"    {len(clips)} failed: {reason}  [{', '.join(clips[:3])}{', …' if len(clips) > 3 else ''}]")
    if any(row["missing"] or row["stale"] or row["failed"] for row in rows):
        raise typer.Exit(5)


def _status_row(corpus: Any, name: str) -> dict[str, Any]:
    ledger = corpus.encoder(name).ledger()
    failures: dict[str, list[str]] = {}
    for row in (ledger.status == FAILED).nonzero()[0]:
        failures.setdefault(str(ledger.reason[row]), []).append(str(corpus.clip[row]))
    counts = ledger.counts()
    lists = {
        label: [str(clip) for clip in corpus.clip[ledger.status == code]]
        for label, code in (("missing_clips", MISSING), ("stale_clips", STALE))
    }
    return {"corpus": corpus.name, "encoder": name, "clips": corpus.n_clips, **counts, **lists, "failures": failures}


def _status_line(row: dict[str, Any]) -> str:
    rest = ", ".join(f"{row[key]} {key}" for key in ("failed", "missing", "stale") if row.get(key))
    return f"{row['corpus']} x {row['encoder']}: {row.get('ok', 0)} of {row['clips']} ok" + (f", {rest}" if rest else "")


def _tree_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
