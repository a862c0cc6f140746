"""Checkpoints as named tensors: names and shapes from the files' heads, values only of what is asked for."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CheckpointError, EncoderError
from .config_json import read_json
from .weights import read_state

if TYPE_CHECKING:
    import torch

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where a repository or folder keeps its weights, in the order in which transformers looks."""

HEADER_LIMIT = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint.

    Attributes:
        shapes: of every tensor, by its name in the checkpoint.
        file_of: which file holds it.
    """

    shapes: Shapes
    file_of: Mapping[str, Path]

    def read(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return tensors by name; of safetensors files nothing else is read. Raises `CheckpointError`."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.file_of[name], []).append(name)
        found: dict[str, torch.Tensor] = {}
        for file, wanted in by_file.items():
            state = _some(file, wanted) if file.suffix == ".safetensors" else read_state(file)
            found |= {name: state[name] for name in wanted}
        return found


def tensors_in(files: Sequence[Path]) -> Tensors:
    """Return what one or several files hold. Raises `CheckpointError` where one cannot be read."""
    shapes: dict[str, tuple[int, ...]] = {}
    file_of: dict[str, Path] = {}
    for file in files:
        held = _header(file) if file.suffix == ".safetensors" else _torch_shapes(file)
        shapes |= held
        file_of |= dict.fromkeys(held, file)
    return Tensors(shapes, file_of)


def local_files(where: str, revision: str | None) -> list[Path] | None:
    """Return the weight files of a folder, or of a hub id in the local cache; None where the cache lacks them.

    Raises:
        CheckpointError: the folder holds no weights, or its index names a file that is not there.
    """
    return _listed(where, lambda name: _cached(where, name, revision))


def fetched_files(where: str, revision: str | None) -> list[Path]:
    """Return the weight files of a hub id, from the cache or the hub. Raises `EncoderError` where they cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def fetch(name: str) -> Path | None:
        try:
            return Path(hf_hub_download(where, name, revision=revision))
        except EntryNotFoundError:  # also what is not in the cache while offline
            return None

    files = _listed(where, fetch)
    if files is None:
        raise EncoderError(f"{where}: no weights in the Hugging Face cache, and none could be had from the hub.")
    return files


def _listed(where: str, find: Callable[[str], Path | None]) -> list[Path] | None:
    for name in FILES:
        file = find(name)
        if file is None:
            continue
        if not name.endswith(".index.json"):
            return [file]
        shards = {shard: find(shard) for shard in _shards(file)}
        lost = [shard for shard, path in shards.items() if path is None]
        if lost and Path(where).is_dir():
            raise CheckpointError(f"{where}: expected {lost[0]}, which {name} names, got no such file. Copy it there.")
        return None if lost else [path for path in shards.values() if path is not None]
    if Path(where).is_dir():
        raise CheckpointError(
            f"{where}: expected weights ({FILES[0]} or {FILES[2]}, whole or in shards), got none. "
            f"Save the model with `save_pretrained`."
        )
    return None


def _cached(where: str, name: str, revision: str | None) -> Path | None:
    if Path(where).is_dir():
        file = Path(where) / name
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(where, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _shards(index: Path) -> list[str]:
    content = read_json(str(index.parent), index.name, None) or {}
    files = content.get("weight_map")
    if not isinstance(files, dict):
        raise CheckpointError(
            f"{index}: expected a `weight_map` of tensor names to files, got none. Download it again."
        )
    names = sorted({str(file) for file in files.values()})
    if any(Path(name).name != name for name in names):
        raise CheckpointError(f"{index}: expected names of files beside it, got {names[0]!r}. Download it again.")
    return names


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > min(HEADER_LIMIT, file.stat().st_size):
                raise ValueError(f"a header of {size} bytes")
            content = json.loads(stream.read(size))
        return {name: tuple(facts["shape"]) for name, facts in content.items() if name != "__metadata__"}
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {file}: not there. Check the path given as `weights:`.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint {file}: expected a safetensors file, got something that cannot be read as one ({error}). "
            f"Download it again."
        ) from error


def _torch_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in read_state(file, lazy=zipfile.is_zipfile(file)).items()}


def _some(file: Path, names: Sequence[str]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as held:
            return {name: held.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {file}: cannot be read: {error}. Download it again.") from error
