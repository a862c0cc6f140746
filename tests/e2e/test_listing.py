"""What is listed now is what experiments use; the store keeps the rest until it is dropped. Real files, the real commands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from bad_files import tone, write_wav
from command import voxcache

from voxcache.store import open_store
from voxcache.store.dropping import drop_clips
from voxcache.store.read import Corpus
from voxcache.store.verify import verify
from voxcache.store.write import create_store

PIPELINE = """
store: s.zarr
corpora: {mine: {manifest: clips.csv}}
encoders: [logmel, {name: mfcc, frames: FRAMES}]
extract: {unit_clips: 8}
train: {heads: [logreg], seeds: [0], split: {folds: 2}}
"""


def pipeline(folder: Path, name: str = "p.yaml", frames: str = "[]", more: str = "") -> str:
    """Write a pipeline of logmel and mfcc; return its name."""
    (folder / name).write_text(PIPELINE.replace("FRAMES", frames).replace("{heads", more + "{heads"))
    return name


def listing(folder: Path, files: list[str]) -> None:
    """List files; the class of each follows from its number."""
    rows = [(file, "ab"[int(file[-6:-4]) % 2]) for file in files]
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])


def tones(folder: Path, n: int) -> list[str]:
    """Write `n` tones below a/."""
    (folder / "a").mkdir()
    names = [f"a/t{i:02}.wav" for i in range(n)]
    for i, name in enumerate(names):
        write_wav(folder / name, tone(0.2 + 0.01 * i, 16_000, hz=200 + 300 * (i % 2) + 7 * i), 16_000)
    return names


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips, embedded by two encoders."""
    folder = tmp_path_factory.mktemp("listing")
    listing(folder, tones(folder, 24))
    voxcache("extract", pipeline(folder), "--quiet", cwd=folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy of it to change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def corpus(folder: Path, store: str = "s.zarr") -> Corpus:
    """Open the corpus anew."""
    return open_store(folder / store).corpus("mine")


def test_clips_no_longer_listed_are_kept_and_not_used(folder: Path) -> None:
    """A manifest cut from 24 rows to 18: 18 are trained on and tested, every output says that 6 were left out and why."""
    listing(folder, [f"a/t{i:02}.wav" for i in range(18)])
    said = voxcache("run", "p.yaml", cwd=folder)
    assert "6 clips of the store are not listed now" in said.stderr
    text = "18 of 18 clips used; left out besides: 6 not listed now"
    assert said.stdout.count(text) == 2  # the plan and the table
    for file in ("report.html", "report.md"):
        assert text in (folder / "s.results" / file).read_text()
    line = next(csv.DictReader((folder / "s.results" / "table.csv").open()))
    assert (line["n_used"], line["n_total"], line["left_out"], line["besides"]) == ("18", "18", "", "6 not listed now")
    voxcache("results", "predictions", "s.results", "--out", "said.csv", cwd=folder)
    assert {row["clip"] for row in csv.DictReader((folder / "said.csv").open())} == {
        f"a/t{i:02}.wav" for i in range(18)
    }
    assert len(corpus(folder).encoder("mfcc").pooled(rows=corpus(folder).listing.kept)) == 24


def test_a_store_without_its_table_uses_the_same_clips(folder: Path) -> None:
    """Stage 2 alone, on a packed copy elsewhere, trains on the clips that were listed where the store was made."""
    listing(folder, [f"a/t{i:02}.wav" for i in range(18)])
    voxcache("extract", "p.yaml", "--quiet", cwd=folder)
    voxcache("store", "pack", "s.zarr", "sent.zip", cwd=folder)
    for gone in ("a", "s.zarr"):
        shutil.rmtree(folder / gone)
    (folder / "clips.csv").unlink()
    said = voxcache("train", "p.yaml", "--store", "sent.zip", "--dry-run", cwd=folder)
    assert "18 of 18 clips used; left out besides: 6 not listed now" in said.stdout


def test_a_clip_that_is_listed_again_is_used_again_without_embedding_it(folder: Path) -> None:
    """Cut, then whole again: nothing is embedded, all 24 are used."""
    names = [f"a/t{i:02}.wav" for i in range(24)]
    listing(folder, names[:18])
    voxcache("extract", "p.yaml", "--quiet", cwd=folder)
    listing(folder, names)
    done = json.loads(voxcache("extract", "p.yaml", "--json", cwd=folder).stdout)
    assert [(o["n_clips"], o["embedded"], o["unlisted"]) for o in done] == [(24, 0, 0)] * 2


def test_a_recording_that_moved_keeps_its_embedding_and_counts_once(folder: Path) -> None:
    """Three files moved to another folder: 24 clips of 24 files, the same numbers under the new ids, nothing embedded."""
    before = corpus(folder).encoder("mfcc").pooled()
    (folder / "b").mkdir()
    names = [f"a/t{i:02}.wav" for i in range(24)]
    for name in names[:3]:
        (folder / name).rename(folder / name.replace("a/", "b/"))
    listing(folder, [name.replace("a/", "b/") for name in names[:3]] + names[3:])
    dry = json.loads(voxcache("extract", "p.yaml", "--dry-run", "--json", cwd=folder).stdout)
    assert [found["clips_to_do"] for found in dry] == [0, 0]
    said = voxcache("run", "p.yaml", cwd=folder)
    assert "3 clips are listed under another name, with the same audio" in said.stderr
    assert "24 of 24 clips used; 2 strat" in said.stdout
    held = corpus(folder)
    assert held.n_clips == 24
    assert [str(clip) for clip in held.clip[:4]] == ["b/t00.wav", "b/t01.wav", "b/t02.wav", "a/t03.wav"]
    np.testing.assert_array_equal(held.encoder("mfcc").pooled(), before)
    assert (held.encoder("mfcc").group["clip"][:] == held.clip).all()
    assert not verify(open_store(folder / "s.zarr"))


def test_frames_are_added_though_some_files_are_gone(folder: Path) -> None:
    """Rows whose files are gone keep their vectors without frames; listed again, they are embedded with frames."""
    names = [f"a/t{i:02}.wav" for i in range(24)]
    before = corpus(folder).encoder("mfcc").pooled()
    (folder / names[9]).rename(folder / "away.wav")
    listing(folder, [name for name in names if name != names[9]])
    framed = pipeline(folder, "framed.yaml", "[last]")
    done = json.loads(voxcache("extract", framed, "--json", cwd=folder).stdout)
    assert [(o["counts"]["ok"], o["embedded"]) for o in done] == [(23, 0), (23, 23)]
    encoder = corpus(folder).encoder("mfcc")
    assert [row for row, n in enumerate(encoder.frames().length) if n == 0] == [9]
    np.testing.assert_array_equal(encoder.pooled(rows=[9]), before[[9]])
    assert len(encoder.frames().read([9])[0]) == 0
    assert not verify(open_store(folder / "s.zarr"))
    (folder / "away.wav").rename(folder / names[9])
    listing(folder, names)
    done = json.loads(voxcache("extract", framed, "--json", cwd=folder).stdout)
    assert [(o["counts"]["ok"], o["embedded"]) for o in done] == [(24, 0), (24, 1)]
    assert (corpus(folder).encoder("mfcc").frames().length > 0).all()
    assert not verify(open_store(folder / "s.zarr"))


def test_a_list_of_clips_stands_in_for_the_listing(folder: Path) -> None:
    """`clips:` names those to use, listed or not; what is not on it is left out and said; unknown ids are named."""
    names = [f"a/t{i:02}.wav" for i in range(24)]
    listing(folder, names[:18])
    voxcache("extract", "p.yaml", "--quiet", cwd=folder)
    (folder / "few.csv").write_text("\n".join([*names[4:10], *names[20:24]]) + "\n")
    config = (folder / "p.yaml").read_text().replace("train: {", "train: {clips: few.csv, ")
    (folder / "few.yaml").write_text(config)
    said = voxcache("train", "few.yaml", "--dry-run", cwd=folder)
    assert "10 of 10 clips used; left out besides: 14 not in few.csv" in said.stdout
    (folder / "few.csv").write_text("corpus,clip\nmine,a/t00.wav\nmine,a/t99.wav\n,nobody\n")
    refused = voxcache("train", "few.yaml", "--dry-run", cwd=folder, code=2)
    assert "few.csv: 2 clips are not in the store: a/t99.wav, nobody. Correct the file." in refused.stderr


def test_dropped_clips_are_gone_from_the_store(folder: Path) -> None:
    """Their ids, labels, hashes, vectors and frames are in no file of the store; the others are as they were; it is sound."""
    voxcache("extract", pipeline(folder, "framed.yaml", "[last]"), "--quiet", cwd=folder)
    before = corpus(folder)
    rows = [3, 8]
    kept = [row for row in range(24) if row not in rows]
    encoder = before.encoder("mfcc")
    values, others = encoder.pooled(rows=rows), encoder.pooled(rows=kept)
    frames, other_frames = encoder.frames().read(rows), encoder.frames().read(kept)
    secrets = [before.clip[3].encode(), before.sha256[8].encode(), values[0].tobytes(), frames[1][-1].tobytes()]
    assert all(_in_store(folder, secret) for secret in secrets)
    dry = voxcache("store", "drop", "s.zarr", "mine", "--clips", "a/t03.wav", "--dry-run", cwd=folder).stdout
    assert dry.startswith("would remove 1 clips of mine")
    assert _in_store(folder, secrets[0])
    (folder / "gone.txt").write_text("a/t08.wav\n")
    voxcache(*("store", "drop", "s.zarr", "mine", "--clips", "gone.txt", "--clips", "a/t03.wav", "--yes"), cwd=folder)
    assert not any(_in_store(folder, secret) for secret in secrets)
    after = corpus(folder)
    encoder = after.encoder("mfcc")
    np.testing.assert_array_equal(encoder.pooled(rows=kept), others)
    for found, wanted in zip(encoder.frames().read(kept), other_frames, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not verify(open_store(folder / "s.zarr"))
    assert after.listing.counts() == {"unlisted": 0, "listed": 22, "merged": 0, "dropped": 2}
    assert "22 of 22 clips used;" in voxcache("train", "p.yaml", "--dry-run", cwd=folder).stdout
    voxcache("store", "pack", "s.zarr", "packed.zarr", cwd=folder)
    assert corpus(folder, "packed.zarr").n_clips == 22
    assert not verify(open_store(folder / "packed.zarr"))
    refused = voxcache("store", "drop", "s.zarr", "mine", "--clips", "a/t03.wav", "--yes", cwd=folder, code=2)
    assert "1 clips are not there: a/t03.wav" in refused.stderr


def _in_store(folder: Path, secret: bytes) -> bool:
    return any(secret in file.read_bytes() for file in (folder / "s.zarr").rglob("*") if file.is_file())


def test_unlisted_clips_can_be_dropped_together(folder: Path) -> None:
    """`--unlisted` takes out what is listed no longer; results of the others stay what they are."""
    listing(folder, [f"a/t{i:02}.wav" for i in range(18)])
    voxcache("run", "p.yaml", "--quiet", cwd=folder)
    voxcache("store", "drop", "s.zarr", "mine", "--unlisted", "--yes", cwd=folder)
    said = voxcache("run", "p.yaml", cwd=folder).stdout
    assert "18 of 18 clips used; 2 strat" in said
    assert "2 experiments, 2 finished before, 0 to do" in said


def test_a_drop_that_was_killed_is_finished_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the clips were marked, nothing uses them; dropping again, or others, takes the rest."""
    with monkeypatch.context() as patch:
        patch.setattr("voxcache.store.dropping._forget", _killed)
        with pytest.raises(KeyboardInterrupt):
            drop_clips(create_store(folder / "s.zarr").corpus("mine"), np.array([5]))
    assert not corpus(folder).listing.used[5]
    assert drop_clips(create_store(folder / "s.zarr").corpus("mine"), np.array([6])) == 2
    assert [str(clip) for clip in corpus(folder).clip[5:7]] == ["(dropped) 5", "(dropped) 6"]
    assert not verify(open_store(folder / "s.zarr"))


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_clips_of_a_merge_count_as_listed_and_are_said(folder: Path, tmp_path: Path) -> None:
    """What a merge brought stays in use when the pipeline is run again, and every line says how many these are."""
    other = tmp_path / "other"
    other.mkdir()
    tones(other, 28)
    listing(other, [f"a/t{i:02}.wav" for i in range(24, 28)])
    voxcache("extract", pipeline(other), "--quiet", cwd=other)
    voxcache("store", "merge", str(other / "s.zarr"), "--into", "s.zarr", cwd=folder)
    said = voxcache("run", "p.yaml", cwd=folder)
    assert "4 clips that a merge brought in count as listed" in said.stderr
    assert "28 of 28 clips used; 4 of the 28 were brought in by a merge" in said.stdout
    assert corpus(folder).listing.counts()["merged"] == 4
