"""Look at a store with three commands in a process that may take only so much memory; print how each ended."""

from __future__ import annotations

import resource
import sys

from typer.testing import CliRunner

from voxcache.cli_store import app
from voxcache.errors import VoxcacheError

LIMIT_BYTES = 3 * 10**9


def main(path: str) -> None:
    """Run info, status and verify; anything but an end on purpose is raised."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    for command in ("info", "status", "verify"):
        result = CliRunner().invoke(app, [command, path])
        if isinstance(result.exception, VoxcacheError):
            print(f"{command} refused: {result.exception}")
        elif result.exception is None or isinstance(result.exception, SystemExit):
            print(f"{command} done: {result.exit_code} {result.output[-500:]!r}")
        else:
            raise result.exception


if __name__ == "__main__":
    main(sys.argv[1])
