"""Parts of other packages that are not their public face and that voxcache reaches into, with a test for each.

A release that moves one of them fails here by name. Whoever reaches into another adds it to `PRIVATE` with the reason.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from zarr.storage import LocalStore

ROOT = Path(__file__).resolve().parents[1]
PRIVATE = {
    "zarr.core.sync.sync": "runs one of zarr's coroutines on zarr's own loop; there is no public way to",
    "torch._fused_adam_": "Adam's step over some tensors in one pass, without the optimiser's own state dictionary",
    "transformers.conversion_mapping.get_model_conversion_mapping": "what older releases called a checkpoint's tensors",
    "getattr._keys_to_ignore_on_load_unexpected": "names that a model's class says to pass over in a checkpoint",
    "transformers.models.whisper.modeling_whisper.WhisperEncoder": "Whisper's encoder alone; Auto classes load the decoder too",
}
"""What is reached into, and why."""


def reached() -> Iterator[str]:
    """Yield each import from, and each attribute of, a private part of another package, by its dotted name."""
    folders = ("cli", "common", "extract", "store", "train")
    files = [*ROOT.glob("*.py"), *(path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py"))]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                yield f"{node.value.id}.{node.attr}"
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
                yield from (f"getattr.{name.value}" for name in node.args[1:2] if isinstance(name, ast.Constant))


def is_private(name: str) -> bool:
    """Return whether a dotted name belongs to zarr, torch, torchaudio or transformers and is not public there."""
    package, *parts = name.split(".")
    if package not in ("zarr", "torch", "torchaudio", "transformers", "getattr"):
        return False
    inner = {"zarr": ("core",), "transformers": ("models", "conversion_mapping")}.get(package, ())
    return any(part.startswith("_") and not part.startswith("__") for part in parts) or parts[0] in inner


def test_every_private_part_is_listed_and_every_listed_one_is_used() -> None:
    """The list is complete and holds nothing that is no longer needed."""
    assert {name for name in reached() if is_private(name)} == set(PRIVATE)


def test_zarr_runs_a_coroutine() -> None:
    """`sync` waits for a coroutine and returns what it gives."""
    from zarr.core.sync import sync

    async def answer() -> int:
        return 42

    assert sync(answer()) == 42


class Watched(LocalStore):
    """Notes which of its methods zarr writes and reads through."""

    seen: set[str]

    async def set(self, key: str, value: object) -> None:
        type(self).seen.add("write")
        await super().set(key, value)

    def set_sync(self, key: str, value: object) -> None:
        type(self).seen.add("write")
        super().set_sync(key, value)

    async def get(self, key: str, *arguments: object, **named: object) -> object:
        type(self).seen.add("read")
        return await super().get(key, *arguments, **named)

    def get_sync(self, key: str, **named: object) -> object:
        type(self).seen.add("read")
        return super().get_sync(key, **named)


def test_zarr_writes_and_reads_a_local_store_through_methods_that_ours_replaces(tmp_path: Path) -> None:
    """A write that went another way would neither be durable nor wait for its group; a read would not be looked at."""
    Watched.seen = set()
    array = zarr.create_array(Watched(tmp_path / "a.zarr"), shape=(4,), chunks=(2,), dtype="float32")
    Watched.seen.clear()
    array[:] = np.arange(4, dtype=np.float32)
    assert Watched.seen >= {"write"}
    Watched.seen.clear()
    assert array[:].tolist() == [0, 1, 2, 3]
    assert Watched.seen == {"read"}


def test_zarr_describes_a_shard_in_json(tmp_path: Path) -> None:
    """The direct readers recognise shards by what the format calls them."""
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 2), chunks=(1, 2), shards=(4, 2), dtype="float32", compressors=None
    )
    (codec,) = array.metadata.codecs
    described = codec.to_dict()
    assert described["name"] == "sharding_indexed"
    settings = described["configuration"]
    assert {"codecs", "index_codecs", "index_location"} <= set(settings)
    assert settings["index_location"] == "end"
    assert [inner["name"] for inner in settings["index_codecs"]] == ["bytes", "crc32c"]
    assert array.store_path.store is not None


@pytest.mark.parametrize("steps", [1, 3])
def test_torch_adam_step_is_adam(steps: int) -> None:
    """`torch._fused_adam_` does what torch.optim.Adam does."""
    generator = torch.Generator().manual_seed(0)
    start, grads = torch.randn(50, generator=generator), torch.randn(steps, 50, generator=generator)
    expected = start.clone().requires_grad_()
    adam = torch.optim.Adam([expected], lr=1e-2)
    ours, mean, square, step = start.clone(), torch.zeros(50), torch.zeros(50), torch.zeros(())
    for grad in grads:
        expected.grad = grad.clone()
        adam.step()
        step += 1
        torch._fused_adam_(
            [ours], [grad.clone()], [mean], [square], [], [step],
            lr=1e-2, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
    torch.testing.assert_close(ours, expected.detach())


def test_whisper_has_an_encoder_of_its_own() -> None:
    """It is built from a configuration alone."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    assert list(inspect.signature(WhisperEncoder.__init__).parameters)[:2] == ["self", "config"]


def test_transformers_renames_weight_norm_and_says_what_to_pass_over() -> None:
    """A checkpoint's older names become the present ones, and classes say which of its names are nobody's."""
    from transformers import HubertConfig, HubertModel
    from transformers.conversion_mapping import get_model_conversion_mapping

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.device("meta"):
        model = HubertModel(HubertConfig(**sizes, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2))
    name = "encoder.pos_conv_embed.conv.weight_g"
    for step in get_model_conversion_mapping(model):
        name = step.rename_source_key(name)[0]
    assert name == "encoder.pos_conv_embed.conv.parametrizations.weight.original0"
    assert hasattr(model, "_keys_to_ignore_on_load_unexpected")
