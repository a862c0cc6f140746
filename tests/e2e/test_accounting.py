"""Listed = used + left out by reason, in every output of one run that has every kind of exclusion; interrupted runs, too."""

from __future__ import annotations

import csv
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from bad_files import tone, write_wav
from command import voxcache

from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import Pipeline, check
from voxcache.store import EncoderWriter, open_store
from voxcache.words import together, with_names

N, UNLABELLED, EMPTY, GONE = 30, (4, 5), (10, 11, 12, 13, 14), (20, 21, 22)
LISTED, USED = N - len(GONE), N - len(GONE) - len(UNLABELLED) - len(EMPTY)
PIPELINE = """
store: s.zarr
corpora: {mine: {manifest: clips.csv}}
encoders: [logmel]
train: {heads: [logreg], seeds: [0], split: {folds: 2}}
"""


def listing(folder: Path, rows: range | list[int]) -> None:
    """List some clips; two have no label."""
    lines = [(f"t{i:02}.wav", "NA" if i in UNLABELLED else "ab"[i % 2]) for i in rows]
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *lines])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 clips: 2 without a label, 5 that are empty, 3 that are listed no longer; and what `run` printed of them."""
    folder = tmp_path_factory.mktemp("accounting")
    for i in range(N):
        write_wav(folder / f"t{i:02}.wav", tone(0.2 + 0.01 * i, 16_000, hz=200 + 300 * (i % 2) + 7 * i), 16_000)
    for i in EMPTY:
        (folder / f"t{i:02}.wav").write_bytes(b"")
    (folder / "p.yaml").write_text(PIPELINE)
    listing(folder, range(N))
    voxcache("extract", "p.yaml", "--quiet", cwd=folder)
    listing(folder, [i for i in range(N) if i not in GONE])
    said = voxcache("run", "p.yaml", cwd=folder)
    (folder / "said.txt").write_text(said.stdout + said.stderr)
    return folder


def adds_up(text: str) -> None:
    """Fail unless "U of T clips used (n why; …); left out besides: n why" adds up, and is of this corpus."""
    used, total, reasons, besides = re.fullmatch(
        r"(\d+) of (\d+) clips used \((.*)\); left out besides: (\d+) not listed now", text
    ).groups()  # type: ignore[union-attr]
    assert (int(used), int(total), int(besides)) == (USED, LISTED, len(GONE))
    assert int(used) + sum(counts(reasons)) == int(total)


def counts(reasons: str) -> list[int]:
    """Return the numbers of "2 without a value; 5 failed (a; b)"."""
    return [int(number) for number in re.findall(r"(?:^|; )(\d+) ", reasons)]


USED_TEXT = r"\d+ of \d+ clips used \(.*?\); left out besides: \d+ not listed now"


def test_console_and_report_add_up(folder: Path) -> None:
    """The plan and the table on the console, and every table of both reports, carry the same sums."""
    for file, least in (("said.txt", 2), ("s.results/report.html", 3), ("s.results/report.md", 2)):
        found = re.findall(USED_TEXT, (folder / file).read_text().replace("&#39;", "'").replace("&#x27;", "'"))
        assert len(found) >= least, file
        for text in found:
            adds_up(text)


def test_csv_and_json_add_up(folder: Path) -> None:
    """`table.csv`, `extract --json` and `store status --json` count the same clips."""
    line = next(csv.DictReader((folder / "s.results" / "table.csv").open()))
    assert int(line["n_used"]) + sum(counts(line["left_out"])) == int(line["n_total"]) == LISTED
    assert counts(line["besides"]) == [len(GONE)]
    (done,) = json.loads(voxcache("extract", "p.yaml", "--json", cwd=folder).stdout)
    assert sum(done["counts"].values()) == done["n_clips"] == LISTED
    assert sum(done["reasons"].values()) == done["counts"]["failed"] == len(EMPTY)
    assert done["unlisted"] == len(GONE)
    (row,) = json.loads(voxcache("store", "status", "s.zarr", "--json", cwd=folder, code=5).stdout)
    assert row["ok"] + row["failed"] + row["missing"] + row["stale"] == row["clips"] == LISTED
    assert sum(map(len, row["failures"].values())) == row["failed"]
    facts = json.loads(voxcache("store", "info", "s.zarr", "--json", cwd=folder).stdout)["corpora"]["mine"]
    assert (facts["clips"], facts["listing"]["unlisted"]) == (LISTED, len(GONE))


def test_pack_and_merge_count_failed_clips_as_failed(folder: Path) -> None:
    """25 embedded and 5 failed of 30, not 30; the clips that are listed no longer are said."""
    packed = voxcache("store", "pack", "s.zarr", "packed.zarr", cwd=folder).stdout
    assert f"mine: {LISTED} clips, {len(GONE)} more that are not listed now, licence" in packed
    assert "  logmel: 25 of 30 clips, 5 failed, 1 layers" in packed
    merged = voxcache("store", "merge", "packed.zarr", "--into", "merged.zarr", cwd=folder).stdout
    assert "mine: 30 new clips; logmel: 25 clips embedded, 5 failed" in merged


def test_failures_are_one_line_a_reason(folder: Path) -> None:
    """Five empty files are one line with their number and the first names, wherever reasons are printed."""
    line = "5 failed: expected audio, got an empty file (0 bytes). Copy it again from its source (t10.wav, t11.wav, t12.wav, …)"
    status = voxcache("store", "status", "s.zarr", cwd=folder, code=5).stdout
    for text in ((folder / "said.txt").read_text(), status):
        assert " ".join(text.split()).count(line) == 1
    dry = voxcache("extract", "p.yaml", "--dry-run", cwd=folder).stdout
    assert line.replace(" failed", "") in " ".join(dry.split())


def test_reasons_that_differ_in_file_and_numbers_are_one() -> None:
    """Names of files go, numbers that differ become "…", and the most frequent reason comes first."""
    pairs = [("x", "other"), *((f"{i}.wav", f"{i}.wav: expected 8000 samples, got {i}: truncated.") for i in range(4))]
    found = together(pairs)
    assert list(found.items()) == [
        ("expected … samples, got …: truncated", ["0.wav", "1.wav", "2.wav", "3.wav"]),
        ("other", ["x"]),
    ]
    assert with_names("other", ["x"]) == "other (x)"


def test_an_interrupted_run_counts_what_it_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two encoders of a unit, what the first has embedded is counted: as many as the store then holds."""
    for i in range(4):
        write_wav(tmp_path / f"t{i:02}.wav", tone(0.3, 16_000, hz=300 + i), 16_000)
    listing(tmp_path, range(4))
    data = {
        "store": str(tmp_path / "s.zarr"),
        "corpora": {"mine": {"manifest": str(tmp_path / "clips.csv")}},
        "encoders": ["logmel", "mfcc"],
    }
    stop, commit = threading.Event(), EncoderWriter.commit

    def committing(writer: EncoderWriter, unit: int, rows: np.ndarray, *data: object, **options: object) -> None:
        commit(writer, unit, rows, *data, **options)  # type: ignore[arg-type]
        if writer.encoder.name == "logmel":  # what is tried in a store of its own beforehand is not meant
            stop.set()

    monkeypatch.setattr(EncoderWriter, "commit", committing)
    done = extract(check(Pipeline, data, where="test"), Reporter(quiet=True), stop=stop)
    held = open_store(tmp_path / "s.zarr").corpus("mine")
    assert [o.embedded for o in done] == [int(held.encoder(o.encoder).ledger().ok.sum()) for o in done] == [4, 0]
