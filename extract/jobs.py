"""Jobs: one encoder on one corpus, registered in the store, with the clips still to embed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from ..pipeline import Pipeline
from ..store import Corpus, EncoderWriter, Registered, create_store, drop, register_clips, register_encoder
from ..store.backend import remove_partials
from ..store.copying import grow_encoders
from .audio import cache_dir
from .config import ExtractConfig
from .devices import Device, choose_device
from .encoders.base import SAMPLE_RATE_HZ, Encoder, weight_bytes
from .known_weights import Identity, identity_of, remember
from .plan import CorpusPlan, EncoderPlan
from .progress import Reporter
from .windows import cut_blocks

BLOCK_S = 3600.0
"""Audio held decoded at once, in seconds: 230 MB, and as much again for the block that is read ahead."""


@dataclass(frozen=True)
class Job:
    """One encoder on one corpus: what is still to do and where it goes."""

    plan: EncoderPlan
    corpus: Corpus
    writer: EncoderWriter
    todo: dict[int, np.ndarray]

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

    @cached_property
    def device(self) -> Device:
        """Where encoders run."""
        return choose_device(self.wanted_device)

    def get(self, plan: EncoderPlan) -> Encoder:
        """Return the encoder, loading it if need be, and remember who it is for the next run.

        Encoders that do not fit beside it in memory are let go of, the one that was used longest ago first.
        """
        if plan.name in self.encoders:
            self.encoders[plan.name] = self.encoders.pop(plan.name)
        else:
            self._make_room(plan.n_bytes)
            self.report.say(f"loading {plan.name}")
            encoder = plan.entry.load(plan.config.request(), plan.card, self.device.name)
            remember(cache_dir(), plan.fingerprint, identity_of(encoder))
            self.encoders[plan.name] = encoder
        return self.encoders[plan.name]

    def _make_room(self, n_bytes: int) -> None:
        while self.encoders and sum(map(_held_bytes, self.encoders.values())) + n_bytes > self.device.memory_bytes:
            self.encoders.pop(next(iter(self.encoders)))

    def groups(self, plans: Sequence[EncoderPlan]) -> list[list[EncoderPlan]]:
        """Split encoders, in order, into groups that fit in memory together; each group goes over the audio once."""
        groups: list[list[EncoderPlan]] = []
        for plan in plans:
            if groups and sum(p.n_bytes for p in groups[-1]) + plan.n_bytes <= self.device.memory_bytes:
                groups[-1].append(plan)
            else:
                groups.append([plan])
        return groups

    def identity(self, plan: EncoderPlan) -> Identity:
        """Return who the encoder is, without loading it where that is known."""
        return plan.identity or identity_of(self.get(plan))


@dataclass(frozen=True)
class Block:
    """Clips of one unit that are decoded together, and the rows that each job needs of them."""

    unit: int
    rows: list[int]


def cut_units(jobs: Sequence[Job], n_samples: np.ndarray, unit_rows: int) -> Iterator[Block]:
    """Yield blocks in order. Their bounds depend on the unit alone, so that a resumed run cuts the same batches."""
    for unit in sorted({unit for job in jobs for unit in job.todo}):
        needed = {int(row) for job in jobs for row in job.todo.get(unit, ())}
        members = range(unit * unit_rows, min((unit + 1) * unit_rows, len(n_samples)))
        cut = cut_blocks(
            members, [int(n) for n in n_samples[members.start : members.stop]], int(BLOCK_S * SAMPLE_RATE_HZ)
        )
        for rows in cut:
            if wanted := [row for row in rows if row in needed]:
                yield Block(unit, wanted)


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
) -> list[Job]:
    """Register every corpus and encoder in the store, under the writer lock, and return what is to do."""
    store = create_store(pipeline.store)
    remove_partials(Path(pipeline.store))
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
        )
        if registered.new:
            grow_encoders(corpus)
        _tell(corpus, registered, report)
        for name in replace:
            if name in corpus.encoders:
                drop(corpus.group, pipeline.store, name)
                corpus = store.corpus(plan.scan.name)
        jobs += [
            _job(encoder, corpus, plan, registered, pipeline.extract, loaded, retry_failed) for encoder in encoders
        ]
    return jobs


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
    frame = encoder.card.frame
    listed = np.zeros(corpus.n_clips, dtype=bool)
    listed[registered.rows] = True
    _require_listed(corpus, encoder, listed, settings)
    writer = register_encoder(
        corpus,
        encoder.name,
        key=encoder.key(identity, settings),
        n_layers=identity.n_layers,
        dim=identity.dim,
        n_frames=np.array([frame.n_frames(int(n)) if n else 0 for n in corpus.n_samples], dtype=np.int64),
        products=encoder.products(settings),
        about=_encoder_about(encoder, identity),
    )
    todo = {unit: rows[listed[rows]] for unit, rows in writer.todo(retry_failed=retry_failed).items()}
    return Job(encoder, corpus, writer, {unit: rows for unit, rows in todo.items() if len(rows)})


def _require_listed(corpus: Corpus, plan: EncoderPlan, listed: np.ndarray, settings: ExtractConfig) -> None:
    """Raise where something new is to be kept of clips that are embedded, but whose audio is not listed now."""
    if plan.name not in corpus.encoders:
        return
    held = corpus.encoder(plan.name)
    if set(plan.products(settings).names()) <= set(held.products.names()):
        return
    rows = np.flatnonzero(held.ledger().ok & ~listed)
    if len(rows):
        raise ConfigError(
            f"{held.path}: more is to be kept of every clip than before, but {len(rows)} embedded clips are not listed "
            f"now: {_some([str(clip) for clip in corpus.clip[rows]])}. List them again, or ask for what was kept."
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
    }
    return {"card": facts, "weights_origin": identity.weights_origin, "dtype": plan.config.dtype}


def _tell(corpus: Corpus, registered: Registered, report: Reporter) -> None:
    if registered.changed:
        report.say(
            f"{corpus.name}: {len(registered.changed)} clips changed since they were embedded and are embedded again: "
            f"{_some(registered.changed)}",
            "yellow",
        )
    if registered.unlisted:
        report.say(
            f"{corpus.name}: {len(registered.unlisted)} clips of the store are not listed now; what is there stays: "
            f"{_some(registered.unlisted)}",
            "yellow",
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
