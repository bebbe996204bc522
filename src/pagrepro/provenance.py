"""Where a number came from: versions, device, code, host, time and memory, for every sidecar."""

import datetime
import functools
import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "scikit-learn", "safetensors", "pydantic",
    "pyautoattack", "lpips", "timm", "diffusers", "pythae", "foolbox",
)  # fmt: skip


def now() -> str:
    """This moment in UTC, as ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@functools.cache
def versions() -> dict[str, str]:
    """Python and every installed package whose code can enter a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git(folder: Path = Path(__file__).parent) -> dict[str, Any]:
    """Commit of the code and whether it was changed since; both None outside a repository."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def describe_device(device: torch.device) -> dict[str, Any]:
    """Kind and name of the device; CUDA and driver version on a GPU."""
    if device.type != "cuda":
        return {"type": device.type, "name": _processor(), "threads": torch.get_num_threads()}
    return {
        "type": "cuda",
        "name": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
    }


@functools.cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def _driver() -> str | None:
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split("\n")[0].split()
    except OSError:
        return None
    return next((word for word in words if word[:1].isdigit() and "." in word), None)


def peak_mb(device: torch.device | None = None) -> dict[str, float]:
    """Peak memory so far in MiB: of the whole process, and of its tensors on the GPU."""
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    unit = 1024 if sys.platform != "darwin" else 1024**2
    found = {"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)}
    if device is not None and device.type == "cuda":
        found["gpu_peak_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found


def provenance(device: torch.device, wall_s: float, started: str, **more: Any) -> dict[str, Any]:
    """The `provenance` of a sidecar. `wall_s`: seconds of work, over all processes that shared it."""
    return {
        "versions": versions(),
        "device": describe_device(device),
        "git": git(),
        "host": platform.node(),
        "started": started,
        "finished": now(),
        "wall_s": round(wall_s, 3),
        **peak_mb(device),
        **more,
    }


def opening_line(device: torch.device) -> str:
    """First line of every log: versions, device and code that were in force."""
    code = git()
    where = describe_device(device)
    packages = " ".join(f"{name}={version}" for name, version in versions().items())
    mark = "+changes" if code["dirty"] else ""
    return f"{packages} | {where['type']}: {where['name']} | git {code['commit'] or 'unknown'}{mark}"
