"""Which device encoders run on, and how many cores this process may use."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from ..allocator import keep_freed_memory
from ..errors import ConfigError
from ..machine import memory_bytes, require_mps, usable_cores


@dataclass(frozen=True)
class Device:
    """A torch device by name, with words for people."""

    name: str
    words: str
    memory_bytes: int
    """What encoders' weights may take together: half of the memory, the rest is for activations and audio."""

    @property
    def kind(self) -> str:
        """What batch budgets are remembered under: "cpu", or a GPU's model, because another one has other best sizes."""
        family = self.name.partition(":")[0]
        return "cpu" if family == "cpu" else f"{family} {self.words.partition('(')[2].partition(')')[0]}"

    def describe(self) -> str:
        """Return the device in words."""
        return self.words


def decode_threads(n_processes: int = 1) -> int:
    """Return how many threads read audio ahead of the encoders, beside as many other processes."""
    return max(1, min(8, usable_cores() // n_processes))


def visible_gpu() -> str:
    """Return the first GPU that the driver lists, "" where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].partition(" (UUID")[0] if done.returncode == 0 and done.stdout else ""


def idle_gpu(device: Device) -> str:
    """Return a sentence where encoders run on the CPU although a GPU is here, else ""."""
    if device.name != "cpu" or not (gpu := visible_gpu()):
        return ""
    return f"a GPU is here and is not used ({gpu}): `voxcache doctor` says why; `--device cuda` insists on it"


def utilisation(n_devices: int) -> str:
    """Return how busy the GPUs are just now, as NVML tells it: "GPU 97 %, 95 %"; "" where it cannot be asked."""
    import torch

    if not torch.cuda.is_available():
        return ""
    try:
        shares = [torch.cuda.utilization(i) for i in range(min(n_devices, torch.cuda.device_count()))]
    except Exception:  # NVML or its Python package is not there; torch raises several kinds of error
        return ""
    return "GPU " + ", ".join(f"{share} %" for share in shares)


def choose_device(wanted: str) -> Device:
    """Return the device called `wanted`; "auto" is the first CUDA GPU, else the one of a Mac (MPS), else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cpu":
        keep_freed_memory()
        return Device("cpu", f"cpu, {torch.get_num_threads()} threads", memory_bytes() // 2)
    if wanted == "mps":
        require_mps("$.extract.device")
        words = f"mps ({torch.backends.mps.get_name()}); operations that it lacks run on the CPU"
        return Device("mps", words, torch.mps.recommended_max_memory() // 2)
    if not re.fullmatch(r"cuda(:\d+)?", wanted):
        raise ConfigError(f"$.extract.device: expected auto, cpu, cuda, cuda:N or mps, got {wanted!r}.")
    index = int(wanted.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise ConfigError(
            f"$.extract.device: {wanted} asked for, {torch.cuda.device_count()} CUDA devices found. Use `device: cpu`, "
            f"or install a torch built for this machine's driver."
        )
    memory = torch.cuda.get_device_properties(index).total_memory
    return Device(f"cuda:{index}", f"{wanted} ({torch.cuda.get_device_name(index)})", memory // 2)
