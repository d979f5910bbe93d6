"""Standard input as lines for the event loop, with no thread that waits in a read.

A thread in ``read`` cannot be stopped, so a server told to end while its client is silent would
hang. Here the event loop waits for the descriptor instead. Lines are bounded; standard input is
moved away while it is served, so that nothing else reads from the wire.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType

import anyio

__all__ = ["MAX_LINE_BYTES", "Lines"]

MAX_LINE_BYTES = 4 * 2**20  # as the SDK bounds a body over HTTP
_TOO_LONG = "\n"  # no JSON: the SDK answers it with a parse error
_BLOCK = 1 << 16


class Lines:
    """An asynchronous iterator over the lines of a descriptor; use it in a ``with``."""

    def __init__(self, fd: int | None = None) -> None:
        self._given = sys.stdin.fileno() if fd is None else fd
        self._fd = -1
        self._held = bytearray()  # at most a line and a block
        self._skipping = False
        self._ended = False

    def __enter__(self) -> Lines:
        self._fd = os.dup(self._given)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, self._given)
        os.close(null)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.dup2(self._fd, self._given)
        os.close(self._fd)
        self._fd = -1

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        while True:
            end = self._held.find(b"\n")
            if end >= 0:
                line = bytes(self._held[: end + 1])
                del self._held[: end + 1]
                if self._skipping:  # the rest of a line that was refused
                    self._skipping = False
                    continue
                return line.decode("utf-8", errors="replace")
            if len(self._held) > MAX_LINE_BYTES or self._skipping:
                self._held.clear()
                if not self._skipping:
                    self._skipping = True
                    return _TOO_LONG
            if self._ended:
                raise StopAsyncIteration
            await self._more()

    async def _more(self) -> None:
        try:
            await anyio.wait_readable(self._fd)
        except PermissionError:  # a regular file, which is always readable
            await anyio.lowlevel.checkpoint()
        block = os.read(self._fd, _BLOCK)
        self._ended = not block
        self._held += block
