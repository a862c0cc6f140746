"""Jobs: one encoder on one corpus, registered in the store, with the clips still to embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..installed import require
from ..pipeline import Pipeline
from ..store import (
    Corpus,
    EncoderWriter,
    Products,
    Registered,
    UnitData,
    create_store,
    drop,
    register_clips,
    register_encoder,
)
from ..store.backend import remove_partials
from ..store.copying import Side, grow_encoders
from ..store.listing import MERGED
from ..store.location import place
from ..store.readback import require_readback
from ..store.recalled import recalled
from ..words import some
from .audio import cache_dir
from .config import ExtractConfig
from .devices import Device, choose_device, decode_threads
from .encoders.base import SAMPLE_RATE_HZ, Encoder, weight_bytes
from .known_weights import Identity, identity_of, remember
from .plan import CorpusPlan, EncoderPlan
from .progress import Reporter
from .threads import DeviceThread

if TYPE_CHECKING:
    from .embed import Clip, Cutting


@dataclass(frozen=True)
class Job:
    """One encoder on one corpus: what is still to do and where it goes."""

    plan: EncoderPlan
    corpus: Corpus
    writer: EncoderWriter
    todo: dict[int, np.ndarray]
    audio: CorpusPlan
    rows: np.ndarray
    """Row of each clip of `audio`, int64."""

    @property
    def n_todo(self) -> int:
        """Clips still to embed."""
        return sum(len(rows) for rows in self.todo.values())


@dataclass
class Loaded:
    """Encoders in memory on one device, each loaded when first needed; so is torch itself."""

    wanted_device: str
    report: Reporter
    encoders: dict[str, Encoder] = field(default_factory=dict)
    n_sharing: int = 1
    """Processes that share the device's memory."""
    thread: DeviceThread = field(default_factory=DeviceThread)
    """In which encoders are loaded and run."""

    @cached_property
    def device(self) -> Device:
        """Where encoders run. Asked for before the first clip is decoded.

        Raises:
            InstallError: a package that stage 1 needs does not load; else every clip would fail by its name.
            StoreError: what would be written could not be read back.
        """
        require("extract", "torch", "torchaudio", "transformers", "soundfile", "av")
        require_readback()
        return choose_device(self.wanted_device)

    def get(self, plan: EncoderPlan) -> Encoder:
        """Return the encoder, loading it if need be, and remember who it is for the next run.

        Encoders that do not fit beside it in memory are let go of, the one that was used longest ago first.
        """
        return self.thread.do(lambda: self._get(plan))

    def _get(self, plan: EncoderPlan) -> Encoder:
        if plan.name in self.encoders:
            self.encoders[plan.name] = self.encoders.pop(plan.name)
        else:
            self._make_room(plan.n_bytes)
            self.report.say(f"loading {plan.name}")
            encoder = plan.entry.load(plan.config.request(), plan.card, self.device.name)
            remember(cache_dir(), plan.fingerprint, identity_of(encoder))
            self.encoders[plan.name] = encoder
        return self.encoders[plan.name]

    def embed(self, plan: EncoderPlan, clips: Sequence[Clip], *, cutting: Cutting, products: Products) -> UnitData:
        """Return the embeddings of a few clips; see `extract.embed.embed`."""
        from .embed import embed

        return self.thread.do(lambda: embed(self._get(plan), clips, cutting=cutting, products=products))

    @property
    def memory_bytes(self) -> int:
        """What the weights of all encoders may take together."""
        return self.device.memory_bytes // self.n_sharing

    def held(self, name: str) -> Encoder | None:
        """Return an encoder that is in memory, else None; leaves the order of use as it is, so any thread may ask."""
        return self.encoders.get(name)

    @property
    def decode_workers(self) -> int:
        """Threads that read audio ahead of the encoders."""
        return decode_threads()

    def _make_room(self, n_bytes: int) -> None:
        while self.encoders and sum(map(_held_bytes, self.encoders.values())) + n_bytes > self.memory_bytes:
            self.encoders.pop(next(iter(self.encoders)))

    def identity(self, plan: EncoderPlan) -> Identity:
        """Return who the encoder is, without loading it where that is known."""
        return plan.identity or identity_of(self.get(plan))


def groups(plans: Sequence[EncoderPlan], memory_bytes: int) -> list[list[EncoderPlan]]:
    """Split encoders, in order, into groups that fit in memory together; each group goes over the audio once."""
    found: list[list[EncoderPlan]] = []
    for plan in plans:
        if found and sum(p.n_bytes for p in found[-1]) + plan.n_bytes <= memory_bytes:
            found[-1].append(plan)
        else:
            found.append([plan])
    return found


def _held_bytes(encoder: Encoder) -> int:
    return weight_bytes(encoder.card, encoder.dtype)


def register(
    pipeline: Pipeline,
    encoders: Sequence[EncoderPlan],
    corpora: Sequence[CorpusPlan],
    loaded: Loaded,
    report: Reporter,
    *,
    retry_failed: bool,
    replace: Sequence[str],
    alone: bool = True,
) -> list[Job]:
    """Register every corpus and encoder in the store, under the writer's lock, and return what is to do.

    Unless `alone`, other workers are committing units meanwhile: nothing that they rely on is removed or changed.
    """
    lies = place(pipeline.store)
    if alone and isinstance(lies, Path):
        remove_partials(
            lies
        )  # first: one that was left while a store was made would make its folder look like another's
    for encoder in encoders:
        _tell_ignored(encoder, loaded.identity(encoder), report)
    store = create_store(pipeline.store)
    jobs = []
    for plan in corpora:
        for note in plan.scan.notes:
            report.say(f"{plan.scan.name}: {note}")
        corpus, registered = register_clips(
            store,
            plan.scan.name,
            clip=[clip.clip for clip in plan.scan.clips],
            sha256=[file.sha256 for file in plan.files],
            n_samples=[file.n_samples for file in plan.files],
            columns=plan.columns(),
            about=_about(plan),
            unit_rows=pipeline.extract.unit_clips,
            others_write=not alone,
            complete=True,
        )
        corpus = store.corpus(plan.scan.name)  # read anew when asked: the ids and hashes of a million clips are 200 MB
        if alone or registered.new:  # moved clips are refused beside others
            grow_encoders(corpus)
        _tell(corpus, registered, report)
        recall = _recalled(encoders, corpus, replace, report, alone=alone)
        for name in (*replace, *recall):
            if name in corpus.encoders:
                drop(corpus.group, pipeline.store, name)
                corpus = store.corpus(plan.scan.name)
        jobs += [
            _job(encoder, corpus, plan, registered, pipeline.extract, loaded, retry_failed) for encoder in encoders
        ]
    return jobs


def _recalled(
    encoders: Sequence[EncoderPlan], corpus: Corpus, replace: Sequence[str], report: Reporter, *, alone: bool
) -> list[str]:
    """Return the encoders whose embeddings of a corpus are recalled, to be made anew, and say so."""
    names = [plan.name for plan in encoders if plan.name in corpus.encoders and plan.name not in replace]
    found = {name: why for name in names if (why := recalled(corpus.encoder(name).key))}
    if found and not alone:
        raise ConfigError(
            f"{corpus.path}/{min(found)}: its embeddings are recalled and to be made anew, while other workers may be at "
            f"them. Run `voxcache extract` once without --worker."
        )
    for name, why in found.items():
        report.say(f"{corpus.name} x {name}: the embeddings are recalled: they {why}. They are made anew.", "yellow")
    return list(found)


def _job(
    encoder: EncoderPlan,
    corpus: Corpus,
    plan: CorpusPlan,
    registered: Registered,
    settings: ExtractConfig,
    loaded: Loaded,
    retry_failed: bool,
) -> Job:
    identity = loaded.identity(encoder)
    listed = np.zeros(corpus.n_clips, dtype=bool)
    listed[registered.rows] = True
    _require_listed(corpus, encoder, listed, settings)
    writer = register_encoder(
        corpus,
        encoder.name,
        key=encoder.key(identity, settings),
        n_layers=identity.n_layers,
        dim=identity.dim,
        n_frames=_n_frames(encoder, corpus, listed),
        products=encoder.products(settings),
        about=_encoder_about(encoder, identity),
    )
    todo = {unit: rows[listed[rows]] for unit, rows in writer.todo(retry_failed=retry_failed).items()}
    return Job(encoder, corpus, writer, {unit: rows for unit, rows in todo.items() if len(rows)}, plan, registered.rows)


def _n_frames(plan: EncoderPlan, corpus: Corpus, listed: np.ndarray) -> np.ndarray:
    """Return the frames to keep of each clip, int64 [clip]: of one that is not listed those that are kept already."""
    held = Side(
        corpus.encoder(plan.name) if plan.name in corpus.encoders else None, np.arange(corpus.n_clips)
    ).lengths()
    frame = plan.card.frame
    now = [frame.n_frames(int(n)) if n else 0 for n in corpus.n_samples]
    return np.where(listed, np.array(now, dtype=np.int64), held)


def _require_listed(corpus: Corpus, plan: EncoderPlan, listed: np.ndarray, settings: ExtractConfig) -> None:
    """Raise where deviations are to be kept of clips that are embedded, but whose audio is not listed now."""
    if plan.name not in corpus.encoders:
        return
    held = corpus.encoder(plan.name)
    if held.has_std or not plan.products(settings).std:
        return
    rows = np.flatnonzero(held.ledger().ok & ~listed)
    if len(rows):
        raise ConfigError(
            f"{held.path}: standard deviations are to be kept of every clip, but {len(rows)} embedded clips are not listed "
            f"now: {some([str(clip) for clip in corpus.clip[rows]])}. List them again, remove them with `voxcache store "
            f"drop`, or ask for what was kept."
        )


def _about(plan: CorpusPlan) -> dict[str, object]:
    scan = plan.scan
    return {
        "adapter": scan.adapter,
        "licence": scan.licence,
        "citation": scan.citation,
        "homepage": scan.homepage,
        "notes": list(scan.notes),
    }


def _encoder_about(plan: EncoderPlan, identity: Identity) -> dict[str, object]:
    card = plan.card
    facts = {
        "name": card.name,
        "family": card.family,
        "source": card.source,
        "revision": card.revision,
        "licence": card.licence,
        "citation": card.citation,
        "pretraining": list(card.pretraining),
        "dim": card.dim,
        "n_layers": card.n_layers,
        "hop_samples": card.frame.hop_samples,
        "receptive_samples": card.frame.receptive_samples,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "pooling": card.pooling,
    }
    about: dict[str, object] = {"card": facts, "weights_origin": identity.weights_origin, "dtype": plan.config.dtype}
    return about | ({"ignored_tensors": dict(identity.ignored)} if identity.ignored else {})


def _tell_ignored(plan: EncoderPlan, identity: Identity, report: Reporter) -> None:
    if identity.ignored:
        parts = some([f"{part} ({n})" for part, n in identity.ignored.items()], 12)
        report.say(f"{plan.name}: the checkpoint holds more than the encoder; these tensors are ignored: {parts}")


def _tell(corpus: Corpus, registered: Registered, report: Reporter) -> None:
    if registered.changed:
        report.say(
            f"{corpus.name}: {len(registered.changed)} clips changed since they were embedded and are embedded again: "
            f"{some(registered.changed)}",
            "yellow",
        )
    if registered.moved:
        moved = [f"{before} -> {now}" for before, now in registered.moved]
        report.say(
            f"{corpus.name}: {len(moved)} clips are listed under another name, with the same audio; they keep their "
            f"embeddings: {some(moved)}",
            "yellow",
        )
    if registered.unlisted:
        report.say(
            f"{corpus.name}: {len(registered.unlisted)} clips of the store are not listed now; the store keeps them, experiments "
            f"leave them out: {some(registered.unlisted)}",
            "yellow",
        )
    if merged := int((corpus.listing.state == MERGED).sum()):
        report.say(f"{corpus.name}: {merged} clips that a merge brought in count as listed", "yellow")
