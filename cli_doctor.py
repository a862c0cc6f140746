"""The command `voxcache doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    store: Annotated[Path, typer.Argument(help="where the store is or will be, to see the space there")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON on standard output")] = False,
) -> None:
    """Say what is installed, which devices and kernels would be used, and what would make it faster. 1 if broken."""
    from .doctor import diagnose, show

    diagnosis = diagnose(store)
    if as_json:
        typer.echo(json.dumps(diagnosis.as_dict(), indent=2))
    else:
        show(diagnosis, typer.echo)
    if diagnosis.broken:
        raise typer.Exit(1)
