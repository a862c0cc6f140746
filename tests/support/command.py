"""Running the real command, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def voxcache(*arguments: str | Path, cwd: Path, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `voxcache …` in `cwd`; fail the test unless it ends with `code`."""
    done = subprocess.run(
        [sys.executable, "-c", "from voxcache.cli import main; main()", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
