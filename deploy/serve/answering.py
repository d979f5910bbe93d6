"""A question on its way: in a thread of those for questions, told of while it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from .state import Serving

__all__ = ["Answering", "Heard", "answered"]

Heard = Callable[[str, Any], None]
_MAX_TOLD = 4096  # pieces of one answer; the reasoner's budget of tokens is far below


async def answered(
    serving: Serving, stream_id: str, asked: dict[str, Any], heard: Heard | None = None
) -> dict[str, Any]:
    """Ask the hub, holding a place of those for questions; ``heard`` is told in the loop.

    The answer is waited for even if its client leaves: the language model cannot be torn away
    from it, and its place must not be given to another meanwhile.

    Raises:
        BusyError: if there is no place.
        EdgeTwinError: as the hub's ``ask``.
    """
    serving.refuse_when_draining()
    serving.stream(stream_id)
    loop = asyncio.get_running_loop()

    def passed_on(kind: str, data: Any) -> None:  # in the language model's thread
        if heard is not None and not loop.is_closed():
            loop.call_soon_threadsafe(heard, kind, data)

    began = time.monotonic()
    with serving.questions.one(), anyio.CancelScope(shield=True):
        told = None if heard is None else passed_on
        ask = partial(serving.hub.ask, stream_id, heard=told, **asked)
        record = await anyio.to_thread.run_sync(ask, limiter=serving.asking)
    serving.metrics.answers.labels(record["status"]).inc()
    serving.metrics.answer_seconds.observe(time.monotonic() - began)
    return record


class Answering:
    """An answer that is streamed: pieces as they come, then the record.

    Args:
        ask: begins to answer, telling what it hears.
    """

    def __init__(self, ask: Callable[[Heard], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        self._told: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue(_MAX_TOLD)
        self._first: tuple[str, Any] | None = None
        self._task = asyncio.create_task(ask(self._hear))
        self._task.add_done_callback(self._end)

    async def begun(self) -> Answering:
        """Return once something was heard, so that what is refused is refused with a status.

        Raises:
            EdgeTwinError: if it failed before.
        """
        self._first = await self._told.get()
        if self._first is None and self._task.exception() is not None:
            self._task.result()
        return self

    async def pieces(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Yield ("text" | "plan" | "results", data) until there is no more."""
        piece = self._first
        while piece is not None:
            yield piece
            piece = await self._told.get()

    async def record(self) -> dict[str, Any]:
        """Return the answer.

        Raises:
            EdgeTwinError: if there is none.
        """
        return await asyncio.shield(self._task)

    def _hear(self, kind: str, data: Any) -> None:
        if self._told.qsize() < _MAX_TOLD - 1:  # the end has its place
            self._told.put_nowait((kind, data))

    def _end(self, task: asyncio.Task[dict[str, Any]]) -> None:
        if not task.cancelled():
            task.exception()  # seen, should nobody wait for it any more
        self._told.put_nowait(None)
