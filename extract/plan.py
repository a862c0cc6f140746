"""What there is to do: corpora scanned, encoders resolved, and for each pair the clips still to embed. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError, EncoderError, VoxcacheError
from ..pipeline import Pipeline
from ..store import ColumnData, Corpus, Store
from ..store.listing import moved_rows
from ..store.recalled import recalled
from ..store.schema import FAILED, FILE_COLUMN, OK, START_COLUMN, Products, node_name
from ..words import together, with_names
from .audio import RESAMPLER, FileIndex, Scanned, cache_dir
from .config import EncoderConfig, ExtractConfig
from .corpora import CorpusScan, scan_corpus
from .encoders.base import SAMPLE_RATE_HZ, Card, Entry, Scalar, weight_bytes
from .encoders.registry import fingerprint, resolve
from .known_weights import Identity, recall
from .progress import Reporter
from .windows import window_samples


@dataclass(frozen=True)
class CorpusPlan:
    """A corpus as found on disk: `scan` from its adapter, `files` with one `Scanned` a clip."""

    scan: CorpusScan
    files: tuple[Scanned, ...]

    @property
    def hours(self) -> float:
        """Audio that can be read, in hours."""
        return sum(file.n_samples for file in self.files) / SAMPLE_RATE_HZ / 3600

    def columns(self) -> list[ColumnData]:
        """Return the label columns in the store's form; what a clip lacks is "" or NaN."""
        given = [
            ColumnData(column.name, column.role, self._values(column.name, column.kind), column.description)
            for column in self.scan.columns
        ]
        return [*given, *self._parts({column.name for column in given})]

    def _parts(self, taken: set[str]) -> list[ColumnData]:
        """Return which part of which file a clip is, where some are parts: so that overlapping ones can be found later."""
        parts = any(clip.start_s or clip.end_s is not None for clip in self.scan.clips)
        if not parts or {FILE_COLUMN, START_COLUMN} & taken:
            return []
        files = np.array([file.file_sha256 for file in self.files], dtype=object)
        start_s = np.array([clip.start_s or 0.0 for clip in self.scan.clips])
        return [
            ColumnData(FILE_COLUMN, "meta", files, "sha256 of the bytes of the file that the clip is a part of"),
            ColumnData(START_COLUMN, "meta", start_s, "where the clip begins in its file, in seconds"),
        ]

    def _values(self, name: str, kind: str) -> np.ndarray:
        if kind == "float":
            return np.array([clip.values.get(name, np.nan) for clip in self.scan.clips], dtype=np.float64)
        return np.array([str(clip.values.get(name, "")) for clip in self.scan.clips], dtype=object)


@dataclass(frozen=True)
class EncoderPlan:
    """An encoder as asked for: its card, how to load it, its name in the store, and what is known of its weights."""

    config: EncoderConfig
    card: Card
    entry: Entry
    name: str
    identity: Identity | None

    @property
    def fingerprint(self) -> dict[str, object]:
        """What stands for the weights while they are not loaded."""
        return dict(fingerprint(self.config.request()))

    @property
    def is_random(self) -> bool:
        """True where the weights are made, not learned."""
        return (self.config.weights or self.card.weights) == "random"

    @property
    def n_bytes(self) -> int:
        """Bytes the weights take in memory."""
        return weight_bytes(self.card, self.config.dtype)

    def products(self, settings: ExtractConfig) -> Products:
        """Return what is to be kept. Raises `ConfigError` for a layer the encoder does not have."""
        layers = {self.card.n_layers - 1 if layer == "last" else int(layer) for layer in self.config.frames}
        wrong = sorted(layer for layer in layers if not 0 <= layer < self.card.n_layers)
        if wrong:
            raise ConfigError(
                f"encoder {self.name}: frames of layer {wrong[0]}: expected 0 to {self.card.n_layers - 1} or last. "
                f"`voxcache encoders {self.config.name}` shows its layers."
            )
        return Products("std" in settings.statistics, tuple(sorted(layers)), settings.frames_dtype)

    def key(self, identity: Identity, settings: ExtractConfig) -> dict[str, Scalar]:
        """Return the cache key: everything but the audio that can change a number in the store."""
        windows: dict[str, Scalar] = {}
        longest = window_samples(self.card, settings.max_s)
        if longest is not None:
            windows = {"window_samples": longest, "overlap_s": settings.overlap_s}
        return {
            **identity.preprocessing,
            **windows,
            "weights": identity.weights_sha256,
            "dtype": self.config.dtype,
            "resampler": RESAMPLER,
            "downmix": "mean",
            "pooling": "mean over own frames",
        }


def plan_encoders(pipeline: Pipeline) -> list[EncoderPlan]:
    """Resolve every encoder asked for, and look at checkpoints, configurations and feature extractors.

    Raises:
        ConfigError, EncoderError: all that is wrong with them.
    """
    plans: list[EncoderPlan] = []
    problems: list[str] = []
    unfit: list[str] = []
    for i, config in enumerate(pipeline.encoders):
        try:
            plans.append(plan_encoder(config))
            plans[-1].products(pipeline.extract)
        except ConfigError as error:
            problems += [f"$.encoders[{i}]: {problem}" for problem in error.problems]
        except EncoderError as error:
            unfit.append(str(error))
    names = [plan.name for plan in plans]
    problems += [
        f"$.encoders: {name!r} stands there twice. Give one of them another name with `as:`."
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if not pipeline.encoders:
        problems.append("$.encoders: none asked for. `voxcache encoders` lists what there is.")
    if problems:
        raise ConfigError([*problems, *unfit])
    if unfit:
        raise EncoderError("\n".join(unfit))
    return plans


def plan_encoder(config: EncoderConfig) -> EncoderPlan:
    """Resolve one encoder, and check what it is loaded from unless a run has loaded just that before.

    Raises:
        ConfigError, EncoderError: what is wrong with it.
    """
    card, entry = resolve(config.request())
    random = (config.weights or card.weights) == "random"
    plain = config.name + ("-random" if random and not config.name.endswith("-random") else "")
    name = node_name("encoder", config.store_as or plain)
    if random and "random" not in name:
        raise ConfigError(f"encoder {name}: random weights must say so; put `random` in its `as:` name.")
    identity = recall(cache_dir(), dict(fingerprint(config.request())))
    if identity is None and entry.check is not None:
        entry.check(config.request(), card)
    return EncoderPlan(config, card, entry, name, identity)


def plan_corpora(
    pipeline: Pipeline, report: Reporter, *, verify: bool = False, share: tuple[int, int] = (1, 1)
) -> list[CorpusPlan]:
    """Scan every corpus and look at every file; unchanged files are known by size and time unless `verify`.

    Args:
        share: (i, n) for the i-th of n workers that do so at once; see `FileIndex.scan`.

    Raises:
        ConfigError: all that is wrong with manifests and folders; bad audio files are not errors here.
    """
    problems: list[str] = []
    scans: list[CorpusScan] = []
    for name, config in pipeline.corpora.items():
        try:
            scans.append(scan_corpus(node_name("corpus", name), config))
        except ConfigError as error:
            problems += [f"corpus {name}: {problem}" for problem in error.problems]
    if not pipeline.corpora:
        problems.append(
            "$.corpora: none given. Name a manifest, a folder with one folder per class, or `adapter: synthetic`."
        )
    if problems:
        raise ConfigError(problems)
    index = FileIndex()
    plans = []
    for scan in scans:
        with report.counting(f"reading {scan.name}", "files") as progress:
            files = index.scan(
                scan.clips, verify=verify, workers=pipeline.extract.workers, share=share, progress=progress
            )
        plans.append(CorpusPlan(scan, tuple(files)))
    return plans


@dataclass(frozen=True)
class Estimate:
    """What one encoder would do for one corpus: clips and audio still to embed, bytes the whole will take."""

    corpus: str
    encoder: str
    clips_to_do: int
    hours_to_do: float
    n_bytes: int
    note: str = ""


def estimate(
    plan: EncoderPlan,
    corpus: CorpusPlan,
    store: Store | None,
    settings: ExtractConfig,
    *,
    retry_failed: bool = False,
    replace: bool = False,
) -> Estimate:
    """Say what extraction would do, writing nothing; `retry_failed` and `replace` as in `run.extract`."""
    todo, note = _to_do(plan, corpus, None if replace else store, settings, (OK,) if retry_failed else (OK, FAILED))
    hours = sum(corpus.files[i].n_samples for i in todo) / SAMPLE_RATE_HZ / 3600
    n_bytes = expected_bytes(plan, [file.n_samples for file in corpus.files], settings)
    return Estimate(corpus.scan.name, plan.name, len(todo), hours, n_bytes, note)


def expected_bytes(plan: EncoderPlan, n_samples: Sequence[int], settings: ExtractConfig) -> int:
    """Return the bytes that pooled vectors and kept frames of clips of these lengths take, shard padding left out."""
    products = plan.products(settings)
    card = plan.card
    pooled = len(n_samples) * card.n_layers * card.dim * 4 * (2 if products.std else 1)
    width = 2 if products.frames_dtype == "float16" else 4
    frames = sum(card.frame.n_frames(n) for n in n_samples) if products.frames else 0
    return pooled + frames * card.dim * width * len(products.frames)


def _to_do(
    plan: EncoderPlan, corpus: CorpusPlan, store: Store | None, settings: ExtractConfig, finished: Sequence[int]
) -> tuple[list[int], str]:
    everything = list(range(len(corpus.files)))
    name = corpus.scan.name
    if store is None or name not in store.corpora or plan.name not in store.corpus(name).encoders:
        return everything, ""
    held = store.corpus(name)
    encoder = held.encoder(plan.name)
    if recalled(encoder.key):
        return everything, "what is there is recalled and made anew"
    if plan.identity is not None and dict(encoder.key) != plan.key(plan.identity, settings):
        return everything, "made from something else; extract will say from what"
    if not set(plan.products(settings).names()) <= set(encoder.products.names()):
        return everything, "asks for more than is kept"
    known = _known_rows(held, corpus)
    status = encoder.ledger().status
    todo = [i for i in everything if (row := known[i]) is None or status[row] not in finished]
    return todo, ""


def _known_rows(held: Corpus, plan: CorpusPlan) -> list[int | None]:
    """Return the row that each listed clip has with the audio that it has now, None where there is none."""
    row_of = {str(clip): row for row, clip in enumerate(held.clip)}
    listed = [(clip.clip, file.sha256) for clip, file in zip(plan.scan.clips, plan.files, strict=True)]
    moved = moved_rows(row_of, held.sha256, held.listing.state, listed)
    rows = [moved.get(clip, row_of.get(clip)) for clip, _ in listed]
    return [
        row if row is not None and held.sha256[row] == sha else None for row, (_, sha) in zip(rows, listed, strict=True)
    ]


def require_readable(corpora: Sequence[CorpusPlan]) -> None:
    """Raise unless at least one clip of all corpora can be read."""
    if any(file.error is None for corpus in corpora for file in corpus.files):
        return
    found = together(
        (clip.clip, file.error or "")
        for corpus in corpora
        for clip, file in zip(corpus.scan.clips, corpus.files, strict=True)
    )
    reasons = [f"{len(clips)}: {with_names(reason, clips)}" for reason, clips in found.items()][:3]
    raise VoxcacheError(
        f"no clip can be read, of {sum(len(corpus.files) for corpus in corpora)}: {'; '.join(reasons)}. "
        f"Check `root:` and the manifest's paths."
    )
