"""The NVIDIA driver's version, read from files: no library and no command is needed.

Looked for in this order, since a container sees the host's ``/proc`` but not its ``/etc``: the
kernel module's version, and on Jetsons without that module the release of L4T, which its driver
is part of.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["driver_version", "l4t_release"]

_MODULE = re.compile(r"\b(\d{3}\.\d+(?:\.\d+)?)\b")
_L4T = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")


def driver_version(root: Path = Path("/")) -> str:
    """Return the driver's version, such as ``"550.54.15"`` or ``"L4T 36.4.3"``; empty if unknown.

    ``root`` is another root of the file system, for tests.
    """
    for name in ("proc/driver/nvidia/version", "sys/module/nvidia/version"):
        found = _MODULE.search(_read(root / name))
        if found:
            return found[1]
    release = l4t_release(root)
    return f"L4T {release}" if release else ""


def l4t_release(root: Path = Path("/")) -> str:
    """Return the release of L4T on a Jetson, such as ``"36.4.3"``; empty elsewhere."""
    found = _L4T.search(_read(root / "etc/nv_tegra_release"))
    return f"{found[1]}.{found[2]}" if found else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")[:4096]
    except OSError:
        return ""
