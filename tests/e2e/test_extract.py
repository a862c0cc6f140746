"""Stage 1 as a user meets it: real files, the real command, bad input, interruption, and running it again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bad_files import BAD_FILES, ODD_FILES, tone, write_wav
from command import voxcache

from voxcache.errors import ConfigError, KeyMismatch, VoxcacheError
from voxcache.extract import plan as plan_module
from voxcache.extract.audio import load
from voxcache.extract.embed import prepare
from voxcache.extract.encoders.registry import load as load_encoder
from voxcache.extract.progress import Reporter
from voxcache.extract.run import Outcome, extract
from voxcache.pipeline import Pipeline, check
from voxcache.store import open_store

QUIET = Reporter(quiet=True)


def pipeline(folder: Path, encoders: list[object], **extract_settings: object) -> Pipeline:
    """Return a pipeline over clips.csv in `folder`."""
    data = {
        "store": str(folder / "s.zarr"),
        "corpora": {"mine": {"manifest": str(folder / "clips.csv")}},
        "encoders": encoders,
        "extract": {"unit_clips": 4, **extract_settings},
    }
    return check(Pipeline, data, where="test")


def manifest(folder: Path, files: list[str]) -> None:
    """List files with two classes."""
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((name, "ab"[i % 2]) for i, name in enumerate(files))])


def tones(folder: Path, n: int) -> list[str]:
    """Write `n` tones of different length and pitch."""
    names = [f"tone-{i}.wav" for i in range(n)]
    for i, name in enumerate(names):
        write_wav(folder / name, tone(0.2 + 0.13 * i, 16_000, hz=200 + 40 * i), 16_000)
    return names


def test_bad_files_end_in_the_ledger_and_stop_nothing(tmp_path: Path) -> None:
    """Every kind of bad file gets a row with its reason; every odd but sound one is embedded; the run ends well."""
    files = [*BAD_FILES, *ODD_FILES, *tones(tmp_path, 2)]
    for name, (make, _) in {**BAD_FILES, **ODD_FILES}.items():
        make(tmp_path / name)
    manifest(tmp_path, files)
    outcome = extract(pipeline(tmp_path, ["logmel"]), QUIET)[0]
    ledger = open_store(tmp_path / "s.zarr").corpus("mine").encoder("logmel").ledger()
    reasons = dict(zip(files, ledger.reason, strict=True))
    for name, (_, reason) in BAD_FILES.items():
        assert reasons[name].startswith(reason)
    assert outcome.counts == {"ok": len(ODD_FILES) + 2, "failed": len(BAD_FILES), "missing": 0, "stale": 0}
    assert reasons["one-sample.wav"] == "padded from 1 to 400 samples"


def test_a_long_clip_is_embedded_in_windows_that_leave_no_seam(tmp_path: Path) -> None:
    """Frames of a clip cut in windows number as those of the whole, and away from seams equal a window's own."""
    samples = (np.random.default_rng(0).normal(size=(16_000 * 9, 1)) * 3000).astype("<i2")
    write_wav(tmp_path / "long.wav", samples, 16_000)
    write_wav(tmp_path / "b.wav", tone(1, 16_000), 16_000)
    manifest(tmp_path, ["long.wav", "b.wav"])
    config = pipeline(
        tmp_path, [{"name": "wav2vec2-mini", "frames": ["last"]}], max_s=4, overlap_s=1, frames_dtype="float32"
    )
    extract(config, QUIET)
    encoder = open_store(tmp_path / "s.zarr").corpus("mine").encoder("wav2vec2-mini-random")
    frames = encoder.frames(-1).read([0])[0]
    assert len(frames) == (16_000 * 9 - 400) // 320 + 1
    np.testing.assert_allclose(encoder.pooled(-1)[0], frames.mean(0), rtol=1e-4, atol=1e-5)
    model = load_encoder(config.encoders[0].request())
    wave = prepare(model, load(tmp_path / "long.wav"))
    kept: dict[int, np.ndarray] = {}
    import torch

    with torch.inference_mode():
        second = torch.from_numpy(wave[48_000 : 48_000 + 64_000])[None]
        model.encode(second, [64_000], lambda layer, states: kept.update({layer: states[0].numpy()}))
    inside = slice(150 + 60, 150 + 120)
    np.testing.assert_allclose(frames[inside], kept[4][60:120], rtol=1e-4, atol=1e-5)


def test_a_second_run_does_nothing_and_loads_nothing(tmp_path: Path) -> None:
    """Nothing is embedded again, and neither torch nor transformers is even imported."""
    manifest(tmp_path, tones(tmp_path, 3))
    config = pipeline(tmp_path, ["logmel", "wav2vec2-mini"])
    assert [o.embedded for o in extract(config, QUIET)] == [3, 3]
    (tmp_path / "p.yaml").write_text(config.model_dump_json(exclude_unset=True, by_alias=True))
    code = """
import sys
import time
from voxcache.extract.progress import Reporter
from voxcache.extract.run import extract
from voxcache.pipeline import load_pipeline
assert [o.embedded for o in extract(load_pipeline(sys.argv[1]), Reporter(quiet=True))] == [0, 0]
loaded = {"torch", "transformers", "torchaudio"} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_changed_audio_is_embedded_again_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file whose content changed is reported by name and is the only one embedded again."""
    manifest(tmp_path, tones(tmp_path, 5))
    config = pipeline(tmp_path, ["logmel"])
    extract(config, QUIET)
    before = open_store(tmp_path / "s.zarr").corpus("mine").encoder("logmel").pooled()
    write_wav(tmp_path / "tone-3.wav", tone(0.7, 16_000, hz=900), 16_000)
    outcome = extract(config, Reporter())[0]
    after = open_store(tmp_path / "s.zarr").corpus("mine").encoder("logmel").pooled()
    assert outcome.embedded == 1
    assert "1 clips changed since they were embedded and are embedded again: tone-3.wav" in capsys.readouterr().err
    assert [i for i in range(5) if not np.array_equal(before[i], after[i])] == [3]


def test_a_touched_file_is_not_embedded_again(tmp_path: Path) -> None:
    """A new modification time alone costs a hash, not an embedding."""
    manifest(tmp_path, tones(tmp_path, 3))
    config = pipeline(tmp_path, ["logmel"])
    extract(config, QUIET)
    os.utime(tmp_path / "tone-1.wav")
    assert extract(config, QUIET)[0].embedded == 0


def test_other_weights_under_one_name_are_refused(tmp_path: Path) -> None:
    """Another seed makes other weights: the store keeps what it has and the message names the field."""
    manifest(tmp_path, tones(tmp_path, 3))
    extract(pipeline(tmp_path, ["wav2vec2-mini"]), QUIET)
    other = pipeline(tmp_path, [{"name": "wav2vec2-mini", "seed": 1}])
    with pytest.raises(KeyMismatch, match=r"weights: .{12}… in the store, .{12}… now.*--replace wav2vec2-mini-random"):
        extract(other, QUIET)
    assert extract(other, QUIET, replace=["wav2vec2-mini-random"])[0].embedded == 3


def test_another_resampler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings of audio that was resampled differently are not reused."""
    manifest(tmp_path, tones(tmp_path, 3))
    config = pipeline(tmp_path, ["logmel"])
    extract(config, QUIET)
    monkeypatch.setattr(plan_module, "RESAMPLER", "somebody else's")
    with pytest.raises(KeyMismatch, match=r"resampler: torchaudio.* in the store, somebody else's now"):
        extract(config, QUIET)


def test_adding_a_clip_and_an_encoder_embeds_only_those(tmp_path: Path) -> None:
    """One more clip costs one embedding an encoder; one more encoder costs its own."""
    names = tones(tmp_path, 6)
    manifest(tmp_path, names[:5])
    extract(pipeline(tmp_path, ["logmel"]), QUIET)
    manifest(tmp_path, names)
    outcomes = extract(pipeline(tmp_path, ["logmel", "mfcc"]), QUIET)
    assert {o.encoder: o.embedded for o in outcomes} == {"logmel": 1, "mfcc": 6}


def test_what_cannot_be_kept_of_every_clip_is_refused(tmp_path: Path) -> None:
    """Frames are made of the clips that are listed, later of those that come back, and not in another precision."""
    names = tones(tmp_path, 5)
    manifest(tmp_path, names)
    extract(pipeline(tmp_path, ["logmel"]), QUIET)
    manifest(tmp_path, names[:4])
    framed = {"name": "logmel", "frames": ["last"]}
    assert extract(pipeline(tmp_path, [framed]), QUIET)[0].embedded == 4
    manifest(tmp_path, names)
    assert extract(pipeline(tmp_path, [framed]), QUIET)[0].embedded == 1
    with pytest.raises(KeyMismatch, match="its frames are kept as float16, float32 is asked for"):
        extract(pipeline(tmp_path, [framed], frames_dtype="float32"), QUIET)


def test_the_first_failing_disk_write_is_explained(tmp_path: Path) -> None:
    """On a full disk the run ends with a sentence; with room again the same command completes the store."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=240k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        manifest(tmp_path, tones(tmp_path, 12))
        config = pipeline(tmp_path, ["logmel", "wav2vec2-mini"], statistics=["mean", "std"])
        config = config.model_copy(update={"store": str(disk / "s.zarr")})
        with pytest.raises(VoxcacheError, match=r"the disk is full\. Free some space, then run the same command again"):
            extract(config, QUIET)
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        outcomes = extract(config, QUIET)
        assert [o.counts["ok"] for o in outcomes] == [12, 12]
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoders": ["logmle"]}, r"\$.encoders\[0\]: encoder 'logmle': unknown, did you mean 'logmel'\?"),
        ({"encoders": ["logmel", "logmel"]}, "'logmel' stands there twice"),
        ({"encoders": []}, "none asked for"),
        ({"encoders": [{"name": "logmel", "frames": [7]}]}, "frames of layer 7: expected 0 to 0 or last"),
        ({"corpora": {}}, "none given"),
        ({"corpora": {"x": {"adapter": "donate-a-cri", "root": "."}}}, "did you mean 'donate-a-cry'"),
    ],
)
def test_a_pipeline_that_cannot_be_carried_out_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """Unknown or doubled encoders, layers that do not exist and missing corpora are named; no store is made."""
    manifest(tmp_path, tones(tmp_path, 2))
    data = {
        "store": str(tmp_path / "s.zarr"),
        "corpora": {"m": {"manifest": str(tmp_path / "clips.csv")}},
        "encoders": ["logmel"],
    }
    with pytest.raises(ConfigError, match=message):
        extract(check(Pipeline, {**data, **change}, where="test"), QUIET)
    assert not (tmp_path / "s.zarr").exists()


def test_every_misspelt_key_is_named_with_its_place() -> None:
    """All problems of a pipeline file come at once, unknown keys with the nearest known one."""
    data = {"encoder": ["logmel"], "encoders": [{"name": "mfcc", "wieghts": "random"}], "extract": {"max_s": "long"}}
    with pytest.raises(ConfigError) as caught:
        check(Pipeline, data, where="p.yaml")
    text = str(caught.value)
    assert "p.yaml: $.encoder: unknown key, did you mean 'encoders'?" in text
    assert "p.yaml: $.encoders[0].wieghts: unknown key, did you mean 'weights'?" in text
    assert "p.yaml: $.extract.max_s: " in text


def test_no_readable_clip_is_an_error(tmp_path: Path) -> None:
    """A manifest that points nowhere ends with a sentence, not with an empty store."""
    manifest(tmp_path, ["a.wav", "b.wav"])
    with pytest.raises(VoxcacheError, match=r"no clip can be read, of 2: 2: expected a file.* \(a\.wav, b\.wav\)"):
        extract(pipeline(tmp_path, ["logmel"]), QUIET)


def test_the_command_explains_itself_without_a_traceback(tmp_path: Path) -> None:
    """Errors at the command line are one sentence on stderr and an exit code."""
    (tmp_path / "p.yaml").write_text("encoderz: [logmel]\n")
    done = voxcache("extract", "p.yaml", cwd=tmp_path, code=2)
    assert done.stderr.startswith("error: p.yaml: $.encoderz: unknown key, did you mean 'encoders'?")
    assert "Traceback" not in done.stderr
    assert "not found" in voxcache("store", "info", "none.zarr", cwd=tmp_path, code=3).stderr


@pytest.mark.slow
def test_killed_extraction_resumes_to_the_same_bytes() -> None:
    """SIGKILL at random moments, resume, compare with an undisturbed run: see kill_loop.py, which also runs alone."""
    loop = Path(__file__).with_name("kill_loop.py")
    done = subprocess.run([sys.executable, str(loop), "--kills", "6"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ended equal to the undisturbed run" in done.stdout


def test_real_recordings_go_through(tmp_path: Path, donate_a_cry: Path) -> None:
    """Ten real phone recordings per class folder are embedded, with the app instance as group."""
    data = {
        "store": str(tmp_path / "s.zarr"),
        "corpora": {"cry": {"adapter": "donate-a-cry", "root": str(donate_a_cry)}},
        "encoders": ["mfcc"],
    }
    outcome: Outcome = extract(check(Pipeline, data, where="test"), QUIET)[0]
    corpus = open_store(tmp_path / "s.zarr").corpus("cry")
    assert outcome.counts["ok"] == corpus.n_clips == 457
    assert len(set(corpus.columns["speaker"].values)) == 221
    assert corpus.columns["speaker"].role == "group"
    assert sorted(set(corpus.columns["label"].values)) == ["belly_pain", "burping", "discomfort", "hungry", "tired"]


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_stopping_is_clean_and_resumable(tmp_path: Path, stop: str) -> None:
    """Ctrl-C and SIGTERM end the command with 130 and a sentence, with whole units kept."""
    data = {
        "store": "s.zarr",
        "corpora": {"bursts": {"adapter": "synthetic", "root": "audio"}},
        "encoders": ["wav2vec2-mini"],
        "extract": {"unit_clips": 8, "batch_s": 0.1},
    }
    (tmp_path / "p.yaml").write_text(json.dumps(data))
    command = [sys.executable, "-c", "from voxcache.cli import main; main()", "extract", "p.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    done = tmp_path / "s.zarr/bursts/wav2vec2-mini-random/done/pooled/c/0"
    deadline = time.monotonic() + 120
    while not done.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(getattr(signal, stop))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped. What is finished is kept; run the same command to go on." in err
    assert "Traceback" not in err
    counts = open_store(tmp_path / "s.zarr").corpus("bursts").encoder("wav2vec2-mini-random").ledger().counts()
    assert counts["ok"] >= 8
    assert counts["ok"] + counts["missing"] == 240
