"""What `voxcache extract` prints before (`--dry-run`) and after its work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from ..pipeline import Pipeline
from ..store import Store, open_store
from ..store.location import is_there
from ..words import duration, size
from .audio import load
from .encoders.base import SAMPLE_RATE_HZ
from .jobs import Loaded
from .plan import CorpusPlan, EncoderPlan, estimate, plan_corpora, plan_encoders
from .progress import Reporter, wide_console
from .run import Outcome

TOLD_FROM_S = 10.0
"""Shorter work is not worth a line on where its time went."""
SAMPLE_CLIPS = 4
SAMPLE_S = 0.5
"""Each encoder is timed for at least this long."""


def print_outcomes(outcomes: Sequence[Outcome], report: Reporter) -> None:
    """Print a row per corpus and encoder, then why clips failed."""
    if report.quiet:
        return
    table = Table("corpus", "encoder", "ok", "failed", "missing", "embedded now", "audio", "x real time", box=None)
    for o in outcomes:
        speed = f"{o.audio_s / o.busy_s:.0f}" if o.busy_s else "-"
        missing = o.counts["missing"] + o.counts["stale"]
        counts = (f"{o.counts['ok']} of {o.n_clips}", str(o.counts["failed"]), str(missing), str(o.embedded))
        table.add_row(o.corpus, o.encoder, *counts, duration(o.audio_s), speed)
    report.console.print(table)
    for o in outcomes:
        report.say(_where_time_went(o))
    said: set[tuple[str, str]] = set()
    for o in outcomes:
        for reason, count in o.reasons.items():
            if (o.corpus, reason) not in said:
                said.add((o.corpus, reason))
                report.say(f"{o.corpus}: {count} failed: {reason}", "yellow")


def _where_time_went(o: Outcome) -> str:
    if not o.spent or o.spent["compute_s"] + o.spent["write_s"] < TOLD_FROM_S:
        return ""
    parts = (
        ("compute_s", "computing"),
        ("wait_s", "waiting for the device"),
        ("decode_s", "decoding"),
        ("write_s", "writing"),
    )
    told = ", ".join(f"{duration(o.spent[name])} {word}" for name, word in parts)
    return f"{o.corpus} x {o.encoder}: {told} (of different units at once)"


def print_estimates(pipeline: Pipeline, report: Reporter) -> None:
    """Print what extraction would do: clips, hours, bytes, and compute time from a timed sample. Writes nothing."""
    encoders = plan_encoders(pipeline)
    corpora = plan_corpora(pipeline, report)
    store = open_store(pipeline.store) if is_there(pipeline.store) else None
    console = wide_console()
    for corpus in corpora:
        bad = [file.error for file in corpus.files if file.error]
        console.print(
            f"{corpus.scan.name}: {len(corpus.files)} clips, {corpus.hours:.2f} h of audio, {len(bad)} unreadable"
        )
        for reason in sorted(set(bad))[:5]:
            console.print(f"  {reason}", style="yellow", markup=False)
    _print_table(pipeline, encoders, corpora, store, console)


def _print_table(
    pipeline: Pipeline,
    encoders: Sequence[EncoderPlan],
    corpora: Sequence[CorpusPlan],
    store: Store | None,
    console: Console,
) -> None:
    loaded = Loaded(pipeline.extract.device, Reporter())
    speeds = loaded.thread.do(lambda: _speeds(encoders, _sample(corpora), loaded, pipeline))
    table = Table("corpus", "encoder", "clips to do", "audio", "bytes in all", "x real time", "compute", "", box=None)
    total_bytes, total_s = 0, 0.0
    for corpus in corpora:
        for plan in encoders:
            todo = estimate(plan, corpus, store, pipeline.extract)
            seconds = todo.hours_to_do * 3600 / speeds[plan.name]
            total_bytes, total_s = total_bytes + todo.n_bytes, total_s + seconds
            amounts = (str(todo.clips_to_do), duration(todo.hours_to_do * 3600), size(todo.n_bytes))
            table.add_row(
                corpus.scan.name, plan.name, *amounts, f"{speeds[plan.name]:.0f}", duration(seconds), todo.note
            )
    console.print(table)
    where = loaded.device.describe()
    console.print(f"in all {size(total_bytes)} and {duration(total_s)} of compute on {where}; nothing was written")


def _speeds(
    plans: Sequence[EncoderPlan], waves: Sequence[np.ndarray], loaded: Loaded, pipeline: Pipeline
) -> dict[str, float]:
    return {plan.name: _speed(plan, waves, loaded, pipeline) for plan in plans}


def _speed(plan: EncoderPlan, waves: Sequence[np.ndarray], loaded: Loaded, pipeline: Pipeline) -> float:
    """Return seconds of audio a second, measured on a few clips, decoding left out."""
    from .calibrate import calibrate
    from .embed import Cutting, embed

    encoder = loaded.get(plan)
    cutting = Cutting(pipeline.extract.max_s, pipeline.extract.overlap_s)
    asked = pipeline.extract.batch_s
    budget = int(asked * SAMPLE_RATE_HZ) if asked else calibrate(encoder, waves, cutting)
    cutting = replace(cutting, budget_samples=budget)
    products = plan.products(pipeline.extract)
    embed(encoder, waves[:1], cutting=cutting, products=products)
    began, rounds = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SAMPLE_S or not rounds:
        embed(encoder, waves, cutting=cutting, products=products)
        rounds += 1
    return rounds * sum(map(len, waves)) / SAMPLE_RATE_HZ / elapsed


def _sample(corpora: Sequence[CorpusPlan]) -> list[np.ndarray]:
    readable = [
        (file.n_samples, clip)
        for corpus in corpora
        for clip, file in zip(corpus.scan.clips, corpus.files, strict=True)
        if file.error is None
    ]
    readable.sort(key=lambda pair: pair[0])
    middle = readable[len(readable) // 4 : max(len(readable) // 4 + 1, 3 * len(readable) // 4)]
    return [
        load(clip.path, clip.start_s, clip.end_s)
        for _, clip in middle[:: max(1, len(middle) // SAMPLE_CLIPS)][:SAMPLE_CLIPS]
    ]
