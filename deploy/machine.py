"""The machine a figure was measured on: named beside every figure that is reported."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

__all__ = [
    "cpu_name",
    "environment",
    "peak_rss_mb",
    "ram_mb",
    "rss_mb",
    "usable_cpus",
    "version_of",
]

_DEVICE_PACKAGES = (
    "av",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-genai",
    "opencv-python-headless",
    "pydantic",
)


def cpu_name() -> str:
    """Return the processor's (or board's) name as the system gives it."""
    board = Path("/proc/device-tree/model")  # Jetsons and other boards
    if board.exists():
        return board.read_text(errors="replace").strip("\0\n ")
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ram_mb() -> int | None:
    """Return the machine's memory in MiB, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, OSError, AttributeError):
        return None


def peak_rss_mb() -> float:
    """Return the most memory this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def rss_mb() -> float:
    """Return the memory this process holds now, in MiB; its peak where the system says no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_rss_mb()
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, object]:
    """Return the machine and the versions that decide speed, as plain values."""
    packages = {name: version_of(name) for name in _DEVICE_PACKAGES}
    return {
        "cpu": cpu_name(),
        "cpus": usable_cpus(),
        "ram_mb": ram_mb(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name, version in packages.items() if version},
    }
