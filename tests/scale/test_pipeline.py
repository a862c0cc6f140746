"""One process: memory that is too small, a disk that is too slow, units that fail; fakes stand for what no test machine has."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_files import tone, write_wav
from objects import assert_same
from small_run import small

from voxcache.errors import EncoderError, RunError
from voxcache.extract import calibrate, compiling, dispatch
from voxcache.extract import session as session_module
from voxcache.extract.calibrate import CPU_BUDGETS_S
from voxcache.extract.encoders.acoustic import ENTRIES
from voxcache.extract.encoders.acoustic_model import AcousticEncoder
from voxcache.extract.encoders.base import SAMPLE_RATE_HZ, Emit, Request
from voxcache.extract.jobs import Loaded
from voxcache.extract.pooling import AllWindows, EachWindow, Pool
from voxcache.extract.progress import Reporter
from voxcache.extract.run import Outcome, extract
from voxcache.extract.session import LANES
from voxcache.extract.windows import Window
from voxcache.pipeline import Pipeline
from voxcache.store import EncoderWriter, Products, Store, open_store
from voxcache.store.read import open_root

QUIET = Reporter(quiet=True)


class SmallMemory(AcousticEncoder):
    """logmel on a device that is faked to hold `room` padded samples at once: more raises as CUDA does."""

    room = 16_000 * 3

    def __init__(self) -> None:
        super().__init__(Request(name="logmel"), ENTRIES["logmel"].card, "cpu")
        self.refused = 0

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        if waves.numel() > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory (a test's fake)")
        super().encode(waves, n_samples, emit)


class Shrinking(SmallMemory):
    """A device that other programs fill while the run goes on, and on which a batch costs as much as one clip."""

    room = 1 << 40

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        time.sleep(0.01)
        super().encode(waves, n_samples, emit)


def open_writer(store: Path) -> EncoderWriter:
    """Return what writes to logmel."""
    encoder = Store(open_root(store, writable=True), str(store)).corpus("bursts").encoder("logmel")
    return EncoderWriter(encoder, encoder.products)


def run(config: Pipeline, encoder: AcousticEncoder | None = None, **options: Any) -> list[Outcome]:
    """Extract with a fake in the place of logmel."""
    loaded = Loaded("cpu", QUIET, {"logmel": encoder} if encoder else {})
    return extract(config, QUIET, loaded=loaded, **options)


def logmel(folder: Path, store: str, **settings: object) -> Pipeline:
    """Return the small pipeline with logmel alone."""
    return small(folder, store, encoders=["logmel"], extract={"unit_clips": 4, "batch_s": 5, **settings})


def test_a_batch_that_does_not_fit_halves_the_budget_once_and_for_all(whole: Path, tmp_path: Path) -> None:
    """After the first refusals no batch is too large any more, the values are the same, and the store and log say so."""
    fake = SmallMemory()
    run(logmel(whole, "roomy.zarr"))
    run(logmel(whole, "halved.zarr"), fake, log=tmp_path / "log.jsonl")
    assert 1 <= fake.refused <= 3
    a, b = (open_store(whole / name).corpus("bursts").encoder("logmel") for name in ("halved.zarr", "roomy.zarr"))
    np.testing.assert_allclose(a.pooled(), b.pooled(), rtol=1e-5, atol=1e-6)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["encoder"] for e in events if e["event"] == "halved"] == ["logmel"] * fake.refused


def test_a_clip_that_does_not_fit_alone_fails_and_the_others_do_not(whole: Path) -> None:
    """With room for some clips only, the longer ones end in the ledger with what to do; nothing stops."""
    fake = SmallMemory()
    samples = open_store(whole / "whole.zarr").corpus("bursts").n_samples
    fake.room = int(np.median(samples))
    outcome = run(logmel(whole, "tight.zarr"), fake)[0]
    assert outcome.counts["failed"] == int((samples > fake.room).sum()) > 0
    assert outcome.counts["ok"] == int((samples <= fake.room).sum()) > 0
    assert "did not fit in the memory of cpu with logmel, even alone; lower `max_s`" in next(iter(outcome.reasons))


def test_a_halved_budget_is_remembered_by_the_next_run(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What calibration chose and a fuller device refused later is lowered in the store, and never tried again."""
    store = whole / "remembered.zarr"
    fake = Shrinking()
    longest = int(open_store(whole / "whole.zarr").corpus("bursts").n_samples.max())
    commit = EncoderWriter.commit

    def fill_up(self: EncoderWriter, unit: int, *args: Any, **options: Any) -> None:
        commit(self, unit, *args, **options)
        fake.room = longest

    monkeypatch.setattr(EncoderWriter, "commit", fill_up)
    monkeypatch.setattr(calibrate, "SHARE", 100.0)  # measured, short as the run is
    run(logmel(whole, "remembered.zarr", batch_s=None), fake)
    assert fake.refused >= 1
    kept = open_store(store).corpus("bursts").encoder("logmel").attrs["batch_samples"]
    assert kept["cpu"] <= longest < CPU_BUDGETS_S[0] * SAMPLE_RATE_HZ

    refused = fake.refused
    writer = open_writer(store)
    for unit in range(4):
        writer.forget(unit)
    run(logmel(whole, "remembered.zarr", batch_s=None), fake)
    assert fake.refused == refused


def test_where_nothing_fits_the_run_ends_with_a_sentence(whole: Path) -> None:
    """A device without room for a single clip is not the clips' fault: none is marked as failed."""
    fake = SmallMemory()
    fake.room = 10
    with pytest.raises(EncoderError, match="logmel on cpu: not one clip fits in its memory, even alone"):
        run(logmel(whole, "full.zarr"), fake)
    counts = open_store(whole / "full.zarr").corpus("bursts").encoder("logmel").ledger().counts()
    assert counts["missing"] == 36


def test_a_unit_without_a_readable_clip_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a unit of silence a device without room for a single clip is still found out, and no clip is blamed for it."""
    for label, samples in (("a", 0 * tone(3, 16_000)), ("b", tone(1, 16_000))):
        (tmp_path / "audio" / label).mkdir(parents=True)
        for i in range(4):
            write_wav(tmp_path / "audio" / label / f"{i}.wav", samples, 16_000)
    corpora = {"bursts": {"adapter": "folders", "root": str(tmp_path / "audio")}}
    settings = {"unit_clips": 4, "batch_s": 5}
    fake = SmallMemory()
    fake.room = 10
    monkeypatch.setattr(dispatch, "LANES", 1)
    with pytest.raises(EncoderError, match="not one clip fits in its memory"):
        run(small(tmp_path, encoders=["logmel"], corpora=corpora, extract=settings), fake)
    counts = open_store(tmp_path / "s.zarr").corpus("bursts").encoder("logmel").ledger().counts()
    assert (counts["failed"], counts["missing"]) == (4, 4)


def test_a_budget_is_lowered_in_the_store_and_never_raised(whole: Path) -> None:
    """Of two writers that each know an old state the smaller figure stands, and those of other devices stay."""
    run(logmel(whole, "lowered.zarr"))
    one, other = open_writer(whole / "lowered.zarr"), open_writer(whole / "lowered.zarr")
    one.settle("batch_samples", {"cpu": 800})
    one.lower("batch_samples", {"cpu": 100})
    one.settle("batch_samples", {"cuda H200": 5000})
    assert other.lower("batch_samples", {"cpu": 200}) == {"cpu": 100, "cuda H200": 5000}
    assert open_writer(whole / "lowered.zarr").reader().attrs["batch_samples"] == {"cpu": 100, "cuda H200": 5000}


@pytest.mark.parametrize("held", [True, False])
def test_an_encoder_is_compiled_once_whether_it_is_in_memory_or_not(
    whole: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """`compile: true` holds from the first run on, in the thread of the device, for nine units in three lanes."""
    compiled: list[tuple[object, str]] = []

    def note(encoder: object) -> int:
        compiled.append((encoder, threading.current_thread().name))
        time.sleep(0.05)
        return 0

    monkeypatch.setattr(compiling, "compile_blocks", note)
    fake = SmallMemory() if held else None
    run(logmel(whole, f"compiled-{held}.zarr", compile=True), fake)
    assert [name.partition("_")[0] for _, name in compiled] == ["device"]
    assert fake is None or compiled[0][0] is fake


def test_a_slow_disk_slows_the_run_and_fills_no_memory(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While every commit takes long, no more units are decoded than there are lanes."""
    lock, decoded, committed, most = threading.Lock(), 0, 0, 0
    read, commit = session_module.read_clip, EncoderWriter.commit

    def counted_read(file: Any) -> Any:
        nonlocal decoded, most
        with lock:
            decoded += 1
            most = max(most, decoded - committed)
        return read(file)

    def slow_commit(self: EncoderWriter, unit: int, rows: np.ndarray, data: Any, **options: Any) -> None:
        nonlocal committed
        time.sleep(0.2)
        commit(self, unit, rows, data, **options)
        with lock:
            committed += len(rows)

    monkeypatch.setattr(session_module, "read_clip", counted_read)
    monkeypatch.setattr(EncoderWriter, "commit", slow_commit)
    assert run(logmel(whole, "slow.zarr"))[0].counts["ok"] == 36
    assert most <= LANES * 4, "clips of a unit: 4"


def test_a_unit_that_fails_for_a_moment_is_tried_again(
    whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A network store that times out twice costs two attempts, and the result is as if it had not."""
    run(logmel(whole, "calm.zarr"))
    commit, failures = EncoderWriter.commit, iter([True, False, True])

    def shaky(self: EncoderWriter, *arguments: Any, **options: Any) -> None:
        if next(failures, False):
            raise TimeoutError("the store did not answer (a test's fake)")
        commit(self, *arguments, **options)

    monkeypatch.setattr(EncoderWriter, "commit", shaky)
    assert run(logmel(whole, "shaky.zarr"), log=tmp_path / "log.jsonl")[0].counts["ok"] == 36
    assert_same(whole / "shaky.zarr", whole / "calm.zarr")
    assert (tmp_path / "log.jsonl").read_text().count('"event": "retry"') == 2


def test_a_unit_that_always_fails_is_named_and_all_others_are_done(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three attempts the run goes on without it, ends with an error that names it, and the rows stay missing."""
    commit = EncoderWriter.commit

    def broken(self: EncoderWriter, unit: int, *arguments: Any, **options: Any) -> None:
        if unit == 4:
            raise TimeoutError("the store did not answer (a test's fake)")
        commit(self, unit, *arguments, **options)

    monkeypatch.setattr(EncoderWriter, "commit", broken)
    with pytest.raises(RunError, match="1 units could not be done; all others are finished and kept:") as caught:
        run(logmel(whole, "broken.zarr"))
    assert "\n  bursts, unit 4 (logmel): TimeoutError: the store did not answer" in str(caught.value)
    status = open_store(whole / "broken.zarr").corpus("bursts").encoder("logmel").ledger().status
    assert np.flatnonzero(status != 1).tolist() == [16, 17, 18, 19]


def test_what_always_fails_ends_the_run_before_the_night_is_over(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three units lost before any was done are enough."""
    tried: list[int] = []

    def broken(self: EncoderWriter, unit: int, *_arguments: Any, **_options: Any) -> None:
        tried.append(unit)
        raise TimeoutError("the store did not answer (a test's fake)")

    monkeypatch.setattr(EncoderWriter, "commit", broken)
    with pytest.raises(RunError, match=r"3 units could not be done[\s\S]*Nothing else was tried"):
        run(logmel(whole, "hopeless.zarr"))
    assert len(set(tried)) <= 3 + LANES


def test_pooling_at_once_equals_pooling_window_by_window() -> None:
    """What a GPU does in a few kernels gives the means, deviations and frames of the other way, padding NaN or not."""
    encoder = SmallMemory()
    states = torch.randn(3, 50, encoder.card.dim, generator=torch.Generator().manual_seed(0))
    windows = [Window(0, 0, 8000, 0, 50), Window(1, 0, 6000, 2, 31), Window(2, 0, 100, 0, 1)]
    states[1, 35:] = states[2, 1:] = float("nan")
    products = Products(std=True, frames=(0,), frames_dtype="float32")
    one, other = Pool(encoder, windows, products), Pool(encoder, windows, products)
    EachWindow(one, windows, [0, 1, 2]).add(0, states)
    AllWindows.of(other, windows, [0, 1, 2]).add(0, states)
    a, b = one.finish([8000, 6000, 100]), other.finish([8000, 6000, 100])
    np.testing.assert_allclose(a.pooled, b.pooled, rtol=1e-5, atol=1e-6)
    assert a.pooled_std is not None and b.pooled_std is not None  # noqa: PT018
    np.testing.assert_allclose(a.pooled_std, b.pooled_std, rtol=1e-5, atol=1e-6)
    for got, expected in zip(b.frames[0], a.frames[0], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_every_event_of_a_run_is_a_line_of_json_with_its_time(whole: Path, tmp_path: Path) -> None:
    """The log begins with the start, ends with the end, and has one line a unit and encoder in between."""
    run(logmel(whole, "logged.zarr"), log=tmp_path / "a" / "log.jsonl")
    events = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == ["run_started", *["unit_done"] * 9, "finished"]
    assert events[0]["todo"] == {"bursts/logmel": 36}
    assert {event["unit"] for event in events[1:-1]} == set(range(9))
    assert all(event["time"].endswith("+00:00") for event in events)
    assert {"decode_s", "wait_s", "compute_s", "write_s", "audio_s", "x_real_time"} <= set(events[1])
    assert str(tmp_path) not in json.dumps(events)


def test_the_profile_is_kept_in_the_store(whole: Path) -> None:
    """The root's attributes say where the time of the last runs went, and verification accepts them."""
    run(logmel(whole, "profiled.zarr"))
    runs = open_store(whole / "profiled.zarr").attrs["runs"]
    assert runs[-1]["profile"]["bursts/logmel"]["n_clips"] == 36
    assert runs[-1]["devices"] == ["cpu"]


def test_a_decoders_own_bug_costs_one_clip_and_is_named(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw stands beside its clip with its text, the folder left out; a retry gets through."""
    load = session_module.load

    def buggy(path: Path, *part: float | None) -> Any:
        if path.name == "s03_scream_002.wav":
            raise RuntimeError(f"{path}: thread pool is gone")
        return load(path, *part)

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "load", buggy)
        outcome = run(logmel(whole, "buggy.zarr"))[0]
    assert outcome.counts["failed"] == 1
    assert next(iter(outcome.reasons)) == (
        "cannot be decoded (RuntimeError: s03_scream_002.wav: thread pool is gone). Check the file, then add --retry-failed "
        "(scream/s03_scream_002.wav)"
    )
