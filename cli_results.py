"""`voxcache results`: list, compare, export and prune what `voxcache train` has kept. Reads no embeddings, imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .errors import ConfigError, StoreError, nearest
from .folders import results_beside

if TYPE_CHECKING:
    from .store import Store
    from .train.compare import Difference
    from .train.grid import Plan
    from .train.stale import Reasons
    from .train.systems import Kept, System
    from .train.versus import Comparison


class _ListFirst(TyperGroup):
    """`voxcache results PLACE` is `voxcache results list PLACE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` in front of what begins with no command."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="List, compare, export and prune results. `voxcache results PLACE` lists those of PLACE.", cls=_ListFirst
)

Place = Annotated[
    str | None,
    typer.Argument(help="a results folder, its results.sqlite, a store or a pipeline; default: pipeline.yaml"),
]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="only these, such as head=fcn or encoder=wavlm*; may be repeated")
]
Corpus = Annotated[str | None, typer.Option("--corpus", help="only this corpus")]
Encoder = Annotated[str | None, typer.Option("--encoder", help="only with this encoder")]
Head = Annotated[str | None, typer.Option("--head", help="only this head or fusion")]
Formats = Annotated[
    str | None, typer.Option("--format", help="csv, json, md or tex (booktabs); default: by --out, else a table")
]
Out = Annotated[Path | None, typer.Option("--out", help="write there instead of printing")]


@app.command("list", epilog="Example:  voxcache results out/demo --where head=fcn --sort uar --format tex")
def list_results(
    place: Place = None,
    where: Where = None,
    corpus: Corpus = None,
    encoder: Encoder = None,
    head: Head = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="a score, best first; or corpus, encoder, seconds…")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="the other way round")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="so many lines")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="only this score; may be repeated")] = None,
    each_seed: Annotated[bool, typer.Option("--each-seed", help="a line a seed")] = False,
    fmt: Formats = None,
    out: Out = None,
) -> None:
    """List results as papers report them: mean ± standard deviation over folds. csv and json hold every number in full."""
    from .train import listing_results, selecting

    with _opened(place) as found:
        systems = found.chosen(where, corpus, encoder, head)
        reasons = found.stale_if_known()
    if each_seed:
        systems = listing_results.each_seed(systems)
    if sort:
        systems = selecting.order(systems, sort, reverse=reverse)
    systems = systems[:limit]
    shown = _metrics(systems, metric)
    chosen = _format(fmt, out)
    make = listing_results.raw if chosen in ("csv", "json") else listing_results.for_people
    _give(make(systems, reasons, shown), chosen, out)
    _tell_stale(systems, reasons)


@app.command(
    epilog="Example:  voxcache results compare 1a2b3c 4d5e6f out/demo     "
    "Example:  voxcache results compare encoder=logmel,head=fcn encoder=mfcc,head=fcn"
)
def compare(
    a: Annotated[str, typer.Argument(help="id of a system, or conditions that one system meets: corpus=…,head=…")],
    b: Annotated[str, typer.Argument(help="another on the same clips and folds")],
    place: Place = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare two systems on the same folds: scores of all tested clips, difference, its 95 % interval and p."""
    from .train.versus import compare as versus

    with _opened(place) as found:
        compared = versus(found.kept, found.one(a), found.one(b))
    if as_json:
        typer.echo(json.dumps(_facts(compared), indent=2, ensure_ascii=False))
        return
    for line in _lines(compared):
        typer.echo(line)


@app.command(epilog="Example:  voxcache results predictions out/demo --encoder logmel --head fcn --out said.csv")
def predictions(
    place: Place = None,
    where: Where = None,
    corpus: Corpus = None,
    encoder: Encoder = None,
    head: Head = None,
    fmt: Formats = None,
    out: Out = None,
) -> None:
    """Print what was said of every tested clip, a line a clip and seed, as CSV."""
    from .train.listing_results import predictions as sheet

    with _opened(place) as found:
        made = sheet(found.kept, found.chosen(where, corpus, encoder, head))
    _give(made, _format(fmt, out) or "csv", out)


@app.command(epilog="Example:  voxcache results prune pipeline.yaml --dry-run")
def prune(
    place: Place = None,
    store: Annotated[
        str | None, typer.Option("--store", help="also what was made from content it no longer has")
    ] = None,
    not_asked_for: Annotated[
        bool, typer.Option("--not-asked-for", help="also what the pipeline does not ask for; needs a pipeline")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="name them; remove nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Remove stale results: those made from embeddings, clips, folds or code that are no longer there."""
    from .train import stale

    with _opened(place, store=store) as found:
        systems = found.kept.systems
        reasons = found.stale(plan=True)
        if not_asked_for:
            reasons = {**stale.not_asked_for(systems, found.plan()), **reasons}
        path = found.kept.path
    numbers = [run.number for system in systems for run in system.runs if run.number in reasons]
    total = sum(len(system.runs) for system in systems)
    _tell_stale(systems, reasons, most=None)
    if not numbers or dry_run:
        typer.echo(f"{path}: {len(numbers)} of {total} results {'would be removed' if numbers else 'are stale'}")
        return
    if not yes and not typer.confirm(f"Remove {len(numbers)} of {total} results from {path}?"):
        typer.echo("nothing was removed")
        raise typer.Exit(1)
    from .words import size

    freed = stale.remove(path, numbers)
    typer.echo(f"{path}: {len(numbers)} results removed, {size(freed)} given back")


@dataclass(frozen=True)
class _Found:
    """An opened results file with the store and the pipeline that are known to belong to it."""

    kept: Kept
    store_path: str | None
    pipeline: Any

    def chosen(
        self, where: Sequence[str] | None, corpus: str | None, encoder: str | None, head: str | None
    ) -> list[System]:
        """Return the systems asked for."""
        from .train.selecting import conditions, select

        given = {"corpus": corpus, "encoder": encoder, "architecture": head}
        wanted = conditions([*(where or ()), *(f"{name}={value}" for name, value in given.items() if value)])
        found = select(self.kept.systems, wanted)
        if wanted and not found:
            said = ", ".join(f"{condition.field}={condition.pattern}" for condition in wanted)
            raise ConfigError(f"results {self.kept.path}: none is {said}. `voxcache results` alone lists all.")
        return found

    def one(self, text: str) -> System:
        """Return the system that is meant: by an id any, by conditions one that is not stale."""
        from .train.selecting import one

        if "=" not in text:
            return one(self.kept.systems, text)
        reasons = self.stale_if_known()
        return one([s for s in self.kept.systems if not any(run.number in reasons for run in s.runs)], text)

    def stale(self, *, plan: bool = False) -> Reasons:
        """Return what is stale, as far as store and pipeline are known."""
        from .train.stale import stale

        store = self._store()
        planned = self.plan() if plan and self.pipeline is not None and store is not None else None
        return stale(self.kept.systems, store, planned)

    def stale_if_known(self) -> Reasons:
        """Return what is stale; what the results alone tell where the store cannot be read, which is said then."""
        from .store.location import redacted
        from .train.stale import stale

        try:
            return self.stale()
        except StoreError as error:
            typer.secho(f"staleness unknown: {redacted(str(error))}", dim=True, err=True)
            return stale(self.kept.systems)

    def plan(self) -> Plan:
        """Return what the pipeline asks for today."""
        store = self._store()
        if self.pipeline is None or store is None:
            raise ConfigError("results prune --not-asked-for: expected a pipeline whose store exists. Name its file.")
        from .train.plan import plan

        return plan(self.pipeline.train, store)

    def _store(self) -> Store | None:
        if self.store_path is None or not ("://" in self.store_path or Path(self.store_path).exists()):
            return None
        from .store import open_store

        return open_store(self.store_path)


@contextmanager
def _opened(place: str | None, store: str | None = None) -> Iterator[_Found]:
    from .train.systems import open_kept

    folder, own_store, pipeline = _find(place)
    with open_kept(folder) as kept:
        yield _Found(kept, store or own_store, pipeline)


def _find(place: str | None) -> tuple[Path, str | None, Any]:
    """Return the results folder or file that is meant, and the store and pipeline that belong to it where they are known."""
    if place is None and not Path("pipeline.yaml").exists():
        raise ConfigError("results: no place named, and no pipeline.yaml here. Name a results folder.")
    said = place or "pipeline.yaml"
    path = Path(said)
    if path.suffix in (".yaml", ".yml"):
        from .pipeline import load_pipeline

        config = load_pipeline(path)
        return config.results_dir, config.store, config
    if "://" in said or path.suffix in (".zarr", ".zip") or (path / "zarr.json").exists():
        named = results_beside(said)
        beside = [named, named.with_suffix("")]
        for folder in beside:
            if (folder / "results.sqlite").exists():
                return folder, said, None
        tried = " and ".join(str(folder) for folder in beside)
        raise ConfigError(f"store {said}: no results beside it ({tried}). Name the results folder, or the pipeline.")
    return path, None, None


def _metrics(systems: Sequence[System], wanted: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(metric for system in systems for metric in system.metrics))
    unknown = [metric for metric in wanted or () if metric not in known]
    if unknown and systems:
        raise ConfigError(
            [
                f"--metric {metric}: no such score{nearest(metric, known)} Known: {', '.join(known)}."
                for metric in unknown
            ]
        )
    return [metric for metric in known if not wanted or metric in wanted]


def _format(fmt: str | None, out: Path | None) -> str | None:
    from .train.sheets import WRITERS

    said = fmt or (out.suffix.removeprefix(".") if out else None)
    if said is not None and said not in WRITERS:
        raise ConfigError(
            f"--format {said}: unknown{nearest(said, WRITERS)} Known: {', '.join(WRITERS)}; --out may end in one of them."
        )
    return said


def _give(sheet: Any, fmt: str | None, out: Path | None) -> None:
    if fmt is None:
        _print_table(sheet)
        return
    from .train.sheets import WRITERS

    text = WRITERS[fmt](sheet)  # type: ignore[index]
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}: {len(sheet.rows)} lines", err=True)


def _print_table(sheet: Any) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not sheet.rows:
        typer.echo("no results")
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(sheet.columns):
        right = sheet.is_number(index)
        table.add_column(name, justify="right" if right else "left", no_wrap=right or index == 0)
    for row in sheet.shown:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    console.print(sheet.caption)


def _tell_stale(systems: Sequence[System], reasons: Reasons, most: int | None = 5) -> None:
    found = {
        (system.id, system.text, reasons[run.number]): None
        for system in systems
        for run in system.runs
        if run.number in reasons
    }
    if not found:
        return
    typer.echo(f"stale: {len(found)} of {len(systems)} results listed", err=True)
    for number, text, why in list(found)[:most]:
        typer.echo(f"  {number}  {text}: {why}", err=True)
    if most is not None:
        if len(found) > most:
            typer.echo(f"  and {len(found) - most} more", err=True)
        typer.echo("`voxcache results prune` removes them; `voxcache train` makes them anew.", err=True)


def _facts(compared: Comparison) -> dict[str, Any]:
    def of(found: Difference) -> dict[str, Any]:
        sure = found.estimate
        numbers: dict[str, Any] = {"a": found.a, "b": found.b, "difference": sure.value}
        numbers |= {name: getattr(sure, name) if sure.known else None for name in ("low", "high", "p", "se", "df")}
        return numbers | ({} if sure.known else {"why": sure.why})

    return {
        "a": {"id": compared.a.id, "system": compared.a.text},
        "b": {"id": compared.b.id, "system": compared.b.text},
        "seeds": compared.seeds,
        "metrics": {metric: {"metric": metric, **of(found)} for metric, found in compared.differences.items()},
        "certainty": compared.design.text,
    }


def _lines(compared: Comparison) -> Iterator[str]:
    from .train.scores import METRIC_NAMES, METRICS, score_text

    yield f"A  {compared.a.id}  {compared.a.text}"
    yield f"B  {compared.b.id}  {compared.b.text}"
    n_folds, seeds = compared.design.n_folds, len(compared.seeds)
    yield (
        f"{n_folds} fold{'s' * (n_folds > 1)}, {seeds} seed{'s' * (seeds > 1)}; scores of all tested clips together, of classes "
        f"in percent"
    )
    yield f"{'':12}{'A':>8}{'B':>8}{'A - B':>8}   95 % interval      p"
    for metric, found in compared.differences.items():
        sure = found.estimate
        texts = [score_text(metric, value) for value in (found.a, found.b)]
        scale, places = (100, 1) if metric in METRICS else (1, 3)
        by, low, high = (f"{scale * value:+.{places}f}" for value in (sure.value, sure.low, sure.high))
        said = f"{f'{low} to {high}':18} {sure.p:.3g}" if sure.known else f"none: {sure.why}"
        yield f"{METRIC_NAMES[metric]:12}{texts[0]:>8}{texts[1]:>8}{by:>8}   {said}"
    yield compared.design.text
