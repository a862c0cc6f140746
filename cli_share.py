"""`voxcache store pack|merge|label|export|import`: hand stores over, join them, exchange with other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .words import size

if TYPE_CHECKING:
    from .store.schema import Role

MAX_LISTED = 5

StorePath = Annotated[str, typer.Argument(help="path or URL of the store")]
SharedPath = Annotated[str, typer.Argument(help="path or URL of the store: a folder, .zip or .h5")]
CorpusName = Annotated[str, typer.Argument(help="name of the corpus")]
EncoderName = Annotated[str, typer.Argument(help="name of the encoder")]
Columns = list[str] | None


def add_commands(app: typer.Typer) -> None:
    """Register the commands on `voxcache store`."""
    app.command(epilog="Example:  voxcache store pack store.zarr mine.zip --corpus mine --pooled-only --hash-ids")(pack)
    app.command(epilog="Example:  voxcache store merge theirs.zip --into store.zarr")(merge)
    app.command(epilog="Example:  voxcache store label store.zarr mine labels.csv --class emotion --group speaker")(
        label
    )
    app.command(epilog="Example:  voxcache store export store.zarr mine wavlm-base wavlm.npz --layer 9")(export)
    app.command("import", epilog="Example:  voxcache store import store.zarr mine old x.npy --ids ids.txt")(import_)


def pack(
    path: SharedPath,
    out: Annotated[Path, typer.Argument(help="a new folder, or a new file that ends in .zip or .h5")],
    corpus: Annotated[Columns, typer.Option("--corpus", help="only this corpus; may be repeated")] = None,
    encoder: Annotated[Columns, typer.Option("--encoder", help="only this encoder; may be repeated")] = None,
    layer: Annotated[
        Columns, typer.Option("--layer", help="only this layer: 9, last, or encoder=9; may be repeated")
    ] = None,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="no encoder at all")] = False,
    pooled_only: Annotated[bool, typer.Option("--pooled-only", help="leave frames out")] = False,
    hash_ids: Annotated[
        bool, typer.Option("--hash-ids", help="replace clip ids, speakers and remarks by what names nobody")
    ] = False,
) -> None:
    """Copy what is chosen to a folder, one .zip or one .h5, without paths, with licences, citations and a manifest."""
    from .store.pack import Selection, parse_layers
    from .store.pack import pack as pack_store

    encoders = () if labels_only else tuple(encoder) if encoder else None
    layers = parse_layers(layer) if layer else None
    selection = Selection(tuple(corpus) if corpus else None, encoders, layers, not pooled_only, hash_ids)
    packed = pack_store(path, out, selection)
    for line in (*packed.lines, *packed.stripped):
        typer.echo(line)
    sums = f"its SHA-256 in {packed.sums}" if out.suffix.lower() == ".h5" else "each with its SHA-256 in the manifest"
    typer.echo(f"{out}: {packed.n_objects} objects, {size(packed.n_bytes)}, {sums}")
    where = (
        f"cd {out} && sha256sum --quiet -c {packed.sums.relative_to(out)}"
        if out.is_dir()
        else f"sha256sum -c {packed.sums}"
    )
    typer.echo(f"to check it: voxcache store verify {out}, or {where}")


def merge(
    sources: Annotated[list[str], typer.Argument(help="paths or URLs of stores: folders, .zip or .h5")],
    into: Annotated[str, typer.Option("--into", help="store to add to, made where nothing is")],
    by_content: Annotated[
        bool, typer.Option("--by-content", help="match clips by their audio, whatever their ids: for hashed ids")
    ] = False,
) -> None:
    """Join stores that hold other encoders, corpora or clips. Contradictions are named, and then nothing changes."""
    from .store.merge import merge as merge_stores

    for line in merge_stores(sources, into, by_content=by_content):
        typer.echo(str(line))
    from .store import open_store
    from .store.recalled import recalled_in

    for sentence in recalled_in(open_store(into)):
        typer.echo(sentence)


def label(
    path: StorePath,
    corpus: CorpusName,
    table: Annotated[Path, typer.Argument(help="CSV file with a header")],
    id_column: Annotated[str, typer.Option("--id", help="column of clip ids")] = "clip",
    classes: Annotated[Columns, typer.Option("--class", help="take this column as classes")] = None,
    targets: Annotated[Columns, typer.Option("--target", help="take this column as numbers to predict")] = None,
    groups: Annotated[Columns, typer.Option("--group", help="take this column as groups, such as speakers")] = None,
    splits: Annotated[Columns, typer.Option("--split", help="take this column as train, dev and test")] = None,
    metas: Annotated[Columns, typer.Option("--meta", help="take this column as it is")] = None,
    keep_na: Annotated[bool, typer.Option("--keep-na", help="NA, nan, None and null are labels, not missing")] = False,
) -> None:
    """Write label columns from a CSV file, joined by clip id; without options all columns, in the roles they have."""
    from .store.labels import label as label_clips
    from .store.missing import NA

    chosen: tuple[tuple[Role, Columns], ...] = (
        ("class", classes),
        ("target", targets),
        ("group", groups),
        ("split", splits),
        ("meta", metas),
    )
    roles = {name: role for role, names in chosen for name in names or ()}
    done = label_clips(path, corpus, table, id_column=id_column, roles=roles, na=() if keep_na else NA)
    typer.echo(f"{corpus}: {done.matched} clips labelled; columns: {', '.join(done.columns)}")
    if done.n_missing:
        typer.echo(f"  {done.n_missing} cells such as NA or nan count as missing; --keep-na keeps them")
    _say(f"not in {corpus}", done.unknown)
    _say(f"not in {table.name}", done.unlabelled)


def export(
    path: SharedPath,
    corpus: CorpusName,
    encoder: EncoderName,
    out: Annotated[Path, typer.Argument(help="file to write: .npz, .h5 or .parquet")],
    layer: Annotated[int, typer.Option("--layer", help="layer, -1 for the last")] = -1,
) -> None:
    """Write one layer's embeddings with ids, hashes, status and labels to a file that other tools open."""
    from .store.export import export as export_layer

    n_ok = export_layer(path, corpus, encoder, out, layer=layer)
    typer.echo(f"{out}: {n_ok} clips with embeddings")


def import_(
    path: StorePath,
    corpus: CorpusName,
    encoder: EncoderName,
    source: Annotated[Path, typer.Argument(help="file of embeddings: .npy, .npz or .h5")],
    ids: Annotated[
        Path | None, typer.Option("--ids", help="text file, one clip id a line in the order of rows")
    ] = None,
    array: Annotated[str, typer.Option("--array", help="name of the embeddings in .npz and .h5")] = "embeddings",
    fact: Annotated[
        Columns, typer.Option("--fact", help="what is known of them, such as licence=MIT; may be repeated")
    ] = None,
) -> None:
    """Add embeddings computed elsewhere as an encoder; its card says that they were imported and from which file."""
    from .store.export import import_embeddings, parse_facts

    done = import_embeddings(path, corpus, encoder, source, ids=ids, array=array, facts=parse_facts(fact or ()))
    typer.echo(f"{corpus} x {encoder}: {done.n_clips} clips with embeddings")
    _say(f"new to {corpus}", done.new)
    _say(f"not in {source.name}", done.absent)


def _say(what: str, clips: Sequence[str]) -> None:
    if clips:
        more = ", …" if len(clips) > MAX_LISTED else ""
        typer.echo(f"  {len(clips)} {what}: {', '.join(clips[:MAX_LISTED])}{more}")
