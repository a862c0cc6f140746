"""`voxcache doctor`: what is installed, what would be used, what is broken, and what would make it faster."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from . import installed
from .words import size

State = Literal["ok", "note", "broken"]

EXTRAS = {
    "train": "experiments over a store",
    "extract": "embedding audio",
    "cluster": "--scheduler: Dask clusters and Slurm",
    "share": "HDF5 and Parquet exports",
    "arrays": "stores as dask and xarray",
    "remote": "stores in buckets and behind web servers",
    "opensmile": "openSMILE features",
    "mamba": "Audio-Mamba's CUDA kernels",
}
"""What each extra is for."""


@dataclass(frozen=True)
class Finding:
    """One line: `what` was looked at, what was `found`, and where it is not as it could be, what to do (`advice`)."""

    what: str
    found: str
    state: State = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings by section."""

    sections: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether something that is installed does not work."""
        return any(finding.state == "broken" for found in self.sections.values() for finding in found)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        sections = {name: [asdict(finding) for finding in found] for name, found in self.sections.items()}
        return {"broken": self.broken, "sections": sections}


def diagnose(store: Path = Path()) -> Diagnosis:
    """Look at everything. Takes a few seconds: packages are imported. `store` is where free space is asked for."""
    return Diagnosis(
        {
            "installed": _installed(),
            "devices": _devices(),
            "kernels": _kernels(),
            "this machine": [*_machine(), _disk(store), *_hub()],
        }
    )


def _installed() -> list[Finding]:
    core = list(installed.requirements())
    found = [Finding("voxcache", f"{installed.installed_version('voxcache')}, Python {platform.python_version()}")]
    found += _broken(core) or [Finding("core", _versions(core))]
    for extra, purpose in EXTRAS.items():
        packages = list(installed.requirements(extra))
        missing = [package for package, _ in packages if installed.installed_version(package) is None]
        if missing:
            text = f"not installed ({', '.join(missing)} missing)" if len(missing) < len(packages) else "not installed"
            advice = f"pip install 'voxcache[{extra}]' gives {purpose}"
            found.append(Finding(f"[{extra}]", text, "note", advice))
            continue
        found += _broken(packages) or [Finding(f"[{extra}]", _versions(packages))]
    return found


def _versions(packages: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{package} {installed.installed_version(package)}" for package, _ in packages)


def _broken(packages: Sequence[tuple[str, str]]) -> list[Finding]:
    """Return a finding for each package whose version does not fit or that does not load here."""
    found = []
    for pair in packages:
        if problem := "".join(installed.problems_of([pair])):
            text, _, advice = problem.removeprefix(pair[0]).lstrip(": ").partition(" Type: ")
            found.append(Finding(pair[0], text, "broken", advice))
    return found


def _devices() -> list[Finding]:
    if find_spec("torch") is None:
        return [Finding("torch", "not installed: stores can be read, nothing embedded or trained", "note")]
    import torch

    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {_simd()}"
    found = [Finding("cpu", threads), *_cuda(torch)]
    if torch.backends.mps.is_available():
        found.append(
            Finding(
                "mps",
                f"{torch.backends.mps.get_name()}; its kernels have not been compared with the CPU's",
                "note",
                "`voxcache store verify --re-embed` compares them on your clips; `--device cpu` goes without it",
            )
        )
    return found


def _cuda(torch: Any) -> list[Finding]:
    if torch.cuda.is_available():
        return [_gpu(torch, index) for index in range(torch.cuda.device_count())]
    from .extract.devices import visible_gpu

    driver = visible_gpu()
    built = torch.version.cuda
    if driver and not built:
        return [
            Finding(
                "cuda",
                f"a GPU is here ({driver}), but torch {torch.__version__} was built without CUDA: it is not used",
                "note",
                "install torch's CUDA build",
            )
        ]
    if driver:
        return [
            Finding(
                "cuda",
                f"a GPU is here ({driver}), but torch (CUDA {built}) cannot use it",
                "broken",
                "update the driver or install a torch built for it; see CUDA_VISIBLE_DEVICES",
            )
        ]
    if built:
        return [
            Finding("cuda", f"torch is built for CUDA {built}, no GPU or driver is visible: the CPU is used", "note")
        ]
    return [Finding("cuda", "no GPU, and torch is built without CUDA: the CPU is used", "note")]


def _gpu(torch: Any, index: int) -> Finding:
    about = torch.cuda.get_device_properties(index)
    words = f"{about.name}, {size(about.total_memory)}, compute {about.major}.{about.minor}"
    try:
        words += f", {torch.cuda.utilization(index)} % busy now"
    except Exception:  # NVML or its package is not there: only the display lacks something
        return Finding(f"cuda:{index}", words, "note", "pip install nvidia-ml-py shows how busy it is while running")
    return Finding(f"cuda:{index}", words)


def _simd() -> str:
    flags = set(_read("/proc/cpuinfo", "flags").split())
    known = {"amx_bf16": "AMX bfloat16", "avx512_bf16": "AVX-512 bfloat16", "avx512f": "AVX-512", "avx2": "AVX2"}
    return ", ".join(name for flag, name in known.items() if flag in flags) or platform.machine()


def _read(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(key)), "")


def _kernels() -> list[Finding]:
    if find_spec("torch") is None:
        return []
    import torch

    found = []
    flags = set(_read("/proc/cpuinfo", "flags").split())
    if not torch.cuda.is_available():
        fast = {"amx_bf16", "avx512_bf16"} & flags
        advice = "`dtype: bfloat16` is worth a try; its error is measured on your clips" if fast else ""
        found.append(Finding("bfloat16", "in hardware" if fast else "emulated: slower than float32", "ok", advice))
        found.append(Finding("attention", "torch's scaled_dot_product_attention on the CPU"))
    else:
        sdp = torch.backends.cuda
        kinds = {"flash": sdp.flash_sdp_enabled(), "memory-efficient": sdp.mem_efficient_sdp_enabled()}
        on = ", ".join(name for name, enabled in kinds.items() if enabled)
        found.append(Finding("attention", f"torch's scaled_dot_product_attention ({on or 'math only'})"))
    return [*found, _scan(torch)]


def _scan(torch: Any) -> Finding:
    """Say which selective scan Audio-Mamba would use."""
    from .extract.encoders.selective_scan import scan_backend

    on_gpu = torch.cuda.is_available()
    found = scan_backend("cuda" if on_gpu else "cpu")
    if found != "torch":
        return Finding("selective scan", found)
    advice = "pip install 'voxcache[mamba]', which needs nvcc" if on_gpu else "install a C compiler: many times faster"
    return Finding("selective scan", "torch, step by step", "note", advice)


def _machine() -> list[Finding]:
    from .extract.devices import decode_threads
    from .machine import memory_bytes, usable_cores

    return [
        Finding("cores", f"{usable_cores()} usable of {os.cpu_count()}; {decode_threads()} threads decode audio"),
        Finding("memory", size(memory_bytes())),
    ]


def _disk(store: Path) -> Finding:
    there = next((folder for folder in (store.absolute(), *store.absolute().parents) if folder.exists()), Path("/"))
    free = shutil.disk_usage(there).free
    if free < 1e9:
        return Finding("free disk", size(free), "note", "`voxcache extract --dry-run` says how much is needed")
    return Finding("free disk", size(free))


def _hub() -> list[Finding]:
    from .extract.audio.identity import cache_dir

    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub")
    models = sorted(cache.expanduser().glob("models--*"))
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    mode = "offline: nothing is downloaded" if offline else "online: what is missing is downloaded"
    index = cache_dir() / "files-1.sqlite"
    known = f"{size(index.stat().st_size)} of what is known of audio files" if index.exists() else "empty"
    return [
        Finding("hub cache", f"{len(models)} models ({mode})"),
        Finding("own cache", known, "ok", "" if os.environ.get("VOXCACHE_CACHE") else "VOXCACHE_CACHE moves it"),
    ]


def show(diagnosis: Diagnosis, say: Callable[[str], None]) -> None:
    """Say everything, a line a finding."""
    marks = {"ok": " ", "note": "-", "broken": "!"}
    for name, found in diagnosis.sections.items():
        say(name)
        width = max((len(finding.what) for finding in found), default=0)
        for finding in found:
            advice = f"; {finding.advice}" if finding.advice else ""
            say(f" {marks[finding.state]} {finding.what:<{width}}  {finding.found}{advice}")
    say(_verdict([finding for found in diagnosis.sections.values() for finding in found]))


def _verdict(found: Sequence[Finding]) -> str:
    broken = [finding.what for finding in found if finding.state == "broken"]
    return f"broken: {', '.join(broken)}" if broken else "nothing is broken"
