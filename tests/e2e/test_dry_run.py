"""`voxcache extract --dry-run`: what would be done and what it would take, for any corpus, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bad_files import silent, text, tone, write_wav
from command import voxcache

from voxcache.errors import ConfigError, VoxcacheError
from voxcache.extract.progress import Reporter
from voxcache.extract.run import Where, extract
from voxcache.extract.summary import print_estimates
from voxcache.pipeline import Pipeline, check

QUIET = Reporter(quiet=True)


def pipeline(folder: Path) -> Pipeline:
    """Return a pipeline over the audio in `folder`."""
    data = {
        "store": str(folder / "s.zarr"),
        "corpora": {"mine": {"root": str(folder / "audio")}},
        "encoders": ["logmel"],
        "extract": {"batch_s": 5},
    }
    (folder / "p.yaml").write_text(json.dumps(data))
    return check(Pipeline, data, where="test")


def tones(folder: Path, n: int) -> Path:
    """Write tones of 0.2 s and longer in two classes; return the folder of the second."""
    for label in "ab":
        (folder / "audio" / label).mkdir(parents=True)
    for i in range(n):
        write_wav(folder / "audio" / "ab"[i % 2] / f"{i}.wav", tone(0.2 + i / 10, 16_000), 16_000)
    return folder / "audio" / "b"


def test_where_no_clip_can_be_read_it_says_so(tmp_path: Path) -> None:
    """The sentence is that of a real run."""
    text(tones(tmp_path, 0) / "x.wav")
    with pytest.raises(VoxcacheError, match=r"no clip can be read, of 1: 1: expected audio, got text.* \(b/x\.wav\)"):
        print_estimates(pipeline(tmp_path), QUIET)


def test_clips_that_cannot_be_decoded_are_not_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Others take the place of silence in the sample; where there are none, the rest is still told."""
    folder = tones(tmp_path, 2)
    for i in range(8):
        silent(folder / f"silent-{i}.wav")
    print_estimates(pipeline(tmp_path), QUIET)
    assert " of compute on cpu" in capsys.readouterr().out
    for path in (tmp_path / "audio/a/0.wav", folder / "1.wav"):
        path.unlink()
    print_estimates(pipeline(tmp_path), QUIET)
    told = capsys.readouterr().out
    assert "mine: 8 clips" in told
    assert "unknown compute on cpu" in told
    assert not (tmp_path / "s.zarr").exists()


def test_options_are_honoured_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Failed clips count on request, replaced encoders begin again, and a worker's share is not estimated."""
    silent(tones(tmp_path, 3) / "silent.wav")
    config = pipeline(tmp_path)
    extract(config, QUIET)

    def clips_to_do(**options: object) -> int:
        print_estimates(config, QUIET, as_json=True, **options)  # type: ignore[arg-type]
        return int(json.loads(capsys.readouterr().out)[0]["clips_to_do"])

    assert clips_to_do() == 0
    assert clips_to_do(retry_failed=True) == 1
    assert clips_to_do(replace=("logmel",)) == 4
    with pytest.raises(ConfigError, match="--replace mfcc: not among the encoders"):
        print_estimates(config, QUIET, replace=("mfcc",))
    with pytest.raises(ConfigError, match="--dry-run: not together with --worker"):
        print_estimates(config, QUIET, where=Where(worker=(1, 2)))


def test_the_command_passes_options_on_and_prints_json(tmp_path: Path) -> None:
    """Standard output is one JSON document; --worker ends with exit code 2."""
    silent(tones(tmp_path, 2) / "silent.wav")
    extract(pipeline(tmp_path), QUIET)
    done = voxcache("extract", "p.yaml", "--dry-run", "--json", "--retry-failed", cwd=tmp_path)
    (found,) = json.loads(done.stdout)
    assert (found["corpus"], found["encoder"], found["clips_to_do"]) == ("mine", "logmel", 1)
    assert found["x_real_time"] > 0
    refused = voxcache("extract", "p.yaml", "--dry-run", "--worker", "1/2", cwd=tmp_path, code=2)
    assert "--dry-run: not together with --worker" in refused.stderr
