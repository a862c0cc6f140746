"""One layer of one encoder as a file for other tools, and files of embeddings from other tools as an encoder.

Names in .npz and .h5: `embeddings` [clip, feature] float32, `ids`, `sha256`, `status`, `reason` [clip], `column/<name>`
[clip] and `about`, a JSON text. Parquet has the same as columns, a label's without `column/` unless one of the others is called
that, and `about` in its metadata. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, StoreError
from .archive import is_one_file
from .backend import writer_lock
from .copying import carried, grow_encoders
from .extras import package
from .files import move
from .hdf5 import need_h5py
from .read import Corpus, Store, open_store
from .schema import FAILED, MISSING, OK, Products, n_units, node_name
from .write import EncoderWriter, UnitData, check_key, create_store, register_clips, register_encoder

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Imported:
    """Clips that got embeddings, those of them new to the corpus, and clips of the corpus that the file lacks."""

    n_clips: int
    new: tuple[str, ...]
    absent: tuple[str, ...]


def export(path: str | Path, corpus: str, encoder: str, out: str | Path, *, layer: int = -1) -> int:
    """Write one layer's pooled embeddings with ids, hashes, status and labels to .npz, .h5 or .parquet; return the ok clips.

    Rows that are not ok hold NaN. The file appears whole or not at all; one that exists is replaced.

    Raises:
        ConfigError: another suffix, no such folder, or a package that the format needs is not installed.
        StoreError: no such corpus, encoder or layer.
    """
    write = _choose(_WRITERS, Path(out))
    if not Path(out).parent.is_dir():
        raise ConfigError(f"{out}: expected a folder {Path(out).parent} to write into, found none. Make it first.")
    held = open_store(path).corpus(corpus).encoder(encoder)
    ledger = held.ledger()
    about = {
        "corpus": corpus,
        "encoder": encoder,
        "layer": layer % held.n_layers,
        "n_layers": held.n_layers,
        "licence": held.corpus.attrs.get("licence", "unknown"),
        "citation": held.corpus.attrs.get("citation", ""),
        **{name: held.attrs.get(name) for name in ("card", "weights_origin", "key", "key_hash", "dtype")},
    }
    arrays = {
        "ids": _text(held.corpus.clip),
        "sha256": _text(held.corpus.sha256),
        "listing_state": held.corpus.listing.state,
        "status": ledger.status,
        "reason": _text(ledger.reason),
        "embeddings": held.pooled(layer),
    }
    for name, column in held.corpus.columns.items():
        arrays[f"column/{name}"] = column.values if column.values.dtype.kind == "f" else _text(column.values)
    kept = held.corpus.listing.kept
    arrays = {name: values[kept] for name, values in arrays.items()}
    partial = Path(out).with_name(f".{Path(out).name}.partial")
    try:
        write(partial, arrays, json.dumps(about, ensure_ascii=False))
        move(partial, Path(out))
    finally:
        partial.unlink(missing_ok=True)
    return int(ledger.ok.sum())


def _text(values: np.ndarray) -> np.ndarray:
    """Return strings in an array that needs no pickle."""
    return np.array([str(value) for value in values], dtype=np.str_)


def _choose(by_suffix: Mapping[str, Any], path: Path) -> Any:
    found = by_suffix.get(path.suffix.lower())
    if found is None:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(by_suffix)}. Rename it.")
    return found


def _write_npz(path: Path, arrays: Arrays, about: str) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(about), **arrays)


def _write_h5(path: Path, arrays: Arrays, about: str) -> None:
    h5py = need_h5py()
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            text = values.dtype.kind == "U"
            file.create_dataset(
                name, data=values.astype(object) if text else values, dtype=h5py.string_dtype() if text else None
            )
        file.create_dataset("about", data=about)


def _write_parquet(path: Path, arrays: Arrays, about: str) -> None:
    pa, parquet = package("pyarrow", ".parquet files"), package("pyarrow.parquet", ".parquet files")
    columns = {_bare(name, arrays): pa.array(values) for name, values in arrays.items() if values.ndim == 1}
    embeddings = arrays["embeddings"]
    flat = pa.array(embeddings.reshape(-1), type=pa.float32())
    columns["embeddings"] = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    parquet.write_table(pa.table(columns).replace_schema_metadata({"voxcache": about}), path)


def _bare(name: str, arrays: Arrays) -> str:
    short = name.removeprefix("column/")
    return name if short in arrays else short


_WRITERS: dict[str, Callable[[Path, Arrays, str], None]] = {
    ".npz": _write_npz,
    ".h5": _write_h5,
    ".parquet": _write_parquet,
}


def import_embeddings(
    path: str | Path,
    corpus: str,
    encoder: str,
    source: str | Path,
    *,
    ids: str | Path | None = None,
    array: str = "embeddings",
    facts: Mapping[str, str] | None = None,
) -> Imported:
    """Add embeddings that were computed elsewhere, [clip, feature] or [clip, layer, feature], as an encoder of a corpus.

    The card says that they were imported and from which file; the key is made of the file's and the ids' SHA-256.

    Args:
        ids: a text file with one clip id a line, in the order of the rows; without it the file's own `ids` are taken.
        array: name of the embeddings in .npz and .h5.
        facts: what is known of them (licence, citation, source, model, …): kept in the card and the key.

    Raises:
        ConfigError: the file does not hold what is expected; nothing is written.
        KeyMismatch: the corpus has an encoder of that name made from something else.
    """
    source = Path(source)
    if is_one_file(path):
        raise ConfigError(
            f"{path}: one file cannot be added to. `voxcache store pack {path} FOLDER` makes a folder of it."
        )
    node_name("corpus", corpus), node_name("encoder", encoder)
    given = _load(source, array, ids)
    key = {**dict(facts or {}), "imported": given.file_sha256, "ids": given.ids_sha256, "array": array}
    with writer_lock(Path(path)):
        store = create_store(path)
        held = _register(store, corpus, encoder, given, key)
        writer = register_encoder(
            held.corpus,
            encoder,
            key=key,
            n_layers=given.values.shape[1],
            dim=given.values.shape[2],
            n_frames=np.zeros(held.corpus.n_clips, dtype=np.int64),
            products=Products(),
            about=_about(encoder, source, given, facts or {}),
        )
        _fill(writer, given, held.rows)
    listed = {*given.ids}
    absent = tuple(str(clip) for clip in held.corpus.clip if str(clip) not in listed)
    return Imported(int(given.finite.sum()), held.new, absent)


@dataclass(frozen=True)
class _Given:
    """What a file holds: `values` [clip, layer, feature] float32, an id and perhaps a content hash for each clip."""

    values: np.ndarray
    ids: list[str]
    sha256: list[str]
    file_sha256: str
    ids_sha256: str
    dtype: str

    @property
    def finite(self) -> np.ndarray:
        """Which clips have values, bool [clip]."""
        return np.asarray(np.isfinite(self.values).all(axis=(1, 2)))


def _load(source: Path, array: str, ids: str | Path | None) -> _Given:
    try:
        arrays = _choose(_READERS, source)(source, array)
        names = Path(ids).read_text(encoding="utf-8").splitlines() if ids else _strings(arrays.get("ids"))
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        EOFError,
        MemoryError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise ConfigError(f"{source}: cannot be read ({error}). Nothing was written.") from error
    values = arrays.get(array)
    if values is None:
        raise ConfigError(f"{source}: expected an array {array!r}, found none. Name it with --array.")
    if values.ndim not in (2, 3) or values.dtype.kind != "f" or 0 in values.shape:
        raise ConfigError(
            f"{source}, {array}: expected floats [clip, feature] or [clip, layer, feature], got {values.dtype} "
            f"{list(values.shape)}. Nothing was written."
        )
    if len(names) != len(values) or len(set(names)) != len(names) or "" in names:
        raise ConfigError(
            f"{source}: expected one id for each of {len(values)} rows, each once, got {len(names)} of which {len(set(names))} "
            f"differ. Give them with --ids."
        )
    hashes = [""] * len(names) if ids else _strings(arrays.get("sha256")) or [""] * len(names)
    if len(hashes) != len(names):
        raise ConfigError(
            f"{source}, sha256: expected one hash for each of {len(names)} rows, got {len(hashes)}. Nothing was written."
        )
    values = np.asarray(values if values.ndim == 3 else values[:, None], dtype=np.float32)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return _Given(
        values, names, hashes, digest, hashlib.sha256("\n".join(names).encode()).hexdigest(), str(arrays[array].dtype)
    )


def _strings(values: np.ndarray | None) -> list[str]:
    items = [] if values is None else values.tolist()
    return [item.decode() if isinstance(item, bytes) else str(item) for item in items]


def _read_npy(path: Path, array: str) -> dict[str, np.ndarray]:
    return {array: np.load(path, allow_pickle=False)}


def _read_npz(path: Path, array: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in (array, "ids", "sha256") if name in file}


def _read_h5(path: Path, array: str) -> dict[str, np.ndarray]:
    with need_h5py().File(path, "r") as file:
        return {name: np.asarray(file[name]) for name in (array, "ids", "sha256") if name in file}


_READERS: dict[str, Callable[[Path, str], dict[str, np.ndarray]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".h5": _read_h5,
}


@dataclass(frozen=True)
class _Held:
    corpus: Corpus
    rows: np.ndarray
    new: tuple[str, ...]


def _register(store: Store, name: str, encoder: str, given: _Given, key: Mapping[str, str]) -> _Held:
    """Give clips that are new their rows, after everything that could be refused was looked at."""
    sha256, n_samples = list(given.sha256), [0] * len(given.ids)
    if name in store.corpora:
        old = store.corpus(name)
        if encoder in old.encoders:
            check_key(old, encoder, key)
        row_of = {str(clip): row for row, clip in enumerate(old.clip)}
        wrong = []
        for i, clip in enumerate(given.ids):
            if clip in row_of:
                held = str(old.sha256[row_of[clip]])
                if sha256[i] not in ("", held):
                    wrong.append(clip)
                sha256[i], n_samples[i] = held, int(old.n_samples[row_of[clip]])
        if wrong:
            raise StoreError(
                f"{old.path}: {len(wrong)} clips such as {wrong[0]} have other audio (by its content hash) in the file. "
                f"Nothing was written."
            )
    columns = carried(store.corpus(name), given.ids, ()) if name in store.corpora else []
    corpus, registered = register_clips(
        store, name, clip=given.ids, sha256=sha256, n_samples=n_samples, columns=columns
    )
    grow_encoders(corpus)
    return _Held(corpus, registered.rows, registered.new)


def _about(encoder: str, source: Path, given: _Given, facts: Mapping[str, str]) -> dict[str, Any]:
    card = {
        "name": encoder,
        "family": "imported",
        "source": source.name,
        "licence": "unknown",
        "citation": "",
        "pretraining": [],
        **facts,
        "n_layers": given.values.shape[1],
        "dim": given.values.shape[2],
    }
    return {"card": card, "weights_origin": f"imported:{source.name}", "dtype": given.dtype}


def _fill(writer: EncoderWriter, given: _Given, rows: np.ndarray) -> None:
    """Commit every unit whole: ok where there are values, failed where the file has none, missing where it lacks the clip."""
    corpus = writer.encoder.corpus
    place = np.full(corpus.n_clips, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    finite = given.finite
    for unit in range(n_units(corpus.n_clips, corpus.unit_rows)):
        mine = np.arange(corpus.n_clips)[writer.encoder.unit(unit)]
        found = place[mine]
        ok = (found >= 0) & finite[found]
        pooled = np.where(ok[:, None, None], given.values[found], np.float32("nan"))
        status = np.where(ok, OK, np.where(found >= 0, FAILED, MISSING)).astype(np.uint8)
        reason = np.where(status == FAILED, "the imported file holds no values for it", "").astype(object)
        writer.commit(unit, mine, UnitData(status, reason, pooled))


def parse_facts(pairs: Sequence[str]) -> dict[str, str]:
    """Return "name=value" pairs as a dictionary. Raises `ConfigError` for anything else."""
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ConfigError([f"--fact {pair!r}: expected name=value, such as licence=CC-BY-4.0." for pair in wrong])
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}
