"""The wheel, not only the clone: built from the sdist, and used outside of the clone by each of the three users.

An environment here holds the wheel and, as links, exactly the packages that its metadata names for that user and those
that they need in turn: what `pip install` would bring, without a download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".*", "out", "build", "dist", "*.egg-info", "__pycache__", "*.zarr", "constraints.txt"
)
PIPELINE = """
store: s.zarr
corpora: {bursts: {adapter: synthetic, n_speakers: 2, clips_per_class_per_speaker: 2}}
encoders: [logmel, wav2vec2-mini]
train: {split: {folds: 2, group: speaker}, heads: [logreg, fcn], training: {epochs: 2}}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, made from the sdist, made from a copy of this tree."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def closure(wheel: Path, extras: str) -> set[str]:
    """Return the names of all packages that the wheel with some extras needs here, and that those need in turn."""
    from importlib.metadata import PathDistribution
    from zipfile import Path as ZipPath

    (info,) = [entry for entry in ZipPath(wheel).iterdir() if entry.name.endswith(".dist-info")]
    found: set[str] = set()
    waiting: list[tuple[Distribution, frozenset[str]]] = [
        (PathDistribution(info), frozenset(filter(None, extras.split(","))))  # type: ignore[arg-type]
    ]
    seen = set()
    while waiting:
        package, wanted = waiting.pop()
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                continue
            name, more = canonicalize_name(needed.name), frozenset(needed.extras)
            if (name, more) in seen:
                continue
            seen.add((name, more))
            try:
                waiting.append((package if name == "voxcache" else distribution(name), more))
            except PackageNotFoundError:
                continue  # for another system
            found.add(name)
    return found - {"voxcache"}


def linked(name: str) -> Iterator[tuple[Path, Path]]:
    """Yield (file or folder, its place below site-packages) of an installed package."""
    package = distribution(name)
    for top in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__", "bin")}:
        yield Path(str(package.locate_file(top))), Path(top)


def environment(wheel: Path, folder: Path, extras: str) -> Path:
    """Make an environment for a user of `voxcache[extras]`; return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[-1])"], capture_output=True, text=True
    )
    packages = Path(site.stdout.strip())
    for name in sorted(closure(wheel, extras)):
        for source, place in linked(name):
            if not (packages / place).exists():
                (packages / place).symlink_to(source)
    shutil.unpack_archive(wheel, packages, "zip")
    return python


def run(python: Path, *arguments: str, cwd: Path, code: int = 0) -> str:
    """Run `voxcache …` with an environment's Python; return what it printed."""
    command = [python, "-c", "from voxcache.cli import main; main()", *arguments]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def has(python: Path, module: str) -> bool:
    """Return whether an environment has a module."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def test_three_users_work_with_the_wheel(built: Path, tmp_path: Path) -> None:
    """One embeds and trains, one trains over that store without stage 1's packages, one reads it without torch."""
    both, laptop, reader = (
        environment(built, tmp_path / name, extras)
        for name, extras in (("both", "extract,train"), ("laptop", "train"), ("reader", ""))
    )
    work = tmp_path / "work"
    work.mkdir()
    run(both, "init", "mine.yaml", cwd=work)
    assert "store:" in (work / "mine.yaml").read_text(encoding="utf-8")
    (work / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    run(both, "run", "p.yaml", "--quiet", cwd=work)
    assert (work / "s.results" / "report.html").exists()
    shutil.rmtree(work / "s.results")

    assert not has(laptop, "transformers")
    assert not has(laptop, "torchaudio")
    run(laptop, "train", "p.yaml", "--quiet", cwd=work)
    assert (work / "s.results" / "report.html").exists()
    shutil.rmtree(work / "s.results")

    assert not has(reader, "torch")
    assert "wav2vec2-mini" in run(reader, "store", "info", "s.zarr", cwd=work)
    told = run(reader, "train", "p.yaml", "--quiet", cwd=work, code=2)
    assert "Type: pip install 'voxcache[train]'" in told
    told = run(reader, "extract", "p.yaml", "--store", "new.zarr", cwd=work, code=2)
    assert "Type: pip install 'voxcache[extract]'" in told
    assert "Traceback" not in told
    script = "import voxcache; print(voxcache.open_store('s.zarr').corpus('bursts').encoder('logmel').pooled(0).shape)"
    read = subprocess.run([reader, "-c", script], cwd=work, capture_output=True, text=True, check=True)
    assert read.stdout.startswith("(24, ")


def test_the_wheel_holds_what_the_package_reads(built: Path) -> None:
    """Templates, C sources, recipes and the default pipeline are in it; tests, docs and benchmarks are not."""
    from zipfile import ZipFile

    names = set(ZipFile(built).namelist())
    data = [path for pattern in ("*.j2", "*.css", "*.c", "*.csv") for path in ROOT.rglob(pattern)]
    inside = [
        path.relative_to(ROOT)
        for path in data
        if path.relative_to(ROOT).parts[0] in ("extract", "store", "train", "recipes")
    ]
    assert inside
    assert {f"voxcache/{path.as_posix()}" for path in inside} | {"voxcache/pipeline.yaml"} <= names
    assert not [name for name in names if name.split("/")[1] in ("tests", "benchmarks", "docs", "build")]
