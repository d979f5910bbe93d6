"""Credentials of the command line, out of the machine's process list.

Whoever is on a machine can read how every process was called. A source on the command line may
hold a password, so it is overwritten in this process's own memory, where the system reads it.

Not covered: the moment before; a shell's history; systems without ``/proc`` (nothing is done).
``edgetwin serve @FILE`` has none of these.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from ..stream.secrets import redacted

__all__ = ["hide_arguments"]

_PROC = Path("/proc/self")
_START, _END = 45, 46  # of the arguments, in /proc/PID/stat after the name (proc(5): 48 and 49)


def hide_arguments() -> bool:
    """Overwrite credentials among this process's arguments; whether there were any."""
    try:
        fields = (_PROC / "stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_START]), int(fields[_END])
        shown = (_PROC / "cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return False
    hidden = b"\0".join(_hidden(part) for part in shown.split(b"\0"))
    if hidden == shown or not start or len(hidden) != len(shown) or end - start != len(shown):
        return False
    ctypes.memmove(start, hidden, len(hidden))
    return True


def _hidden(argument: bytes) -> bytes:
    """The argument without credentials, at its own length."""
    text = argument.decode("utf-8", "surrogateescape")
    safe = redacted(text)
    if safe == text:
        return argument
    return safe.encode("utf-8", "surrogateescape")[: len(argument)].ljust(len(argument))
