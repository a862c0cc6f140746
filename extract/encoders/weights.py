"""Weights as data: reading them safely, naming them by content, refusing those that do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CheckpointError

if TYPE_CHECKING:
    import torch

MAX_KEYS_SHOWN = 8


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """Return one hash for named tensors: over (name, dtype, shape, bytes), in order of name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state(file: Path, *, lazy: bool = False) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file, or from a torch file without running any code in it.

    Args:
        lazy: leave the values of a torch file on the disk until they are looked at; for its zip format only.

    Raises:
        CheckpointError: the file is neither, or holds more than tensors and plain containers.
    """
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=lazy)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {file}: not there. Check the path given as `weights:`.") from None
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {file}: expected a safetensors file, or a torch file of plain tensors, got something that "
            f"cannot be read as either ({_first_line(error)}). Convert it to safetensors."
        ) from error
    return _tensors(content, file)


def _tensors(content: object, file: Path) -> dict[str, torch.Tensor]:
    import torch

    while isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
        if tensors:
            return tensors
        content = next((content[key] for key in ("model", "state_dict", "model_state_dict") if key in content), None)
    raise CheckpointError(f"checkpoint {file}: expected named tensors, got none. Give a file that holds a state dict.")


def refuse_misfit(where: str, *, missing: Iterable[str], left_over: Iterable[str], resized: Iterable[str] = ()) -> None:
    """Raise `CheckpointError` that lists the keys, unless every list is empty.

    Args:
        where: which weights were offered to which architecture, such as "wav2vec2-base from local folder x".
        missing: parameters of the architecture that the checkpoint lacks.
        left_over: tensors of the checkpoint that the architecture has no place for.
        resized: parameters whose shape differs.
    """
    problems = {"missing": sorted(missing), "left over": sorted(left_over), "of another shape": sorted(resized)}
    found = [f"{len(keys)} {kind} ({_shown(keys)})" for kind, keys in problems.items() if keys]
    if found:
        raise CheckpointError(
            f"{where}: expected a checkpoint of this architecture, got keys that do not fit: {'; '.join(found)}. "
            f"Nothing was loaded. Choose the encoder that these weights were trained as."
        )


def _shown(keys: list[str]) -> str:
    more = f", and {len(keys) - MAX_KEYS_SHOWN} more" if len(keys) > MAX_KEYS_SHOWN else ""
    return ", ".join(keys[:MAX_KEYS_SHOWN]) + more


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run torch's CPU generator from `seed` inside the block, and as if nothing had happened after it."""
    import torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
