"""Streams of a running ``edgetwin serve``, for agents.

Calls run in one event loop of their own, so that what waits for the network can be let go when
the agent leaves.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

import cv2
import numpy as np

from ...twin.errors import EdgeTwinError
from ...twin.schema import ObjectTwin
from ..client import AsyncClient
from ..client.errors import NotReadyError, RemoteError
from ..live.records import Event, StreamStatus
from .backend import NotYetError, Now, Picture, Point, Seen
from .pictures import MAX_SIDE, jpeg_of

__all__ = ["ServerBackend"]

T = TypeVar("T")
_END_S = 1.0  # for connections to close


class ServerBackend:
    """A :class:`~.backend.Backend` over a server; one thread, which :meth:`close` ends.

    Args:
        url: the server's address.
        token: what it asks for, if anything.

    Raises:
        EdgeTwinError: if the server cannot be reached, or refuses the token.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="edgetwin-server", daemon=True)
        self._thread.start()
        self._made: AsyncClient | None = None
        try:
            self._made = self._client = self._do(_made(url, token))
            self.words()
        except BaseException:
            self.close()
            raise

    def streams(self) -> list[StreamStatus]:
        """Every stream as it is now."""
        return self._do(self._client.streams())

    def words(self) -> Sequence[str]:
        """What the detector can be asked for."""
        return self._do(self._client.info()).words

    def now(self, stream: str) -> Now:
        """The newest twin."""
        found = self._do(self._client.twin(stream))
        return Now(found.frame, found.age_ms)

    def objects(self, stream: str) -> list[ObjectTwin]:
        """The last record of each object of the window, by id."""
        return self._do(self._client.objects(stream)).objects

    def seen(self, stream: str, object_id: int) -> Seen:
        """The last record of one object, with its mask if the window has one."""
        found = self._do(self._client.object(stream, object_id))
        return Seen(found.object, found.index, found.timestamp_s)

    def path(self, stream: str, object_id: int) -> list[Point]:
        """Where one object was seen in the window, oldest first; metres only where it is now."""
        found = self._do(self._client.object(stream, object_id))
        points = [Point(at, x, y) for at, x, y in found.path]
        place = found.object.centroid_m
        if points and place is not None:
            last = points[-1]
            points[-1] = Point(last.timestamp_s, last.x, last.y, place)
        return points

    def picture(self, stream: str, *, overlay: bool, ids: Sequence[int]) -> Picture:
        """The newest picture."""
        found = self._do(self._client.frame(stream, overlay=overlay, ids=ids))
        image = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise RemoteError(f"expected a JPEG of stream {stream}, got another: try again")
        jpeg, (height, width) = found.jpeg, image.shape[:2]
        if max(width, height) > MAX_SIDE:
            rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            jpeg, width, height = jpeg_of(rgb)
        return Picture(jpeg, width, height, found.index, found.timestamp_s, found.age_ms)

    def ask(self, stream: str, question: str, session: str | None) -> dict[str, Any]:
        """Answer a question; blocks."""
        answer = self._do(self._client.ask(stream, question, session=session))
        return answer.model_dump(mode="json")

    def open_session(self, stream: str) -> str:
        """Begin a conversation."""
        return self._do(self._client.open_session(stream))

    def history(self, stream: str, limit: int) -> list[dict[str, Any]]:
        """One row per object that was ever seen, the last seen first."""
        return [life.model_dump() for life in self._do(self._client.lives(stream, limit=limit))]

    def events(self, stream: str | None, after: str | None, limit: int) -> list[Event]:
        """The newest events, or the first ones later than ``after``; oldest first."""
        return self._do(self._client.events(stream, after=after, limit=limit))

    def close(self) -> None:
        """Let go of what waits, and end the thread."""
        with self._lock:
            again, self._closed = self._closed, True
        if not again:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2 * _END_S)

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        with self._lock:  # what is begun before the end is cancelled by it
            if self._closed:
                call.close()
                raise EdgeTwinError("expected an open connection, got one that was closed")
            begun = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return begun.result()
        except CancelledError:
            raise EdgeTwinError("the connection was closed while the server answered") from None
        except NotReadyError as error:
            raise NotYetError(f"{error}; list_streams tells how it fares") from error

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._ended())
            self._loop.close()

    async def _ended(self) -> None:
        """Cancel what waits, then close the connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._made is not None:
            with suppress(TimeoutError):  # a server that does not even close is left
                async with asyncio.timeout(_END_S):
                    await self._made.close()


async def _made(url: str, token: str | None) -> AsyncClient:
    """A client of the running loop."""
    return AsyncClient(url, token=token)
