"""What `voxcache extract` prints before (`--dry-run`) and after its work."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from rich.console import Console
from rich.table import Table

from ..errors import ConfigError
from ..pipeline import Pipeline
from ..store import open_store
from ..store.location import is_there
from ..words import duration, size, together, with_names
from .encoders.base import SAMPLE_RATE_HZ
from .jobs import Loaded
from .plan import CorpusPlan, EncoderPlan, Estimate, estimate, plan_corpora, plan_encoders, require_readable
from .progress import Reporter, wide_console
from .run import HERE, Outcome, Where, check_options
from .session import read_clip
from .units import ClipFile

TOLD_FROM_S = 10.0
"""Shorter work is not worth a line on where its time went."""
SAMPLE_CLIPS = 4
MOST_TRIED = 16
"""Clips decoded to find so many that can be."""
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


@dataclass(frozen=True)
class Timed:
    """What one encoder would do for one corpus, and its speed on a sample; 0 where not one clip could be decoded."""

    estimate: Estimate
    x_real_time: float

    @property
    def compute_s(self) -> float:
        """Seconds of compute, 0 where no speed is known."""
        return self.estimate.hours_to_do * 3600 / self.x_real_time if self.x_real_time else 0.0

    def facts(self) -> dict[str, object]:
        """Return it as JSON-able data; what is not known is None."""
        speed = {"x_real_time": self.x_real_time, "compute_s": self.compute_s}
        return {**vars(self.estimate), **(speed if self.x_real_time else dict.fromkeys(speed))}


def print_estimates(
    pipeline: Pipeline,
    report: Reporter,
    *,
    verify: bool = False,
    retry_failed: bool = False,
    replace: Sequence[str] = (),
    where: Where = HERE,
    as_json: bool = False,
) -> None:
    """Print what extraction would do: clips, hours, bytes, and compute time from a timed sample. Writes nothing.

    Args:
        verify, retry_failed, replace, where: see `run.extract`.
        as_json: as a list with an object per corpus and encoder.

    Raises:
        ConfigError: one worker's share is asked for.
        VoxcacheError: not one clip can be read.
    """
    if where.worker is not None:
        raise ConfigError("--dry-run: not together with --worker: estimates are of the whole. Leave one of them out.")
    encoders = plan_encoders(pipeline)
    check_options(encoders, replace, where)
    corpora = plan_corpora(pipeline, report, verify=verify)
    require_readable(corpora)
    store = open_store(pipeline.store) if is_there(pipeline.store) else None
    loaded = Loaded(pipeline.extract.device, Reporter(quiet=report.quiet))
    speeds = loaded.thread.do(lambda: _speeds(encoders, _sample(corpora), loaded, pipeline))
    found = [
        Timed(
            estimate(plan, corpus, store, pipeline.extract, retry_failed=retry_failed, replace=plan.name in replace),
            speeds[plan.name],
        )
        for corpus in corpora
        for plan in encoders
    ]
    if as_json:
        print(json.dumps([timed.facts() for timed in found], indent=2))
        return
    console = wide_console()
    _print_corpora(corpora, console)
    _print_table(found, loaded, console)


def _print_corpora(corpora: Sequence[CorpusPlan], console: Console) -> None:
    for corpus in corpora:
        bad = [file.error for file in corpus.files if file.error]
        console.print(
            f"{corpus.scan.name}: {len(corpus.files)} clips, {corpus.hours:.2f} h of audio, {len(bad)} unreadable"
        )
        pairs = (
            (clip.clip, file.error) for clip, file in zip(corpus.scan.clips, corpus.files, strict=True) if file.error
        )
        for reason, clips in together(pairs).items():
            console.print(f"  {len(clips)}: {with_names(reason, clips)}", style="yellow", markup=False)


def _print_table(found: Sequence[Timed], loaded: Loaded, console: Console) -> None:
    table = Table("corpus", "encoder", "clips to do", "audio", "bytes in all", "x real time", "compute", "", box=None)
    for timed in found:
        todo = timed.estimate
        amounts = (str(todo.clips_to_do), duration(todo.hours_to_do * 3600), size(todo.n_bytes))
        times = (f"{timed.x_real_time:.0f}", duration(timed.compute_s)) if timed.x_real_time else ("-", "-")
        table.add_row(todo.corpus, todo.encoder, *amounts, *times, todo.note)
    console.print(table)
    total_bytes, total_s = sum(timed.estimate.n_bytes for timed in found), sum(timed.compute_s for timed in found)
    known = f"{duration(total_s)} of compute" if all(timed.x_real_time for timed in found) else "unknown compute"
    where = loaded.device.describe()
    console.print(f"in all {size(total_bytes)} and {known} on {where}; nothing was written")


def _speeds(
    plans: Sequence[EncoderPlan], waves: Sequence[np.ndarray], loaded: Loaded, pipeline: Pipeline
) -> dict[str, float]:
    return {plan.name: _speed(plan, waves, loaded, pipeline) for plan in plans}


def _speed(plan: EncoderPlan, waves: Sequence[np.ndarray], loaded: Loaded, pipeline: Pipeline) -> float:
    """Return seconds of audio a second, measured on a few clips, decoding left out; 0 where there are none."""
    from .calibrate import calibrate, unmeasured
    from .embed import Cutting, embed

    if not waves:
        return 0.0
    encoder = loaded.get(plan)
    cutting = Cutting(pipeline.extract.max_s, pipeline.extract.overlap_s)
    asked = pipeline.extract.batch_s
    budget = int(asked * SAMPLE_RATE_HZ) if asked else calibrate(encoder, waves, cutting)
    budget = budget or unmeasured(encoder.device)
    cutting = replace(cutting, budget_samples=budget)
    products = plan.products(pipeline.extract)
    embed(encoder, waves[:1], cutting=cutting, products=products)
    began, rounds = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SAMPLE_S or not rounds:
        embed(encoder, waves, cutting=cutting, products=products)
        rounds += 1
    return rounds * sum(map(len, waves)) / SAMPLE_RATE_HZ / elapsed


def _sample(corpora: Sequence[CorpusPlan]) -> list[np.ndarray]:
    """Return a few clips of middling length; those that cannot be decoded give way to others, a few times."""
    readable = [
        (file.n_samples, clip)
        for corpus in corpora
        for clip, file in zip(corpus.scan.clips, corpus.files, strict=True)
        if file.error is None
    ]
    readable.sort(key=lambda pair: pair[0])
    n = len(readable)
    first, last = n // 4, max(n // 4 + 1, 3 * n // 4)
    picked = range(first, last, max(1, (last - first) // SAMPLE_CLIPS))[:SAMPLE_CLIPS]
    others = sorted(set(range(n)) - set(picked), key=lambda i: abs(i - n // 2))
    sources = [readable[i] for i in (*picked, *others)][:MOST_TRIED]
    clips = (read_clip(ClipFile(0, clip.file, clip.start_s, clip.end_s, length)) for length, clip in sources)
    return list(islice((clip for clip in clips if isinstance(clip, np.ndarray)), SAMPLE_CLIPS))
