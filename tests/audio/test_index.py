"""The index knows unchanged files, notices changed ones, and never stands in the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_files import tone, write_bad_files, write_wav

from voxcache.errors import AudioError
from voxcache.extract.audio import FileIndex, Scanned, cache_dir, clip_hash, content_hash, index, load, probe


@dataclass(frozen=True)
class Source:
    path: Path
    start_s: float | None = None
    end_s: float | None = None

    @property
    def file(self) -> str:
        return str(self.path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were hashed, in order."""
    names: list[str] = []

    def note(path: Path) -> str:
        names.append(path.name)
        return content_hash(path)

    monkeypatch.setattr(index, "content_hash", note)
    return names


def test_hash_and_length_are_those_of_the_file(tmp_path: Path) -> None:
    """A scan gives the file's sha256, computed here by hashlib, and probe's count."""
    path = write_wav(tmp_path / "a.wav", tone(0.5, 22_050), 22_050)
    found = FileIndex(tmp_path / "index.sqlite").scan([Source(path)])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == [Scanned(sha256, probe(path), None, sha256)]


def test_parts_of_one_file_are_different_clips_and_one_reading(tmp_path: Path, read: list[str]) -> None:
    """Three parts cost one reading; a part from the beginning to the end is the whole file."""
    path = write_wav(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    sources = [Source(path), Source(path, 0.0, None), Source(path, 0.0, 0.5), Source(path, 0.5, 1.0)]
    found = FileIndex(tmp_path / "index.sqlite").scan(sources)
    assert read == ["a.wav"]
    assert [scanned.n_samples for scanned in found] == [16_000, 16_000, 8000, 8000]
    assert found[0].sha256 == found[1].sha256 == content_hash(path)
    assert len({scanned.sha256 for scanned in found}) == 3
    assert found[3].sha256 == clip_hash(content_hash(path), 0.5, 1.0)


def test_unchanged_files_are_not_read_again(tmp_path: Path, read: list[str]) -> None:
    """A second scan, by another index object, reads nothing and finds the same."""
    sources = [Source(write_wav(tmp_path / f"{i}.wav", tone(0.1, 16_000), 16_000)) for i in range(5)]
    first = FileIndex(tmp_path / "index.sqlite").scan(sources)
    read.clear()
    assert FileIndex(tmp_path / "index.sqlite").scan(sources) == first
    assert read == []


def test_a_changed_size_or_time_is_noticed(tmp_path: Path, read: list[str]) -> None:
    """Longer content, and the same length at another time, are read; the third file is not."""
    paths = [write_wav(tmp_path / f"{i}.wav", tone(0.1, 16_000), 16_000) for i in range(3)]
    files = FileIndex(tmp_path / "index.sqlite")
    before = files.scan([Source(path) for path in paths])
    write_wav(paths[0], tone(0.2, 16_000), 16_000)
    write_wav(paths[1], tone(0.1, 16_000, hz=500), 16_000)
    os.utime(paths[1], ns=(1, 1))
    read.clear()
    after = files.scan([Source(path) for path in paths])
    assert sorted(read) == ["0.wav", "1.wav"]
    assert [a.sha256 == b.sha256 for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_verify_finds_what_size_and_time_hide(tmp_path: Path) -> None:
    """Other content of the same size with its old time passes a quick scan, and not a verifying one."""
    path = write_wav(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    status = path.stat()
    files = FileIndex(tmp_path / "index.sqlite")
    old = files.scan([Source(path)])
    write_wav(path, tone(0.1, 16_000, hz=500), 16_000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.scan([Source(path)]) == old
    assert files.scan([Source(path)], verify=True)[0].sha256 == content_hash(path)


def test_bad_files_become_entries(tmp_path: Path) -> None:
    """Every bad file gives an error or, where only samples show it, a length; missing ones have no hash."""
    reasons = write_bad_files(tmp_path)
    found = dict(
        zip(reasons, FileIndex(tmp_path / "i.sqlite").scan([Source(tmp_path / n) for n in reasons]), strict=True)
    )
    assert (found["missing.wav"].sha256, found["missing.wav"].n_samples) == ("", 0)
    assert found["text.wav"].sha256 == content_hash(tmp_path / "text.wav")
    for name, scanned in found.items():
        assert scanned.error is None or scanned.error.startswith(reasons[name])
        assert (scanned.error is None) == (scanned.n_samples == 8000)
    again = FileIndex(tmp_path / "i.sqlite").scan([Source(tmp_path / name) for name in reasons])
    assert again == list(found.values())


def test_a_missing_file_is_found_when_it_appears(tmp_path: Path) -> None:
    """That a file is missing is never remembered."""
    files = FileIndex(tmp_path / "index.sqlite")
    assert files.scan([Source(tmp_path / "a.wav")])[0].error
    write_wav(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    assert files.scan([Source(tmp_path / "a.wav")])[0].error is None


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal by the system is not remembered: granting access changes neither size nor time."""
    path = write_wav(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    files = FileIndex(tmp_path / "index.sqlite")

    def refuse(path: Path) -> str:
        raise AudioError(f"{path.name}: expected a readable file, got permission denied.")

    with monkeypatch.context() as patch:
        patch.setattr(index, "content_hash", refuse)
        assert files.scan([Source(path)]) == [Scanned("", 0, "a.wav: expected a readable file, got permission denied.")]
    assert files.scan([Source(path)])[0].error is None


def test_a_part_outside_its_file_is_that_parts_error(tmp_path: Path) -> None:
    """One bad part does not spoil another of the same file."""
    path = write_wav(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    bad, good = FileIndex(tmp_path / "index.sqlite").scan([Source(path, 2.0, 3.0), Source(path, 0.0, 0.5)])
    assert "a.wav: expected a part" in str(bad.error)
    assert good == Scanned(clip_hash(content_hash(path), 0.0, 0.5), 8000, None, content_hash(path))


def test_other_decoders_are_asked_again(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older decoder said of a file is not believed: it may decode to another length, or at all."""
    path = write_wav(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    FileIndex(tmp_path / "index.sqlite").scan([Source(path)])
    monkeypatch.setattr(index, "_decoders", lambda: "soundfile 99")
    FileIndex(tmp_path / "index.sqlite").scan([Source(path)])
    assert read == ["a.wav", "a.wav"]


def test_a_damaged_index_is_worked_round(tmp_path: Path) -> None:
    """An index that is no SQLite file costs a warning with the way out, not the scan."""
    path = write_wav(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    (tmp_path / "index.sqlite").write_bytes(b"not a database" * 100)
    with pytest.warns(UserWarning, match="expected a writable SQLite file, got: file is not a database.*delete it"):
        found = FileIndex(tmp_path / "index.sqlite").scan([Source(path)])
    assert found[0].n_samples == 1600


def test_several_processes_may_use_one_index(tmp_path: Path) -> None:
    """Eight scans of overlapping files at once all find the same as one alone."""
    sources = [Source(write_wav(tmp_path / f"{i}.wav", tone(0.05, 16_000, hz=200 + i), 16_000)) for i in range(40)]
    alone = FileIndex(tmp_path / "alone.sqlite").scan(sources)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: FileIndex(tmp_path / "shared.sqlite").scan(sources, workers=2), range(8)))
    assert all(one == alone for one in found)


def test_processes_that_share_a_corpus_read_each_file_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three scans of the same files at once, each told its share: together they read hardly more than one alone."""
    sources = [Source(write_wav(tmp_path / f"{i}.wav", tone(0.05, 16_000, hz=200 + i), 16_000)) for i in range(60)]
    alone = FileIndex(tmp_path / "alone.sqlite").scan(sources)
    read: list[str] = []
    examine = index._examine

    def slowly(path: str) -> object:
        read.append(path)
        time.sleep(0.01)
        return examine(path)

    monkeypatch.setattr(index, "_examine", slowly)
    with ThreadPoolExecutor(3) as pool:
        scan = FileIndex(tmp_path / "shared.sqlite").scan
        found = list(pool.map(lambda i: scan(sources, workers=1, share=(i, 3)), (1, 2, 3)))
    assert all(one == alone for one in found)
    assert set(read) == {str(source.path) for source in sources}
    assert len(read) <= 1.4 * len(sources), "a step is a twelfth; at the end of each part two may read the same one"


def test_progress_counts_every_file_read(tmp_path: Path) -> None:
    """The callback hears 1 to n of n, and nothing when nothing is read."""
    sources = [Source(write_wav(tmp_path / f"{i}.wav", tone(0.05, 16_000), 16_000)) for i in range(4)]
    heard: list[tuple[int, int]] = []
    files = FileIndex(tmp_path / "index.sqlite")
    files.scan(sources, progress=lambda done, total: heard.append((done, total)))
    files.scan(sources, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_progress_counts_files_that_another_process_read(tmp_path: Path) -> None:
    """Where a sibling reads the rest meanwhile, the callback still gets to n of n, and never goes back."""
    sources = [Source(write_wav(tmp_path / f"{i}.wav", tone(0.05, 16_000), 16_000)) for i in range(20)]
    heard: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        if not heard:
            FileIndex(tmp_path / "index.sqlite").scan(sources)
        heard.append((done, total))

    FileIndex(tmp_path / "index.sqlite").scan(sources, share=(1, 2), progress=progress)
    assert heard == sorted(set(heard))
    assert heard[-1] == (20, 20)


def test_a_decoders_own_bug_is_one_files_error_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error nobody foresaw stands beside its file, the folder left out; it is not remembered, for it may pass."""
    sources = [Source(write_wav(tmp_path / f"{i}.wav", tone(0.1, 16_000), 16_000)) for i in range(3)]
    files = FileIndex(tmp_path / "index.sqlite")
    inspect = index.inspect

    def buggy(path: Path) -> object:
        if path.name == "1.wav":
            raise RuntimeError(f"{path}: thread pool is gone")
        return inspect(path)

    with monkeypatch.context() as patch:
        patch.setattr(index, "inspect", buggy)
        errors = [scanned.error for scanned in files.scan(sources)]
    bug = (
        "1.wav: cannot be decoded (RuntimeError: 1.wav: thread pool is gone). Check the file, then add --retry-failed."
    )
    assert errors == [None, bug, None]
    assert [scanned.n_samples for scanned in files.scan(sources)] == [1600, 1600, 1600]


def test_ten_thousand_unchanged_files_take_under_a_second(tmp_path: Path) -> None:
    """The second scan of 10,000 files only asks the file system and the index."""
    data = write_wav(tmp_path / "a.wav", tone(0.01, 16_000), 16_000).read_bytes()
    sources = [Source(tmp_path / f"{i:05}.wav") for i in range(10_000)]
    for source in sources:
        source.path.write_bytes(data)
    files = FileIndex(tmp_path / "index.sqlite")
    files.scan(sources)
    start = time.process_time()
    files.scan(sources)
    assert time.process_time() - start < 1.0


def test_the_hash_of_a_clip_depends_on_its_bounds() -> None:
    """No bounds and a start of zero mean the file; everything else is its own clip, open ends included."""
    assert clip_hash("f") == clip_hash("f", 0.0) == clip_hash("f", 0) == "f"
    bounds = [(0.0, 1.0), (0.0, 2.0), (1.0, 2.0), (1.0, None), (1.0000001, None)]
    assert len({clip_hash("f", *pair) for pair in bounds}) == len(bounds)
    assert clip_hash("f", 1, 2) == clip_hash("f", 1.0, 2.0) != clip_hash("g", 1.0, 2.0)


def test_a_missing_file_has_no_hash(tmp_path: Path) -> None:
    """content_hash() says what is wrong instead of raising FileNotFoundError."""
    with pytest.raises(AudioError, match=r"gone\.wav: expected a file, got none at this path."):
        content_hash(tmp_path / "gone.wav")


def test_the_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """VOXCACHE_CACHE wins, then XDG_CACHE_HOME on Linux."""
    monkeypatch.setenv("VOXCACHE_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("VOXCACHE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "voxcache"


def test_planning_needs_no_torch(tmp_path: Path) -> None:
    """probe, hashing, the index and every corpus adapter leave torch and transformers unimported."""
    path = write_wav(tmp_path / "a.wav", tone(0.1, 22_050), 22_050)
    code = f"""
import sys
from pathlib import Path
from types import SimpleNamespace
from voxcache.extract.audio import FileIndex, probe
from voxcache.extract.corpora import CORPORA
path = Path({str(path)!r})
assert probe(path) == 1600
assert FileIndex(path.with_suffix(".sqlite")).scan([SimpleNamespace(file=str(path), start_s=None, end_s=None)])
assert list(CORPORA)
print(sorted({{"torch", "torchaudio", "transformers", "pyarrow", "av"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert len(load(path)) == 1600
