"""One thing made of each of a stream's moments, made once for all who look at it.

The newest wins: a reader that is slow gets the newest when it asks again, and what it missed is
counted. Nothing is made while nobody looks, and of moments that come while one is being made only
the last is made next. So the cost does not depend on the number of readers, nor on their speed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from ..live.stream import LiveStream, Moment

__all__ = ["Ended", "Shared"]

T = TypeVar("T")
_log = logging.getLogger("edgetwin.serve")


class Ended(Exception):
    """The stream was removed or the server stops: nothing more comes."""


class Shared(Generic[T]):
    """The newest ``make(moment)`` of one stream.

    Args:
        stream: whose moments.
        make: called in a thread, one moment at a time.
        threads: what those threads are taken from.

    Attributes:
        readers: how many look now.
        made: how many were made.
    """

    def __init__(
        self,
        stream: LiveStream,
        make: Callable[[Moment], T],
        threads: anyio.CapacityLimiter,
    ) -> None:
        self.stream = stream
        self._make, self._threads = make, threads
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        self._newest: tuple[Moment, T] | None = None
        self._maker: asyncio.Task[None] | None = None
        self._ended = False
        self.readers = 0
        self.made = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Be a reader; the first one starts the making, the last one ends it."""
        self.readers += 1
        if self._maker is None:
            self._maker = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers and self._maker is not None:
                self._maker.cancel()
                self._maker, self._newest = None, None

    async def after(self, seq: int) -> tuple[Moment, T]:
        """Return the newest moment later than ``seq`` with what was made of it.

        Raises:
            Ended: if no more come.
        """
        async with self._changed:
            while True:
                if self._ended:
                    raise Ended
                if self._newest is not None and self._newest[0].seq > seq:
                    return self._newest
                await self._changed.wait()

    async def end(self) -> None:
        """Tell all readers that nothing more comes."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def heard(_: Moment) -> None:  # in the perception's thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._wake.set)

        heard.__qualname__ = "the viewers"  # a stream names a listener that takes long
        unlisten = self.stream.listen(heard)
        seen = -1
        try:
            while not self._ended:
                self._wake.clear()
                moment = self.stream.latest()
                if moment is None or moment.seq <= seen:
                    await self._wake.wait()
                    continue
                seen = moment.seq
                await self._take(moment)
        finally:
            unlisten()

    async def _take(self, moment: Moment) -> None:
        try:
            made = await anyio.to_thread.run_sync(self._make, moment, limiter=self._threads)
        except Exception as error:  # whatever drawing meets: one picture less, not the end of all
            _log.error("frame %d: %s %s", moment.frame.index, type(error).__name__, error)
            return
        self.made += 1
        async with self._changed:
            self._newest = (moment, made)
            self._changed.notify_all()
