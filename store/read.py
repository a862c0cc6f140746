"""Reading a store: a root of corpora, each with clips, label columns and encoders. Needs numpy and zarr, nothing else.

store = open_store("store.zarr")
corpus = store.corpus("donate-a-cry")
x = corpus.encoder("wavlm-base").pooled(layer=-1)     # [clip, feature] float32
y = corpus.columns["label"].values                    # [clip]
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from ..errors import IntegrityError, SchemaError, StoreError, nearest
from . import schema
from .archive import archive_root, is_archive
from .backend import DurableStore
from .digest import strings_digest, values_digest
from .schema import ATTRS, MISSING, OK, STALE, Products, Role
from .shards import Shards, open_shards


@dataclass(frozen=True)
class Column:
    """One fact about every clip: str, or float64 for continuous ones. "" and NaN mean not given."""

    name: str
    role: Role
    description: str
    values: np.ndarray


@dataclass(frozen=True)
class Ledger:
    """How every clip ended: `status` uint8 [clip] (0 missing, 1 ok, 2 failed, 3 stale) and `reason` str [clip]."""

    status: np.ndarray
    reason: np.ndarray

    @property
    def ok(self) -> np.ndarray:
        """Rows that hold an embedding of the registered audio, bool [clip]."""
        return np.asarray(self.status == OK)

    def counts(self) -> dict[str, int]:
        """Return the number of clips by status name."""
        return {name: int((self.status == code).sum()) for code, name in enumerate(schema.STATUS_NAMES)}


def open_store(path: str | Path) -> Store:
    """Open a store for reading.

    Raises:
        SchemaError: nothing there, not a voxcache store, or one of a newer schema.
    """
    return Store(open_root(path, writable=False), str(path))


def open_root(path: str | Path, *, writable: bool) -> zarr.Group:
    """Return the root group of an existing store after checking its schema."""
    path = Path(path)
    if not path.exists():
        raise SchemaError(f"store {path}: not found. Check the path, or make one with `voxcache extract`.")
    if is_archive(path):
        if writable:
            raise SchemaError(f"store {path}: a .zip can be read, not written to. Unzip it into a folder first.")
        root = archive_root(path)
        check_schema(root, path)
        return root
    try:
        root = zarr.open_group(DurableStore(path, read_only=not writable), mode="r+" if writable else "r")
    except (FileNotFoundError, ValueError, KeyError, NotADirectoryError) as error:
        raise SchemaError(
            f"store {path}: expected a Zarr v3 group, got {'a folder' if path.is_dir() else 'a file'} without one. "
            f"Point at a store made by voxcache, or choose a path that does not exist yet."
        ) from error
    check_schema(root, path)
    return root


def check_schema(root: zarr.Group, path: str | Path) -> None:
    """Raise `SchemaError` unless `root` is a store this version reads."""
    about = root.attrs.get(ATTRS)
    if not isinstance(about, dict) or "schema" not in about:
        raise SchemaError(f"store {path}: a Zarr group, but not a voxcache store. Choose another path.")
    version = about["schema"]
    if not isinstance(version, int) or not 1 <= version <= schema.SCHEMA:
        raise SchemaError(
            f"store {path}: expected schema 1 to {schema.SCHEMA}, got {version!r}. It was written by "
            f"{about.get('created_by', 'another version')}; install a voxcache at least as new."
        )


class _Node:
    def __init__(self, group: zarr.Group, path: str) -> None:
        self.group = group
        self.path = path

    @cached_property
    def attrs(self) -> dict[str, Any]:
        """What the store says about this group."""
        return dict(cast(dict[str, Any], self.group.attrs.get(ATTRS, {})))

    def _child(self, kind: str, name: str, known: Sequence[str]) -> zarr.Group:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise StoreError(f"{kind} {name!r}: not in {self.path}{nearest(name, known)} It holds: {listed}.")
        return cast(zarr.Group, self.group[name])

    def _groups(self, kind: str) -> tuple[str, ...]:
        try:
            members = [(name, node.attrs.get(ATTRS)) for name, node in self.group.groups()]
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{self.path}: a zarr.json below it cannot be read ({error}). Restore it from a copy, or remove that "
                f"folder and extract again."
            ) from error
        return tuple(sorted(name for name, about in members if isinstance(about, dict) and about.get("kind") == kind))

    def _array(self, name: str) -> Any:
        try:
            return self.group[name]
        except (KeyError, ValueError, TypeError) as error:
            missing = isinstance(error, KeyError)
            raise IntegrityError(
                f"{self.path}: array {name!r} {'is not there' if missing else f'cannot be read ({error})'}. Run `voxcache "
                f"store verify`, or extract again."
            ) from error

    def _read(self, name: str, selection: Any = slice(None)) -> np.ndarray:
        """Return part of an array. Raises `IntegrityError` naming it where a checksum does not match or bytes are gone."""
        array = self._array(name)
        try:
            return np.asarray(array[selection])
        except (ValueError, RuntimeError, TypeError, KeyError) as error:
            raise IntegrityError(
                f"{self.path}/{name}: damaged ({error}). `voxcache store verify` names the units and clips, with "
                f"`--repair` they are computed again."
            ) from error


class Store(_Node):
    """A store: corpora by name."""

    @cached_property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora it holds."""
        return self._groups("corpus")

    @property
    def uuid(self) -> str:
        """Identity of the store, given when it was made."""
        return str(self.attrs["uuid"])

    def corpus(self, name: str) -> Corpus:
        """Return one corpus. Raises `StoreError` with the names there are."""
        return Corpus(self._child("corpus", name, self.corpora), f"{self.path}/{name}", name)


class Corpus(_Node):
    """A named set of clips with their labels: arrays [clip] and, in it, one group per encoder."""

    def __init__(self, group: zarr.Group, path: str, name: str) -> None:
        super().__init__(group, path)
        self.name = name

    @property
    def n_clips(self) -> int:
        """Clips registered; arrays may be longer after an interrupted registration."""
        return int(self.attrs["n_clips"])

    @property
    def unit_rows(self) -> int:
        """Clips a unit of work."""
        return int(self.attrs["unit_rows"])

    @cached_property
    def clip(self) -> np.ndarray:
        """Clip ids, str [clip]."""
        return self._strings("clip")

    @cached_property
    def sha256(self) -> np.ndarray:
        """Content hash of each clip's audio, str [clip]; "" where the file could not be read."""
        return self._strings("sha256")

    @cached_property
    def n_samples(self) -> np.ndarray:
        """Length of each clip in samples at 16 kHz, int64 [clip]; 0 where the file could not be read."""
        return self._read("n_samples", slice(self.n_clips))

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Label columns by name."""
        columns = {}
        for name in self.attrs["columns"]:
            array = self._array(name)
            values = self._read(name, slice(self.n_clips))
            if values.dtype.kind != "f":
                values = np.asarray(values, dtype=object)
            about = dict(array.attrs)
            columns[name] = Column(name, about.get("role", "meta"), about.get("description", ""), values)
        return columns

    @cached_property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders whose embeddings it holds."""
        return self._groups("encoder")

    def encoder(self, name: str) -> EncoderGroup:
        """Return one encoder's embeddings. Raises `StoreError` with the names there are."""
        return EncoderGroup(self._child("encoder", name, self.encoders), f"{self.path}/{name}", name, self)

    def _strings(self, name: str) -> np.ndarray:
        return np.asarray(self._read(name, slice(self.n_clips)), dtype=object)


class EncoderGroup(_Node):
    """The embeddings of one corpus by one encoder."""

    def __init__(self, group: zarr.Group, path: str, name: str, corpus: Corpus) -> None:
        super().__init__(group, path)
        self.name = name
        self.corpus = corpus

    @property
    def card(self) -> dict[str, Any]:
        """Facts about the encoder: family, source, licence, citation, pretraining, dim, n_layers, ..."""
        return dict(self.attrs["card"])

    @property
    def key(self) -> dict[str, Any]:
        """What the embeddings were made from, the audio apart."""
        return dict(self.attrs["key"])

    @property
    def key_hash(self) -> str:
        """Sha256 of `key`."""
        return str(self.attrs["key_hash"])

    @property
    def weights_origin(self) -> str:
        """Where the weights came from, such as "hub:microsoft/wavlm-base@…" or "random(seed=0)"."""
        return str(self.attrs["weights_origin"])

    @property
    def is_random(self) -> bool:
        """True where the weights were never trained: good for tests and demonstrations only."""
        return self.weights_origin.startswith("random")

    @property
    def n_layers(self) -> int:
        """Layers held, layer 0 (input to the first block) included."""
        return int(self.attrs["n_layers"])

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return int(self.attrs["dim"])

    @property
    def has_std(self) -> bool:
        """True where standard deviations over frames are held too."""
        return "pooled_std" in self.attrs["products"]

    @property
    def frame_layers(self) -> tuple[int, ...]:
        """Layers whose frames are held."""
        return Products.from_names(self.attrs["products"]).frames

    @cached_property
    def products(self) -> Products:
        """What is kept of every clip."""
        layers = self.frame_layers
        dtype = str(self._array(f"frames/{schema.frame_name(layers[0])}").dtype) if layers else "float16"
        return Products(self.has_std, layers, cast(schema.FrameDtype, dtype))

    def done(self, product: str = "pooled") -> np.ndarray:
        """Return the committed rows of each unit, int32 [unit]."""
        return self._read(f"done/{product}")

    @cached_property
    def _ledger(self) -> Ledger:
        return self._read_ledger("pooled")

    def ledger(self, product: str = "pooled") -> Ledger:
        """Return how every clip ended; a row is ok only if it was committed and its audio is the registered one."""
        return self._ledger if product == "pooled" else self._read_ledger(product)

    def _read_ledger(self, product: str) -> Ledger:
        n = self.corpus.n_clips
        status = np.full(n, MISSING, dtype=np.uint8)
        reason = np.full(n, "", dtype=object)
        embedded = np.full(n, "", dtype=object)
        held = min(n, int(self._array("status").shape[0]))
        status[:held] = self._read("status", slice(held))
        reason[:held] = self._read("reason", slice(held))
        embedded[:held] = self._read("sha256", slice(held))
        unit_rows = self.corpus.unit_rows
        rows = np.arange(n)
        done = np.zeros(schema.n_units(n, unit_rows), dtype=np.int32)
        stored = self.done(product)[: len(done)]
        done[: len(stored)] = stored
        committed = np.zeros(n, dtype=bool)
        committed[:held] = (rows % unit_rows)[:held] < done[(rows // unit_rows)[:held]]
        status[~committed] = MISSING
        status[(status != MISSING) & (embedded != self.corpus.sha256)] = STALE
        reason[(status == MISSING) | (status == STALE)] = ""
        return Ledger(status, reason)

    def pooled(self, layer: int = -1) -> np.ndarray:
        """Return the mean over each clip's own frames, float32 [clip, feature]; NaN rows where a clip is not ok."""
        return self._statistic("pooled", self._layer(layer))

    def pooled_std(self, layer: int = -1) -> np.ndarray:
        """Return the standard deviation over each clip's own frames, float32 [clip, feature]."""
        self._require_std()
        return self._statistic("pooled_std", self._layer(layer))

    def pooled_all(self) -> np.ndarray:
        """Return every layer's mean, float32 [clip, layer, feature]."""
        return self._statistic("pooled", slice(None))

    def frames(self, layer: int = -1) -> Frames:
        """Return the frames of one layer, where they were kept. Raises `StoreError` with the layers there are."""
        index = self._layer(layer)
        if index not in self.frame_layers:
            raise StoreError(
                f"{self.path}: frames of layer {index} were not kept (kept: {list(self.frame_layers) or 'none'}). "
                f"Extract again with `frames: [{index}]`; what is there stays."
            )
        name = schema.frame_name(index)
        length = np.zeros(self.corpus.n_clips, dtype=np.int64)
        usable = self.ledger(name).ok
        stored = self._read("frames/length", slice(self.corpus.n_clips))
        length[: len(stored)] = np.where(usable[: len(stored)], stored, 0)
        return Frames(self._array(f"frames/{name}"), self._read("frames/start"), length)

    def content_hash(self) -> str:
        """Return a hash of the key and of every clip's id, content and status: what a result depends on."""
        digest = hashlib.sha256(self.key_hash.encode())
        status = self.ledger().status
        for clip, sha, code in zip(self.corpus.clip, self.corpus.sha256, status, strict=True):
            digest.update(f"{clip}\0{sha}\0{code}\n".encode())
        return digest.hexdigest()

    def unit(self, unit: int) -> slice:
        """Return the rows of a unit."""
        first = unit * self.corpus.unit_rows
        return slice(first, first + schema.unit_size(unit, self.corpus.n_clips, self.corpus.unit_rows))

    def ledger_digest(self, unit: int) -> int:
        """Return the digest of what the ledger now says about a unit."""
        rows = self.unit(unit)
        return strings_digest(*(self._array(name)[rows] for name in ("sha256", "status", "reason")))

    def product_digest(self, product: str, unit: int) -> int:
        """Return the digest of a unit's data as it now stands."""
        rows = self.unit(unit)
        if product in {"pooled", "pooled_std"}:
            return values_digest([np.asarray(self._array(product)[rows])])
        ok = np.asarray(self._array("status")[rows]) == OK
        start, length = (np.asarray(self._array(f"frames/{name}")[rows])[ok] for name in ("start", "length"))
        array = self._array(f"frames/{product}")
        return values_digest(np.asarray(array[first : first + n]) for first, n in zip(start, length, strict=True))

    def _layer(self, layer: int) -> int:
        if not -self.n_layers <= layer < self.n_layers:
            raise StoreError(
                f"{self.path}: expected a layer from 0 to {self.n_layers - 1} or -1 for the last, got {layer}."
            )
        return layer % self.n_layers

    def _require_std(self) -> None:
        if not self.has_std:
            raise StoreError(
                f"{self.path}: standard deviations were not kept. Extract again with `statistics: [mean, std]`; what is "
                f"there stays."
            )

    def _statistic(self, name: str, layer: int | slice) -> np.ndarray:
        array = self._array(name)
        held = min(self.corpus.n_clips, int(array.shape[0]))
        ok = self.ledger(name).ok
        values = self._layer_values(name, layer)[:held]
        if held == len(ok) and ok.all():
            return values
        full = np.full((len(ok), *values.shape[1:]), np.nan, dtype=np.float32)
        full[:held][ok[:held]] = values[ok[:held]]
        return full

    def _layer_values(self, name: str, layer: int | slice) -> np.ndarray:
        shards = open_shards(self._array(name)) if isinstance(layer, int) else None
        return self._read(name, (slice(None), layer)) if shards is None else shards.layer(int(cast(int, layer)))


@dataclass(frozen=True)
class Frames:
    """Frames of one layer. `length` int64 [clip] counts each clip's own; 0 where there are none."""

    values: Any
    start: np.ndarray
    length: np.ndarray

    @cached_property
    def _shards(self) -> Shards | None:
        return open_shards(self.values)

    def read(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return each clip's frames, [frame, feature] each, in the order of `rows`."""
        return [self._one(int(self.start[row]), int(self.length[row])) for row in rows]

    def _one(self, start: int, length: int) -> np.ndarray:
        if not length:
            return np.empty((0, self.values.shape[1]), dtype=self.values.dtype)
        if self._shards is not None:
            return self._shards.rows(start, start + length)
        return np.asarray(self.values[start : start + length])
