"""Every bad file gives one sentence, and odd but good files give samples."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from bad_files import BAD_FILES, NOTICED_ON_LOAD, ODD_FILES, tone, write_wav

from voxcache.errors import AudioError
from voxcache.extract.audio import load, probe


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_reason_and_without_its_folder(tmp_path: Path, name: str) -> None:
    """load() raises one sentence that begins as listed, ends with a next step, and names no folder."""
    make, reason = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(AudioError, match=f"^{re.escape(reason)}") as caught:
        load(tmp_path / name)
    assert "/" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", BAD_FILES)
def test_probe_refuses_what_a_header_can_tell(tmp_path: Path, name: str) -> None:
    """probe() raises the same sentence as load(), except where only the samples show the fault."""
    make, reason = BAD_FILES[name]
    make(tmp_path / name)
    if name in NOTICED_ON_LOAD:
        assert probe(tmp_path / name) == 8000
    else:
        with pytest.raises(AudioError, match=f"^{re.escape(reason)}"):
            probe(tmp_path / name)


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_is_read_whole(tmp_path: Path, name: str) -> None:
    """One sample, 20 minutes, 8 channels, 7,350 Hz and unfilled sizes give the expected count from probe and load."""
    make, n_samples = ODD_FILES[name]
    make(tmp_path / name)
    wave = load(tmp_path / name)
    assert probe(tmp_path / name) == n_samples
    assert wave.shape == (n_samples,)
    assert wave.dtype == np.float32


def test_an_unreadable_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system refuses to open is an AudioError, not a PermissionError (simulated: root may open all)."""
    path = write_wav(tmp_path / "locked.wav", tone(0.1, 16_000), 16_000)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(AudioError, match=r"locked\.wav: expected a readable file, got permission denied."):
        probe(path)


@pytest.mark.parametrize("sizes", [(0, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF + 37, 0x7FFFFFFF)])
def test_sizes_that_a_pipe_left_are_not_a_truncation(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """RIFF and data sizes as ffmpeg, sox and Python's wave module write them to a pipe give all samples."""
    path = write_wav(tmp_path / "a.wav", tone(0.5, 16_000), 16_000)
    data = bytearray(path.read_bytes())
    data[4:8], data[40:44] = (size.to_bytes(4, "little") for size in sizes)
    path.write_bytes(bytes(data))
    assert probe(path) == len(load(path)) == 8000


def test_a_wav_file_with_chunks_after_the_samples_is_whole(tmp_path: Path) -> None:
    """Tags behind the samples, odd chunk lengths and a padding byte less are no truncation."""
    path = write_wav(tmp_path / "a.wav", tone(0.5, 16_000), 16_000)
    path.write_bytes(path.read_bytes() + b"LIST\x05\x00\x00\x00abcde")
    assert probe(path) == 8000


def test_text_that_ffmpeg_would_follow_is_refused_at_once(tmp_path: Path) -> None:
    """A playlist that names an address is text, not something to connect to."""
    path = tmp_path / "list.wav"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")
    with pytest.raises(AudioError, match=r"list\.wav: expected audio, got text."):
        probe(path)


def test_a_header_with_a_senseless_rate_is_refused(tmp_path: Path) -> None:
    """A rate of 1 Hz would turn one second of samples into 16,000 of them."""
    write_wav(tmp_path / "slow.wav", tone(0.1, 16_000), 1)
    with pytest.raises(AudioError, match=r"slow\.wav: expected a sample rate of 1000 Hz or more, got 1 Hz."):
        probe(tmp_path / "slow.wav")
