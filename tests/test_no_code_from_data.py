"""Nothing that is read can run: no pickle, no eval, no unsafe loader anywhere in the package, its tests aside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file
    for folder in (".", "store", "extract", "train", "benchmarks", "docs")
    for file in (ROOT.glob("*.py") if folder == "." else (ROOT / folder).rglob("*.py"))
)
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "__import__"}


def wrong(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for everything that turns data into code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in MODULES:
            yield node.lineno, str(node.module)
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[tuple[int, str]]:
    options = {keyword.arg: keyword.value for keyword in node.keywords}
    pickles = options.get("allow_pickle")
    if pickles is not None and not (isinstance(pickles, ast.Constant) and pickles.value is False):
        yield node.lineno, "allow_pickle"
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield node.lineno, node.func.id
    if not isinstance(node.func, ast.Attribute) or not isinstance(node.func.value, ast.Name):
        return
    owner, name = node.func.value.id, node.func.attr
    safe = options.get("weights_only")
    if (owner, name) == ("torch", "load") and not (isinstance(safe, ast.Constant) and safe.value is True):
        yield node.lineno, "torch.load without weights_only=True"
    if owner == "yaml" and name not in {"safe_load", "safe_dump", "YAMLError"}:
        yield node.lineno, f"yaml.{name}"
    if owner == "joblib":
        yield node.lineno, f"joblib.{name}"


def test_there_are_files_to_look_at() -> None:
    """The search finds the package, else it would find nothing wrong either."""
    assert {"pack.py", "cli.py", "fit.py", "plan.py"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_file_turns_data_into_code(file: Path) -> None:
    """Line by line, from the syntax tree."""
    assert list(wrong(ast.parse(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "yaml.load(x)",
        "eval(x)",
        "exec(x)",
    ],
)
def test_each_way_would_be_found(code: str) -> None:
    """The search sees what it is for."""
    assert list(wrong(ast.parse(code)))
