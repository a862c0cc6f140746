"""A broken environment is one sentence with the line to type, and costs no clip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import voxcache

from voxcache import installed
from voxcache.errors import InstallError

PIPELINE = {
    "store": "s.zarr",
    "corpora": {"bursts": {"adapter": "synthetic", "n_speakers": 2, "clips_per_class_per_speaker": 1}},
    "encoders": ["logmel"],
    "train": {"heads": ["logreg"], "split": {"folds": 2, "group": "speaker"}},
}
SYMBOL = "undefined symbol: torch_exception_get_what_without_backtrace"


def prepared(folder: Path) -> Path:
    """Write the pipeline; return a folder for modules that come before the installed ones."""
    (folder / "p.yaml").write_text(json.dumps(PIPELINE), encoding="utf-8")
    first = folder / "first"
    first.mkdir()
    return first


@pytest.mark.parametrize("package", ["torchaudio", "transformers", "av", "soundfile"])
def test_a_package_that_does_not_load_ends_an_extraction_before_the_first_clip(tmp_path: Path, package: str) -> None:
    """The loader's own words, the line to type, no traceback, and no clip that failed by its name."""
    first = prepared(tmp_path)
    (first / f"{package}.py").write_text(f"raise OSError('{SYMBOL}')", encoding="utf-8")
    done = voxcache("extract", "p.yaml", "--quiet", cwd=tmp_path, code=2, PYTHONPATH=str(first))
    assert f"error: {package} " in done.stderr
    assert f"installed, but it does not load: {SYMBOL}. Type: pip install --upgrade" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s.zarr").exists()


def test_a_package_that_does_not_load_ends_training_in_a_sentence(tmp_path: Path) -> None:
    """scikit-learn is broken when heads are to be trained."""
    first = prepared(tmp_path)
    voxcache("extract", "p.yaml", "--quiet", cwd=tmp_path)
    (first / "sklearn.py").write_text(f"raise ImportError('{SYMBOL}')", encoding="utf-8")
    done = voxcache("train", "p.yaml", "--quiet", cwd=tmp_path, code=2, PYTHONPATH=str(first))
    assert f"does not load: {SYMBOL}. Type: pip install --upgrade --force-reinstall scikit-learn" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unforeseen_error_of_a_broken_package_is_a_sentence(tmp_path: Path) -> None:
    """zarr does not load, whichever command meets it first."""
    first = prepared(tmp_path)
    (first / "zarr.py").write_text(f"raise ImportError('{SYMBOL}')", encoding="utf-8")
    done = voxcache("store", "info", "s.zarr", cwd=tmp_path, code=2, PYTHONPATH=str(first))
    assert done.stderr.startswith(f"error: {SYMBOL}. What is installed does not fit:\nzarr ")
    assert "Traceback" not in done.stderr


def test_a_zarr_that_cannot_be_read_back_ends_an_extraction_before_the_first_clip(tmp_path: Path) -> None:
    """A release that describes a codec differently (faked) writes, but our reader trips: said before anything is embedded."""
    first = prepared(tmp_path)
    (first / "sitecustomize.py").write_text(
        "import zarr.codecs\n"
        "zarr.codecs.ShardingCodec.to_dict = lambda self: {'name': 'sharding_indexed', 'configuration': {}}\n",
        encoding="utf-8",
    )
    done = voxcache("extract", "p.yaml", "--quiet", cwd=tmp_path, code=3, PYTHONPATH=str(first))
    assert "expected to read back what was just written, got" in done.stderr
    assert "Nothing was embedded" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_fit_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are compared with the package's own metadata, before anything is imported."""
    real = installed.version
    monkeypatch.setattr(installed, "version", lambda name: "0.1" if name in ("zarr", "scipy") else real(name))
    with pytest.raises(InstallError) as caught:
        installed.require("train", "torch")
    bounds = dict(installed.requirements()) | dict(installed.requirements("train"))
    assert str(caught.value).splitlines() == [
        f"{name}: expected {bounds[name]}, got 0.1. Type: pip install '{name}{bounds[name]}'"
        for name in ("zarr", "scipy")
    ]


def test_torchaudio_names_the_torch_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases whose metadata state a torch that they do not load with are told apart from other damage."""
    (release, torch) = next(iter(installed.NEEDS_NEWER_TORCH.items()))
    real = installed.version

    def broken(name: str) -> None:
        raise OSError(SYMBOL)

    monkeypatch.setattr(installed, "version", lambda name: f"{release}+cu130" if name == "torchaudio" else real(name))
    monkeypatch.setattr(installed, "import_module", broken)
    assert f"Type: pip install --upgrade 'torch>={torch}'" in installed.load_failure("torchaudio")


def test_extras_are_those_of_the_metadata() -> None:
    """`all` is followed into the extras that it names, and the core stands in none of them."""
    core, everything = dict(installed.requirements()), dict(installed.requirements("all"))
    assert {"numpy", "zarr"} <= set(core)
    assert {"torch", "torchaudio", "h5py", "obstore", "distributed"} <= set(everything)
    assert "numpy" not in everything


def test_a_decoder_that_does_not_load_is_not_the_fault_of_the_files(tmp_path: Path) -> None:
    """Where only PyAV reads a format and PyAV is broken, checking a corpus says so instead of calling the files bad."""
    first = prepared(tmp_path)
    (first / "av.py").write_text(f"raise OSError('{SYMBOL}')", encoding="utf-8")
    (tmp_path / "joy").mkdir()
    (tmp_path / "joy" / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(range(256)) * 8)
    (tmp_path / "p.yaml").write_text(json.dumps({**PIPELINE, "corpora": {"mine": {"root": "."}}}), encoding="utf-8")
    done = voxcache("corpus", "check", "p.yaml", "--audio", cwd=tmp_path, code=2, PYTHONPATH=str(first))
    assert f"does not load: {SYMBOL}" in done.stderr
    assert "a.m4a" not in done.stdout + done.stderr
