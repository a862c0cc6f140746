"""Stage 2 stands alone: no import of stage 1 or of its packages, in the text and in a process without them."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import voxcache
from voxcache.store.read import Store

TRAIN = Path(voxcache.__file__).parent / "train"
FORBIDDEN = {"transformers", "torchaudio", "av", "soundfile", "extract", "librosa", "mamba_ssm"}


def imported(path: Path) -> Iterator[str]:
    """Yield every module a file imports, wherever in it, relative ones by their name inside the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(TRAIN.rglob("*.py")), ids=lambda path: path.name)
def test_no_file_of_train_imports_stage_1(path: Path) -> None:
    """No part of an imported name is stage 1 or one of its packages."""
    parts = {part for name in imported(path) for part in name.split(".")}
    assert not parts & FORBIDDEN


def test_stage_2_runs_where_stage_1_cannot_be_imported(make_store: Callable[..., Store], tmp_path: Path) -> None:
    """With transformers, torchaudio, PyAV, soundfile and voxcache.extract made unimportable, a grid ends in a report."""
    store = make_store()
    code = textwrap.dedent(
        """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"transformers", "torchaudio", "av", "soundfile"} or name.startswith("voxcache.extract"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Refuse())
        from voxcache.store import open_store
        from voxcache.train.config import TrainConfig
        from voxcache.train.run import run

        config = {"heads": ["fcn", "logreg"], "encoders": ["alpha"], "seeds": [0], "training": {"epochs": 1}, "device": "cpu"}
        run(TrainConfig.model_validate(config), open_store(sys.argv[1]), sys.argv[2], quiet=True)
        """
    )
    command = [sys.executable, "-c", code, store.path, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 trained, 0 reused, 0 failed" in done.stdout
    assert (tmp_path / "out" / "report.html").read_text().rstrip().endswith("</html>")


def test_a_finished_grid_is_answered_without_torch_or_scikit_learn(
    make_store: Callable[..., Store], tmp_path: Path
) -> None:
    """Where nothing is left to train, the tables come from the results alone: both packages are made unimportable."""
    store = make_store()
    code = textwrap.dedent(
        """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in set(sys.argv[3].split()):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Refuse())
        from voxcache.store import open_store
        from voxcache.train.config import TrainConfig
        from voxcache.train.run import run

        config = {"heads": ["fcn", "logreg"], "encoders": ["alpha"], "seeds": [0], "training": {"epochs": 1}, "device": "cpu"}
        run(TrainConfig.model_validate(config), open_store(sys.argv[1]), sys.argv[2], quiet=True)
        """
    )
    for refused, said in (("", "2 trained, 0 reused"), ("torch sklearn", "0 trained, 2 reused")):
        command = [sys.executable, "-c", code, store.path, str(tmp_path / "out"), refused]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
