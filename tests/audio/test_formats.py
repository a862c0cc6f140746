"""Formats that researchers have, encoded here by FFmpeg and libsndfile."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from bad_files import tone, write_wav

from voxcache.errors import AudioError
from voxcache.extract.audio import load, probe

SECONDS = 1.5
LOSSY = {
    "phone.3gp": ("libopencore_amrnb", 8000),
    "phone.m4a": ("aac", 44_100),
    "film.mp4": ("aac", 48_000),
    "chat.opus": ("libopus", 48_000),
    "chat.webm": ("libopus", 48_000),
    "song.mp3": ("libmp3lame", 44_100),
    "low.aac": ("aac", 7350),
}
LOSSLESS = {"phone.caf": ("alac", 22_050), "apple.m4a": ("alac", 16_000), "a.flac": ("flac", 44_100)}


def encode(path: Path, codec: str, rate_hz: int, samples: np.ndarray, **options: str) -> Path:
    """Encode int16 [sample, 1] into the container that the name says; an .mp4 gets a video track before it.

    AMR is copied from `tone-<seconds>s.3gp`, made by PyAV 18 from the same tone: later releases decode it only.
    """
    if codec == "libopencore_amrnb":
        return Path(shutil.copy(Path(__file__).with_name(f"tone-{len(samples) / rate_hz:g}s.3gp"), path))
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("mpeg4", rate=10, width=32, height=32) if path.suffix == ".mp4" else None
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        if video:
            _write_video(container, video)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="s16p", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        fifo = av.AudioFifo()
        for part in av.AudioResampler(format=stream.format, layout="mono", rate=rate_hz).resample(frame):
            fifo.write(part)
        while part := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    return path


def _write_video(container: av.container.OutputContainer, stream: av.VideoStream) -> None:
    for _ in range(3):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
    container.mux(stream.encode())


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_are_decoded(tmp_path: Path, name: str) -> None:
    """A 300 Hz tone through each codec keeps its length to within codec padding, its pitch and its level."""
    codec, rate_hz = LOSSY[name]
    wave = load(encode(tmp_path / name, codec, rate_hz, tone(SECONDS, rate_hz)))
    assert probe(tmp_path / name) == len(wave)
    assert abs(len(wave) - SECONDS * 16_000) < 0.2 * 16_000
    middle = wave[4000:20_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(300, abs=2)
    assert np.std(middle) == pytest.approx(12_000 / 32_768 / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_equal_wav(tmp_path: Path, name: str) -> None:
    """ALAC in CAF and M4A, and FLAC, give exactly what the same samples give from a WAV file."""
    codec, rate_hz = LOSSLESS[name]
    samples = tone(SECONDS, rate_hz)
    encode(tmp_path / name, codec, rate_hz, samples)
    expected = load(write_wav(tmp_path / "same.wav", samples, rate_hz))
    assert probe(tmp_path / name) == len(expected)
    np.testing.assert_array_equal(load(tmp_path / name), expected)


def test_parts_of_a_decoded_file_equal_those_of_wav(tmp_path: Path) -> None:
    """A part of a file that must be decoded whole is the same part as of a file that can be entered anywhere."""
    samples = tone(SECONDS, 22_050)
    decoded = encode(tmp_path / "a.caf", "alac", 22_050, samples)
    direct = write_wav(tmp_path / "a.wav", samples, 22_050)
    for bounds in ((0.25, 0.75), (None, 0.5), (1.0, None)):
        assert probe(decoded, *bounds) == probe(direct, *bounds)
        np.testing.assert_array_equal(load(decoded, *bounds), load(direct, *bounds))


@pytest.mark.parametrize(
    "kind", [("AIFF", "PCM_24"), ("WAV", "ULAW"), ("W64", "FLOAT"), ("RF64", "PCM_16"), ("WAV", "IMA_ADPCM")]
)
def test_kinds_of_wav_and_its_relatives_are_read(tmp_path: Path, kind: tuple[str, str]) -> None:
    """probe() and load() agree on formats whose header is trusted and on those that must be decoded."""
    container, subtype = kind
    soundfile.write(tmp_path / "a.bin", tone(0.3, 16_000) / 40_000.0, 16_000, format=container, subtype=subtype)
    assert probe(tmp_path / "a.bin") == len(load(tmp_path / "a.bin"))
    assert len(load(tmp_path / "a.bin")) == pytest.approx(4800, abs=600 if "ADPCM" in subtype else 0)


def test_channels_are_averaged(tmp_path: Path) -> None:
    """The downmix is the mean over channels, not the first one."""
    samples = np.stack([np.full(100, 3000), np.full(100, -1000)], axis=1).astype("<i2")
    wave = load(write_wav(tmp_path / "a.wav", samples, 16_000))
    np.testing.assert_allclose(wave, 1000 / 32_768, rtol=1e-6)


def test_an_mp3_without_a_count_is_read_to_its_end(tmp_path: Path) -> None:
    """libsndfile would stop where it guesses from the first frame's bit rate; loud before silent shows it."""
    random = np.random.RandomState(0)
    loud = random.uniform(-20_000, 20_000, (44_100 * 4, 1))
    samples = np.concatenate([loud, np.zeros((44_100 * 4, 1))]).astype("<i2")
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=44_100, options={"b": "0", "q": "4"})
        stream.layout = "mono"
        if not hasattr(stream.codec_context, "global_quality"):
            pytest.skip("this PyAV cannot encode MP3 of a variable rate")
        stream.codec_context.qscale = True
        stream.codec_context.global_quality = 4 * 118
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="s16p", layout="mono")
        frame.sample_rate = 44_100
        fifo = av.AudioFifo()
        fifo.write(frame)
        while part := fifo.read(1152, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    assert soundfile.info(str(path)).frames < 0.6 * len(samples)
    assert probe(path) == pytest.approx(8 * 16_000, abs=3000)


@pytest.mark.parametrize("name", ["a.flac", "phone.caf", "song.mp3", "fast.m4a", "phone.3gp", "apple.m4a"])
def test_half_a_file_is_refused(tmp_path: Path, name: str) -> None:
    """FLAC, CAF, MP3 with a count, M4A with its index in front or behind, and 3GP do not pass as shorter clips."""
    codec, rate_hz = {**LOSSY, **LOSSLESS, "fast.m4a": ("aac", 44_100)}[name]
    options = {"movflags": "faststart"} if name == "fast.m4a" else {}
    path = encode(tmp_path / name, codec, rate_hz, tone(6, rate_hz), **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=f"^{name}: expected"):
        load(path)


def test_a_flac_file_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    """STREAMINFO may say 0 samples, as streaming encoders leave it; the count then comes from decoding."""
    path = encode(tmp_path / "a.flac", "flac", 44_100, tone(SECONDS, 44_100))
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # total samples: 36 bits from the middle of byte 21 (RFC 9639, section 8.2)
    data[22:26] = bytes(4)
    path.write_bytes(bytes(data))
    assert probe(path) == len(load(path)) == 24_000
