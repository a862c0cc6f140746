"""What a zarr.json of a store may say. Each is looked at before zarr reads it, from whatever backend it comes.

The limits are far above what real stores have; they stand in docs/store-format.md too.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, get_args

from ..errors import IntegrityError
from .listing import STATE_NAMES
from .schema import ATTRS, CORPUS_ARRAYS, Role, is_name

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

TYPES = {"string": 16, "float64": 8, "float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1}
CODECS = frozenset({"sharding_indexed", "bytes", "vlen-utf8", "crc32c"})
ROLES = frozenset(get_args(Role))


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
    for name in ("role", "description", "digest"):
        if not isinstance(about.get(name, ""), str):
            raise refuse(f"{where}, {name}", "text", about[name])
    if about.get("role", "meta") not in ROLES:
        raise refuse(f"{where}, role", f"one of {', '.join(sorted(ROLES))}", about["role"])


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
        columns: Any = about.get("columns")
        rules += [
            ("n_clips", f"0 to {MAX_CLIPS}", _is_int(about.get("n_clips"), 0, MAX_CLIPS)),
            ("unit_rows", f"1 to {MAX_UNIT_ROWS}", _is_int(about.get("unit_rows"), 1, MAX_UNIT_ROWS)),
            ("columns", "names", _are_names(columns) and not {*CORPUS_ARRAYS} & {*columns}),
            ("encoders", "names", _are_names(about.get("encoders", []))),
            ("listing", "a digest and counts of clips", _is_listing(about.get("listing"))),
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


def _is_listing(value: Any) -> bool:
    """Return whether a value is what a corpus says of its listing; one of an earlier version says nothing."""
    if value is None:
        return True
    counted = isinstance(value, dict) and set(value) == {"digest", *STATE_NAMES}
    return counted and _is_text(value["digest"]) and all(_is_int(value[name], 0, MAX_CLIPS) for name in STATE_NAMES)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and is_name(name) for name in value)


def _are_products(value: Any, n_layers: Any) -> bool:
    if not isinstance(value, list) or "pooled" not in value or not all(isinstance(name, str) for name in value):
        return False
    frames = [name.removeprefix("layer_") for name in value if name not in {"pooled", "pooled_std"}]
    return all(name.isascii() and name.isdigit() and len(name) < 5 and int(name) < n_layers for name in frames)
