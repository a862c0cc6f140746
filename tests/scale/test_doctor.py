"""`voxcache doctor` tells what works, what is missing, and what is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import voxcache

from voxcache import doctor, installed
from voxcache.doctor import Finding, diagnose, show
from voxcache.extract import devices


def found(diagnosis: doctor.Diagnosis, what: str) -> Finding:
    """Return the finding on one thing."""
    return next(f for section in diagnosis.sections.values() for f in section if f.what == what)


def test_the_command_prints_json_that_says_whether_something_is_broken(tmp_path: Path) -> None:
    """Sections and findings are data; here nothing is broken and the exit code is 0."""
    told = json.loads(voxcache("doctor", "--json", cwd=tmp_path).stdout)
    assert told["broken"] is False
    assert set(told["sections"]) == {"installed", "devices", "kernels", "this machine"}
    assert {"what", "found", "state", "advice"} == set(told["sections"]["devices"][0])


def test_a_missing_extra_is_a_note_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is broken by what was never installed."""
    real = installed.installed_version
    monkeypatch.setattr(installed, "installed_version", lambda name: None if name == "mamba-ssm" else real(name))
    finding = found(diagnose(), "[mamba]")
    assert finding.state == "note"
    assert finding.advice == "pip install 'voxcache[mamba]' gives Audio-Mamba's CUDA kernels"


def test_a_package_that_does_not_import_is_broken_and_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchaudio built for another torch is the usual case; its error is faked here."""
    real = installed.import_module

    def fake(name: str) -> Any:
        if name == "torchaudio":
            raise OSError("undefined symbol: _ZN2at4_ops (a test's fake)\nand more")
        return real(name)

    monkeypatch.setattr(installed, "import_module", fake)
    diagnosis = diagnose()
    assert diagnosis.broken
    finding = found(diagnosis, "torchaudio")
    assert "does not load: undefined symbol: _ZN2at4_ops" in finding.found
    assert finding.advice.startswith("pip install --upgrade")
    lines: list[str] = []
    show(diagnosis, lines.append)
    assert lines[-1] == "broken: torchaudio"
    assert any(line.startswith(" ! torchaudio") for line in lines)


def test_a_version_that_does_not_fit_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zarr older than what the metadata asks for is named with the line that mends it."""
    real = installed.version
    monkeypatch.setattr(installed, "version", lambda name: "3.0.1" if name == "zarr" else real(name))
    finding = found(diagnose(), "zarr")
    bound = dict(installed.requirements())["zarr"]
    assert (finding.state, finding.found) == ("broken", f"expected {bound}, got 3.0.1.")
    assert finding.advice == f"pip install 'zarr{bound}'"


@pytest.mark.parametrize(
    ("built", "state", "words"),
    [
        (None, "note", "was built without CUDA: it is not used"),
        ("13.0", "broken", "torch (CUDA 13.0) cannot use it"),
    ],
)
def test_a_gpu_that_is_not_used_is_told(
    monkeypatch: pytest.MonkeyPatch, built: str | None, state: str, words: str
) -> None:
    """The driver lists a GPU (faked) and torch has none: doctor says why, and a run on the CPU says so too."""
    import torch

    monkeypatch.setattr(devices, "visible_gpu", lambda: "GPU 0: NVIDIA H100")
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = found(diagnose(), "cuda")
    assert finding.state == state
    assert words in finding.found
    told = devices.idle_gpu(devices.choose_device("cpu"))
    assert told.startswith("a GPU is here and is not used (GPU 0: NVIDIA H100)")


def test_a_full_disk_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Less than a gigabyte free is said, wherever the store is going to be."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 5e8})())
    assert found(diagnose(tmp_path / "not" / "yet.zarr"), "free disk").state == "note"
