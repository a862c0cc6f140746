"""What identifies weights without reading them, so that a second run can find the hash that the first computed."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from .base import Card, Entry, Request, canonical_hash

PACKAGES = ("voxcache", "torch", "torchaudio", "transformers", "opensmile")


def fingerprint_of(request: Request, card: Card, entry: Entry) -> dict[str, object]:
    """Return the encoder, its options, the versions that build it, and where its weights stand now.

    Random weights: the seed (they follow from it, the architecture and the versions). Local: names, sizes and times of
    the files. Hub: the commit in the local cache, else the revision that was asked for.
    """
    return {
        "name": card.name,
        "source": card.source,
        "options": dict(request.options),
        "architecture": canonical_hash(dict(entry.config)),
        "versions": {package: _version(package) for package in (*PACKAGES, *_plugin(entry))},
        "code": canonical_hash(_code(entry)),
        "weights": _weights(request, card),
    }


def _weights(request: Request, card: Card) -> dict[str, object]:
    wanted = request.weights or card.weights
    if wanted == "random":
        return {"kind": "random", "seed": request.seed}
    if wanted == "none":
        return {"kind": "none"}
    if wanted != "hub":
        return {"kind": "local", "files": files_of(Path(wanted))}
    if Path(request.name).is_dir():
        return {"kind": "local", "files": files_of(Path(request.name))}
    revision = request.revision or card.revision
    return {"kind": "hub", "id": card.source, "revision": revision, "commit": cached_commit(card.source, revision)}


def files_of(path: Path) -> list[list[str | int]]:
    """Return [name, bytes, modification time in ns] of a file or of each file in a folder; empty if it is not there."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stats = [(file, file.stat()) for file in files]
    return [[file.relative_to(path.parent).as_posix(), stat.st_size, stat.st_mtime_ns] for file, stat in stats]


def cached_commit(repository: str, revision: str | None) -> str | None:
    """Return the commit that the Hugging Face cache holds for a revision; None if it holds none."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    authors = ("model.pt", f"{repository.rpartition('/')[2]}.pt")
    for file in ("config.json", "model.safetensors", "pytorch_model.bin", *authors):
        try:
            path = try_to_load_from_cache(repository, file, revision=revision)
        except ValueError:
            return None
        if isinstance(path, str):
            return Path(path).parent.name
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _code(entry: Entry) -> list[list[str | int]]:
    """Return the state of the source files that build encoders, ours and a plug-in's own: a change may change numbers."""
    folder = Path(__file__).parent
    ours = [file for path in sorted([*folder.glob("*.py"), *folder.glob("*.c")]) for file in files_of(path)]
    theirs = getattr(sys.modules.get(entry.load.__module__), "__file__", None)
    return ours if theirs is None else [*ours, *files_of(Path(theirs))]


def _plugin(entry: Entry) -> list[str]:
    """Return the distributions that bring an encoder which is not ours."""
    top = entry.load.__module__.partition(".")[0]
    return [] if top == __package__.partition(".")[0] else packages_distributions().get(top, [])
