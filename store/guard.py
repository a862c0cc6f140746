"""What a store may say and be, so that one that was damaged or made to harm is refused with a sentence and little memory.

Every zarr.json passes `document` as it is read, from whatever backend; every file of a folder passes `own_file` before it is
opened; every array passes `shape` before it is read. The limits are far above what real stores have; they are in
docs/store-format.md too.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from zarr.core.buffer import Buffer
from zarr.core.sync import sync

from ..errors import IntegrityError
from .schema import ATTRS, CORPUS_ARRAYS, is_name

MAX_DOCUMENT_BYTES = 16 * 2**20
MAX_DEPTH = 32
MAX_ROWS = 2**40
MAX_CLIPS = 2**34
MAX_LAYERS = 4096
MAX_DIM = 2**18
MAX_UNIT_ROWS = 2**20
MAX_CHUNK_BYTES = 2 * 2**30
MAX_SHARD_BYTES = 32 * 2**30
MAX_CHUNKS_A_SHARD = 2**20
CLIP_BYTES = 8
"""Least bytes that an id takes: the length of the text, which is not empty, and a pointer in memory."""
FREE_BYTES = 2**30
"""What may be read without a look at whether the disk holds it: a unit in which every clip failed has no objects."""
SAMPLED = 64
SLACK_ROWS = 2**16
"""Rows that an array may be longer than its corpus says: another process may just be registering clips."""

TYPES = {"string": 16, "float64": 8, "float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1}
CODECS = frozenset({"sharding_indexed", "bytes", "vlen-utf8", "crc32c"})
ROLES = frozenset({"class", "target", "group", "split", "meta"})
AXES = {"clip": ("clip",), "layer": ("layer",), "status": ("clip",), "reason": ("clip",), "sha256": ("clip",)}
AXES |= {"pooled": ("clip", "layer", "feature"), "pooled_std": ("clip", "layer", "feature")}
AXES |= {"frames/start": ("clip",), "frames/length": ("clip",)}
KINDS = {"pooled": "f", "pooled_std": "f", "status": "u", "frames": "f", "frames/start": "i", "frames/length": "i"}
KINDS |= {"done": "i", "digest": "i", "layer": "i", "n_samples": "i"}


def refuse(where: str, expected: str, got: object) -> IntegrityError:
    """Return the error for something that no store says."""
    shown = got if isinstance(got, str) else json.dumps(got, default=str)
    return IntegrityError(
        f"{where}: expected {expected}, got {printable(shown)}. Nothing of it was read; ask for the store again, or restore "
        f"that file from a copy."
    )


def printable(text: str, most: int = 80) -> str:
    """Return text that a terminal shows and does not obey, cut short."""
    short = text[: most + 1]
    plain = "".join(c if not unicodedata.category(c).startswith("C") else "?" for c in short)
    return plain[:most] + ("…" if len(short) > most else "")


def document(key: str, data: bytes) -> None:
    """Look at a zarr.json before zarr does. `key` is its path in the store.

    Raises:
        IntegrityError: it is too large, too deep, no JSON, or says what no store says.
    """
    where = printable(key, 200)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise refuse(where, f"up to {MAX_DOCUMENT_BYTES} bytes", f"{len(data)} bytes")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        if key == "zarr.json" and isinstance(error, ValueError):
            return  # not a store at all: zarr says so, and whoever opens it says what to do
        raise refuse(where, "JSON", str(error)) from error
    if _depth(found) > MAX_DEPTH:
        raise refuse(where, f"JSON at most {MAX_DEPTH} levels deep", "more")
    if not isinstance(found, dict) or not isinstance(found.get("attributes", {}), dict):
        raise refuse(where, "an object with attributes", found)
    _names(key, where)
    if found.get("node_type") == "array":
        _array(found, where)
    elif found.get("node_type") == "group":
        _consolidated(found, where)
        _group(found.get("attributes", {}).get(ATTRS), key, where)
    else:
        raise refuse(f"{where}, node_type", "group or array", found.get("node_type"))


def _depth(value: Any) -> int:
    """Return how deep JSON nests, without recursion."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        nested: list[Any] = []
        for item in level:
            if isinstance(item, dict | list):
                nested += item.values() if isinstance(item, dict) else item
        level = nested
    return depth


def _names(key: str, where: str) -> None:
    parts = key.split("/")[:-1]
    if len(parts) > 4 or not all(map(is_name, parts)):
        raise refuse(where, "a name of a corpus, encoder or array on every level", key)


def _consolidated(found: Mapping[str, Any], where: str) -> None:
    """Refuse documents inside a document: they would be believed instead of those that are checked."""
    if found.get("consolidated_metadata") is not None:
        raise refuse(f"{where}, consolidated_metadata", "none", "some")


def _array(found: Mapping[str, Any], where: str) -> None:
    width = TYPES.get(found.get("data_type")) if isinstance(found.get("data_type"), str) else None  # type: ignore[arg-type]
    if width is None:
        raise refuse(f"{where}, data_type", f"one of {', '.join(TYPES)}", found.get("data_type"))
    shape = _lengths(found.get("shape"), f"{where}, shape", least=0)
    if math.prod(shape) * width > 2**60:
        raise refuse(f"{where}, shape", "an array that a disk could hold", list(shape))
    if found.get("storage_transformers"):
        raise refuse(f"{where}, storage_transformers", "none", found["storage_transformers"])
    outer = _lengths(_member(found, "chunk_grid", "regular", where).get("chunk_shape"), f"{where}, chunk_grid")
    inner = _codecs(found.get("codecs"), where) or outer
    if len(outer) != len(shape) or len(inner) != len(shape):
        raise refuse(f"{where}, chunks", f"{len(shape)} axes", [list(outer), list(inner)])
    per_shard = [a // b for a, b in zip(outer, inner, strict=True)]
    whole = all(a % b == 0 for a, b in zip(outer, inner, strict=True))
    if not whole or math.prod(per_shard) > MAX_CHUNKS_A_SHARD or math.prod(inner) * width > MAX_CHUNK_BYTES:
        raise refuse(f"{where}, chunks", f"up to {MAX_CHUNK_BYTES} bytes each", [list(outer), list(inner)])
    if math.prod(outer) * width > MAX_SHARD_BYTES:
        raise refuse(f"{where}, shards", f"up to {MAX_SHARD_BYTES} bytes each", list(outer))
    about = found.get("attributes", {})
    texts = [(name, about.get(name, "")) for name in ("role", "description", "digest")]
    if not all(isinstance(value, str) for _, value in texts) or about.get("role", "meta") not in ROLES:
        raise refuse(f"{where}, attributes", "role, description and digest as text", dict(texts))


def _member(found: Mapping[str, Any], name: str, kind: str, where: str) -> Mapping[str, Any]:
    """Return the configuration of a named extension point. Raises `IntegrityError` where it is of another kind."""
    value = found.get(name)
    settings = value.get("configuration") if isinstance(value, dict) and value.get("name") == kind else None
    if not isinstance(settings, dict):
        raise refuse(f"{where}, {name}", kind, value)
    return settings


def _codecs(codecs: Any, where: str) -> tuple[int, ...] | None:
    """Return the inner chunk shape of a sharded array; all codecs must be those that a store has."""
    if not isinstance(codecs, list) or not codecs or len(codecs) > 4:
        raise refuse(f"{where}, codecs", "one to four codecs", codecs)
    inner = None
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else None
        if not isinstance(name, str) or name not in CODECS:
            raise refuse(f"{where}, codecs", f"some of {', '.join(sorted(CODECS))}", codec)
        if name == "sharding_indexed":
            settings = _member({"codec": codec}, "codec", name, where)
            inner = _lengths(settings.get("chunk_shape"), f"{where}, codecs")
            for part in ("codecs", "index_codecs"):
                if _codecs(settings.get(part), where) is not None:
                    raise refuse(f"{where}, codecs", "shards that hold chunks", "shards in shards")
    return inner


def _lengths(value: Any, where: str, least: int = 1) -> tuple[int, ...]:
    good = isinstance(value, list) and 1 <= len(value) <= 3 and all(_is_int(n, least, MAX_ROWS) for n in value)
    if not good:
        raise refuse(where, f"one to three whole numbers from {least} to {MAX_ROWS}", value)
    return tuple(value)


def _is_int(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _group(about: Any, key: str, where: str) -> None:
    """Look at what a group says about itself; groups of other people, without our attribute, are passed over by readers."""
    if about is None:
        return
    if not isinstance(about, dict):
        raise refuse(f"{where}, {ATTRS}", "an object", about)
    path = key.split("/")[:-1]
    kind = about.get("kind")
    if kind in {"corpus", "encoder"} and (not path or about.get("name") != path[-1]):
        raise refuse(f"{where}, name", repr(path[-1] if path else ""), about.get("name"))
    for name, expected, good in _rules(kind, about):
        if not good:
            raise refuse(f"{where}, {name}", expected, about.get(name))


def _rules(kind: Any, about: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return (attribute, what it has to be, whether it is) for one kind of group."""
    texts = ["created_by", "uuid", "name", "licence", "citation", "homepage", "adapter", "weights_origin", "dtype"]
    rules = [(name, "printable text", _is_text(about.get(name, ""))) for name in (*texts, "key_hash")]
    if kind == "store":
        rules.append(("corpora", "names", _are_names(about.get("corpora", []))))
    if kind == "corpus":
        columns = about.get("columns")
        rules += [
            ("n_clips", f"0 to {MAX_CLIPS}", _is_int(about.get("n_clips"), 0, MAX_CLIPS)),
            ("unit_rows", f"1 to {MAX_UNIT_ROWS}", _is_int(about.get("unit_rows"), 1, MAX_UNIT_ROWS)),
            ("columns", "names", _are_names(columns) and not {*CORPUS_ARRAYS} & {*columns}),
            ("encoders", "names", _are_names(about.get("encoders", []))),
        ]
    if kind == "encoder":
        rules += _encoder_rules(about)
    return rules


def _encoder_rules(about: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    n_layers, layers = about.get("n_layers"), about.get("layers")
    counted = _is_int(n_layers, 1, MAX_LAYERS)
    listed = isinstance(layers, list) and bool(layers) and all(_is_int(n, 0, MAX_LAYERS) for n in layers)
    in_order = layers is None or (counted and listed and layers == sorted({*layers}) and layers[-1] < n_layers)
    products, key, card = about.get("products"), about.get("key"), about.get("card", {})
    return [
        ("n_layers", f"1 to {MAX_LAYERS}", counted),
        ("layers", "numbers of layers in order", in_order),
        ("dim", f"1 to {MAX_DIM}", _is_int(about.get("dim"), 1, MAX_DIM)),
        ("products", "pooled, pooled_std and layers", counted and _are_products(products, n_layers)),
        (
            "key",
            "an object of scalars",
            isinstance(key, dict) and not any(isinstance(v, dict | list) for v in key.values()),
        ),
        ("key_hash", "text", isinstance(about.get("key_hash"), str)),
        ("weights_origin", "text", isinstance(about.get("weights_origin"), str)),
        ("card", "an object", isinstance(card, dict) and all(_is_text(v) for v in card.values() if isinstance(v, str))),
    ]


def _is_text(value: Any) -> bool:
    """Return whether a value is text (or nothing) without characters that would steer a terminal."""
    if value is None:
        return True
    return isinstance(value, str) and not any(
        unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\r\t" for c in value
    )


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and is_name(name) for name in value)


def _are_products(value: Any, n_layers: Any) -> bool:
    if not isinstance(value, list) or "pooled" not in value or not all(isinstance(name, str) for name in value):
        return False
    frames = [name.removeprefix("layer_") for name in value if name not in {"pooled", "pooled_std"}]
    return all(name.isascii() and name.isdigit() and len(name) < 5 and int(name) < n_layers for name in frames)


def shape(array: Any, name: str, where: str, lengths: Mapping[str, int]) -> None:
    """Look at an array of a corpus or an encoder before it is read.

    Args:
        name: path within its group, such as "pooled" or "frames/layer_08".
        lengths: clips, layers, features and units by axis, as the attributes say.

    Raises:
        IntegrityError: its axes or its type are not those of that array.
    """
    folder = name.partition("/")[0]
    axes = AXES.get(name) or {"frames": ("frame", "feature"), "done": ("unit",), "digest": ("unit",)}.get(
        folder, ("clip",)
    )
    found = tuple(getattr(array, "shape", ()))
    if len(found) != len(axes):
        raise refuse(f"{where}/{name}", f"an array [{', '.join(axes)}]", list(found))
    for axis, n in zip(axes, found, strict=True):
        exact = axis in {"layer", "feature"}
        if axis in lengths and (n != lengths[axis] if exact else n > 2 * lengths[axis] + SLACK_ROWS):
            raise refuse(f"{where}/{name}", f"{lengths[axis]} {axis}s", list(found))
    wanted = KINDS.get(name) or KINDS.get(folder)
    if wanted is not None and np.dtype(array.dtype).kind != wanted:
        raise refuse(f"{where}/{name}", {"f": "floats", "u": "bytes", "i": "whole numbers"}[wanted], str(array.dtype))


def all_rows(values: np.ndarray, n_rows: int, where: str) -> np.ndarray:
    """Return the values of a column. Raises `IntegrityError` where it is shorter than its corpus."""
    if len(values) != n_rows:
        raise refuse(where, f"{n_rows} rows", f"{len(values)}")
    return values


def frame_places(start: np.ndarray, length: np.ndarray, array: Any, where: str) -> None:
    """Raise `IntegrityError` unless every clip's frames lie within the array."""
    n_frames = int(array.shape[0])
    if len(start) != len(length):
        raise refuse(where, "a start for each length", f"{len(start)} and {len(length)}")
    inside = (start >= 0) & (length >= 0) & (length <= n_frames) & (start <= n_frames - length)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise refuse(
            where, f"places within {n_frames} frames", f"start {start[row]}, length {length[row]} in row {row}"
        )


def own_file(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Look at a file of a store's folder before it is opened; one that is not there is fine.

    Raises:
        IntegrityError: no regular file (a pipe would never end), or a link out of the store.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.islink(path):
            return
        raise refuse(str(path), "a file", "a link to nothing") from None
    except (OSError, ValueError) as error:
        raise refuse(str(path), "a readable file", str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise refuse(str(path), "a regular file", "a pipe, socket or device")
    if found.st_size > MAX_DOCUMENT_BYTES and os.path.basename(path) == "zarr.json":
        raise refuse(str(path), f"up to {MAX_DOCUMENT_BYTES} bytes", f"{found.st_size} bytes")
    linked = os.path.islink(path)
    if not (_inside(str(root), str(path)) if linked else _inside(str(root), os.path.dirname(path))):
        raise refuse(str(path), "a file within the store", "a link out of it (`cp -rL` makes a copy without links)")


@lru_cache(maxsize=65_536)
def _inside(root: str, path: str) -> bool:
    """Return whether a path, all links followed, lies within a folder. Cached: a store has few folders and many files."""
    return os.path.commonpath([os.path.realpath(root), os.path.realpath(path)]) == os.path.realpath(root)


def entries(names: Sequence[tuple[str, int, int]], n_bytes: int, where: str) -> None:
    """Look at the table of contents of a .zip: (name, offset, bytes) of each entry in a file of `n_bytes`.

    Raises:
        IntegrityError: a name twice, or entries that overlap or reach beyond the file.
    """
    seen: set[str] = set()
    end = 0
    for name, offset, size in sorted(names, key=lambda entry: entry[1]):
        if name in seen:
            raise refuse(where, "each entry once", f"{name!r} twice")
        seen.add(name)
        if size < 0 or offset < end or offset + size > n_bytes:
            raise refuse(where, "entries one after another within the file", f"{name!r}: {size} bytes at {offset}")
        end = offset + size
    folded = {name.casefold() for name in seen}
    if len(folded) < len(seen):
        raise refuse(where, "entries that differ in more than case", "some that do not")


def local_path(path: Path) -> None:
    """Raise `IntegrityError` where what is to be opened as a store is a pipe, socket or device, or a circle of links."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise refuse(str(path), "a folder or file", error.strerror or str(error)) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise refuse(str(path), "a folder or file", "a pipe, socket or device")


def backed(array: Any, first: int, n_rows: int, where: str, *, row_bytes: int | None = None) -> None:
    """Look whether a large read has the objects it is to come from: what is absent would be filled, in memory, at no cost.

    A few of the objects, drawn at random, are asked for their size.

    Raises:
        IntegrityError: more than `FREE_BYTES` are claimed, and an object that should hold part of them does not.
    """
    width = row_bytes or int(np.dtype(array.dtype).itemsize * math.prod(array.shape[1:]))
    if n_rows * width <= FREE_BYTES:
        return
    rows = int((array.shards or array.chunks)[0])
    numbers = range(first // rows, -(-(first + n_rows) // rows))
    asked = {numbers[-1], *(random.randrange(numbers.start, numbers.stop) for _ in range(SAMPLED))}
    keys = [f"{array.store_path.path}/c/{'/'.join([str(n), *('0' for _ in array.shape[1:])])}" for n in sorted(asked)]
    least = min(rows, n_rows) * width // 2
    for key, size in zip(keys, sync(_sizes(array.store_path.store, keys)), strict=True):
        if size < least and key != keys[-1]:
            raise refuse(where, f"{n_rows} rows", f"{size} bytes in {key}")
        if size == 0:
            raise refuse(where, f"{n_rows} rows", f"nothing in {key}")


async def _sizes(store: Any, keys: Sequence[str]) -> list[int]:
    return list(await asyncio.gather(*(_size(store, key) for key in keys)))


async def _size(store: Any, key: str) -> int:
    try:
        return int(await store.getsize(key))
    except (FileNotFoundError, KeyError):
        return 0


B = TypeVar("B", bound=Buffer)


def checked(key: str, found: B | None, byte_range: object = None) -> B | None:
    """Return what a backend read of `key`; a document is looked at first, those of older Zarr formats are not there.

    Format 2 is not ours, and its codecs may run code (`numcodecs` has one that unpickles).
    """
    name = key.rpartition("/")[2]
    if name in {".zarray", ".zgroup", ".zattrs", ".zmetadata"}:
        return None
    if name == "zarr.json" and found is not None and byte_range is None:
        document(key, found.to_bytes())
    return found
