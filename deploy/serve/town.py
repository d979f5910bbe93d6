"""Who is told of events: every reader of a stream, none of them waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..live.records import Event

__all__ = ["Town"]

_MAX_WAITING = 256  # events of one reader


class Town:
    """Tells every reader of a stream its events; lives in the server's loop."""

    def __init__(self) -> None:
        self._readers: dict[asyncio.Queue[Event | None], frozenset[str]] = {}

    def cry(self, event: Event) -> None:
        """Give an event to all who read its stream; one whose queue is full is given None."""
        for queue, streams in list(self._readers.items()):
            if event.stream in streams:
                try:
                    queue.put_nowait(event)
                except asyncio.QueueFull:
                    queue.get_nowait()
                    queue.put_nowait(None)
                    del self._readers[queue]

    @contextmanager
    def reading(self, streams: Sequence[str]) -> Iterator[asyncio.Queue[Event | None]]:
        """Queue the events of some streams."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_MAX_WAITING)
        self._readers[queue] = frozenset(streams)
        try:
            yield queue
        finally:
            self._readers.pop(queue, None)
