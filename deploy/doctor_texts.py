"""Readers of what NVIDIA's files and commands say: text in, values out, nothing assumed.

Each takes text in the form that its tool prints (its test shows it) and returns None, or an
empty value, for anything else: a doctor reports what it could read and no more.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = [
    "GpuLine",
    "cuda_of_driver",
    "cuda_toolkit",
    "gpus",
    "jetpack",
    "meminfo",
    "power_mode",
]

# Release of L4T -> JetPack, by NVIDIA's release notes; dpkg's own word goes before it.
_JETPACK = {
    "35.1": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "36.3": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}


@dataclass(frozen=True, slots=True)
class GpuLine:
    """One GPU as ``nvidia-smi`` lists it; memory in MiB, None where it shares the board's."""

    name: str
    driver: str
    memory_mib: int | None
    compute: str


def gpus(text: str) -> list[GpuLine]:
    """Read ``nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap`` as csv,noheader."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4 or not re.fullmatch(r"\d+\.[\d.]+", cells[1]):
            continue
        memory = re.match(r"(\d+) MiB", cells[2])
        compute = cells[3] if re.fullmatch(r"\d+\.\d+", cells[3]) else ""
        found.append(GpuLine(cells[0], cells[1], int(memory[1]) if memory else None, compute))
    return found


def cuda_of_driver(text: str) -> str | None:
    """Read the newest CUDA that the driver runs from the table of plain ``nvidia-smi``."""
    found = re.search(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)", text)
    return found[1] if found else None


def cuda_toolkit(text: str) -> str | None:
    """Read ``/usr/local/cuda/version.json`` (11.1 and later)."""
    try:
        version = json.loads(text)["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def jetpack(l4t: str, package: str = "") -> str:
    """Name the JetPack of an L4T release; ``package`` is dpkg's version of ``nvidia-jetpack``.

    Empty for a release that is not known here.
    """
    if re.match(r"\d+\.\d", package):
        return package.partition("+")[0].strip()
    parts = l4t.split(".")
    for size in range(len(parts), 1, -1):
        if ".".join(parts[:size]) in _JETPACK:
            return _JETPACK[".".join(parts[:size])]
    return ""


def power_mode(text: str) -> str | None:
    """Read the mode from ``nvpmodel -q``, such as ``"MAXN_SUPER"``."""
    found = re.search(r"NV Power Mode:\s*(\S+)", text)
    return found[1] if found else None


def meminfo(text: str) -> dict[str, int]:
    """Read ``/proc/meminfo`` as MiB by name."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(kib) // 1024 for name, kib in lines}
