"""The asynchronous client: made from ``client.py`` by ``tests/deploy/client/unasync.py``."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ...reasoner.prompts import Mode
from ...twin.errors import EdgeTwinError
from ..live.errors import BusyError
from . import calls
from .calls import Call
from .connection import (
    MOST_BODY_BYTES,
    Server,
    http_library,
    pause_s,
    socket_library,
    too_large,
    whole,
)
from .errors import NotReadyError, UnreachableError, from_socket, from_transport
from .records import (
    Answer,
    Event,
    History,
    Info,
    Life,
    Masks,
    ObjectRecord,
    Objects,
    Picture,
    Row,
    Session,
    Standing,
    StreamStatus,
    TwinRecord,
)
from .replies import (
    MOST_MISSED,
    MOST_PAGE,
    Answering,
    Following,
    Message,
    Removed,
    Reply,
    message,
)

__all__ = ["AsyncClient"]

T = TypeVar("T")
_ANSWER_S = 120.0  # a large language model on a small board, behind one other question


class AsyncClient:
    """Talks to one server, in one event loop; see :class:`~edgetwin.deploy.client.Client`.

    Args:
        url: the server's address.
        token: what it asks for, if anything.
        timeout_s: for a connection and between two pieces of an answer.
        retries: how often a request is repeated at most, where that is safe.
        from_environment: whether proxies may come from the environment.
        ca_file: certificates to trust, PEM, such as the server's own; None: the usual ones.

    Raises (every method):
        EdgeTwinError: see :mod:`~edgetwin.deploy.client.errors`.
        MissingExtraError: if the HTTP library is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        from_environment: bool = False,
        ca_file: Path | None = None,
    ) -> None:
        self._server = Server(url, token, timeout_s, retries, from_environment, ca_file)
        self._http = http_library().AsyncClient(**self._server.options())

    def __repr__(self) -> str:
        return f"AsyncClient({self._server.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # ---- the server and its streams

    async def info(self) -> Info:
        """What the server is: version, models, words, limits."""
        return await self._call(calls.info())

    async def ready(self) -> bool:
        """Whether it answers questions now."""
        try:
            await self._call(calls.ready())
        except (NotReadyError, BusyError):
            return False
        return True

    async def streams(self) -> list[StreamStatus]:
        """Every stream."""
        return await self._call(calls.streams())

    async def stream(self, stream_id: str) -> StreamStatus:
        """One stream."""
        return await self._call(calls.stream(stream_id))

    async def add_stream(self, source: str, **options: Any) -> StreamStatus:
        """Open a source; ``options`` are fields of :class:`StreamSpec`, such as ``id``."""
        return await self._call(calls.add_stream(source, options))

    async def remove_stream(self, stream_id: str) -> None:
        """Close a stream; what was recorded stays on the server's disk."""
        await self._call(calls.remove_stream(stream_id))

    # ---- what it sees

    async def twin(self, stream_id: str) -> TwinRecord:
        """The newest twin."""
        return await self._call(calls.twin(stream_id))

    async def masks(self, stream_id: str, ids: Iterable[int] = ()) -> Masks:
        """Masks of the newest frame, of all objects in sight or of some."""
        return await self._call(calls.masks(stream_id, ids))

    async def frame(
        self, stream_id: str, *, overlay: bool = False, ids: Iterable[int] = ()
    ) -> Picture:
        """The newest picture; ``overlay`` draws the objects, ``ids`` strongly."""
        return await self._call(calls.frame(stream_id, overlay, ids))

    async def objects(self, stream_id: str) -> Objects:
        """Every object of the last seconds, as last seen."""
        return await self._call(calls.objects(stream_id))

    async def object(self, stream_id: str, object_id: int) -> ObjectRecord:
        """One object and where it was."""
        return await self._call(calls.one_object(stream_id, object_id))

    async def history(
        self,
        stream_id: str,
        *,
        start_at: float | None = None,
        end_at: float | None = None,
        label: str | None = None,
        object_id: int | None = None,
        limit: int = 1000,
    ) -> History:
        """What was recorded, a row per object and frame: the newest, or the first from a time."""
        return await self._call(
            calls.history(
                stream_id,
                start_at=start_at,
                end_at=end_at,
                label=label,
                object_id=object_id,
                limit=limit,
            )
        )

    async def lives(
        self, stream_id: str, *, label: str | None = None, limit: int = 1000
    ) -> list[Life]:
        """First and last sight of every object that was recorded, the one seen last first."""
        return await self._call(calls.lives(stream_id, label=label, limit=limit))

    async def rows(
        self,
        stream_id: str,
        *,
        start_at: float = 0.0,
        end_at: float | None = None,
        label: str | None = None,
        object_id: int | None = None,
        page: int = 1000,
    ) -> AsyncGenerator[Row, None]:
        """Yield the whole history between two times, oldest first, a page at a time."""
        end_at = time.time() if end_at is None else end_at  # a running stream has no end
        while True:
            found = await self.history(
                stream_id,
                start_at=start_at,
                end_at=end_at,
                label=label,
                object_id=object_id,
                limit=page,
            )
            for row in found.rows:
                yield row
            if not found.truncated or not found.rows:
                return
            start_at = math.nextafter(found.rows[-1].at, math.inf)

    # ---- questions

    async def ask(
        self,
        stream_id: str,
        question: str,
        *,
        mode: Mode = "concise",
        session: str | None = None,
        budget_s: float | None = None,
        heard: Callable[[str, Any], None] | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> Answer:
        """Ask; ``heard`` is told "text", "plan" and "results" while the answer is made."""
        asked = {"question": question, "mode": mode, "session": session, "budget_s": budget_s}
        if heard is None:
            return await self._call(calls.ask(stream_id, asked, timeout_s))
        answering = Answering(heard)
        call = calls.ask(stream_id, {**asked, "stream": True}, timeout_s)
        await self._again(call, lambda: self._once(call, answering.feed))
        return answering.end()

    async def answers(self, stream_id: str) -> list[Answer]:
        """The newest answers, oldest first."""
        return await self._call(calls.answers(stream_id))

    async def sessions(self) -> list[Session]:
        """Open conversations."""
        return await self._call(calls.sessions())

    async def open_session(self, stream_id: str) -> str:
        """Begin a conversation; questions that name it see its earlier ones."""
        return await self._call(calls.open_session(stream_id))

    async def close_session(self, session: str) -> None:
        """End a conversation."""
        await self._call(calls.close_session(session))

    # ---- standing questions and events

    async def standing(self, stream_id: str | None = None) -> list[Standing]:
        """Standing questions, of all streams or of one."""
        return await self._call(calls.standing(stream_id))

    async def add_standing(
        self,
        stream_id: str,
        question: str,
        *,
        webhook: str | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> Standing:
        """Ask from now on; what comes to hold is an event."""
        return await self._call(calls.add_standing(stream_id, question, webhook, timeout_s))

    async def remove_standing(self, standing_id: str) -> None:
        """Ask no more; its events stay."""
        await self._call(calls.remove_standing(standing_id))

    async def events(
        self, stream_id: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[Event]:
        """Events, oldest first; those after one if it is named."""
        return await self._call(calls.events(stream_id, after, limit))

    async def event(self, event_id: str) -> Event:
        """One event."""
        return await self._call(calls.event(event_id))

    async def clip(self, event_id: str) -> bytes:
        """The clip around an event, as MP4."""
        return await self._call(calls.clip(event_id))

    async def event_picture(self, event_id: str) -> bytes:
        """The event's frame, as JPEG."""
        return await self._call(calls.event_picture(event_id))

    async def watch(self, *streams: str) -> AsyncGenerator[Message, None]:
        """Yield twins, statuses and events of some streams, or of all, as they come.

        It ends when the streams are removed. A slow reader misses twins, never events.

        Raises:
            BusyError, UnreachableError: when the server stops or the connection breaks.
        """
        library = socket_library("asyncio.client")
        try:
            async with library.connect(
                self._server.socket_url(streams), **self._server.socket_options()
            ) as socket:
                try:
                    while True:
                        found = message(await self._receive(socket))
                        if found is not None:
                            yield found
                finally:
                    await socket.close()  # as one who leaves, not as one who failed
        except Removed:
            return
        except Exception as error:  # the library's become ours, others stay what they are
            raise from_socket(error, self._server.url) from None

    async def follow(self, *streams: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield events after one, or from now on, as they come: each once and none missed.

        When the connection breaks, or the server is started anew, it connects again and first
        reads what came meanwhile. It ends when the streams are removed.

        Raises:
            As :meth:`watch`, when ``retries`` more attempts did not connect.
        """
        newest = [] if after else await self.events(limit=1)
        following = Following(streams, after or (newest[0].id if newest else None))
        failed = 0
        while True:
            try:
                async with aclosing(self.watch(*streams)) as messages:
                    missed: list[Event] | None = None
                    async for found in messages:
                        missed = await self._missed(following) if missed is None else []
                        for event in [*missed, found]:
                            if isinstance(event, Event) and following.takes(event):
                                yield event
                        failed = 0
                return
            except EdgeTwinError as error:
                broken = UnreachableError(str(error)) if isinstance(error, BusyError) else error
                pause = pause_s(calls.streams(), broken, failed, self._server.retries)
                if pause is None:
                    raise
            failed += 1
            await asyncio.sleep(pause)

    # ---- inside

    async def _missed(self, following: Following) -> list[Event]:
        found: list[Event] = []
        while len(found) < MOST_MISSED:
            page = await self.events(
                after=found[-1].id if found else following.after, limit=MOST_PAGE
            )
            found += page
            if len(page) < MOST_PAGE:
                break
        return found

    async def _call(self, call: Call[T]) -> T:
        return await self._again(call, lambda: self._read(call))

    async def _again(self, call: Call[Any], send: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                return await send()
            except EdgeTwinError as error:
                pause = pause_s(call, error, attempt, self._server.retries)
                if pause is None:
                    raise
            attempt += 1
            await asyncio.sleep(pause)

    async def _once(self, call: Call[Any], taken: Callable[[bytes], None] | None = None) -> Reply:
        """Send once; ``taken`` gets the body of an answer that is no refusal as it comes."""
        http = http_library()
        try:
            async with self._http.stream(**self._server.request(call)) as response:
                body, streamed = bytearray(), taken is not None and response.status_code == 200
                async for piece in response.aiter_bytes():
                    if streamed and taken is not None:
                        taken(piece)
                        continue
                    body += piece
                    if len(body) > MOST_BODY_BYTES:
                        raise too_large(self._server.url)
        except (http.HTTPError, http.StreamError, http.InvalidURL) as error:
            raise from_transport(error, self._server.url) from None
        return whole(response.status_code, response.headers, bytes(body))

    async def _read(self, call: Call[T]) -> T:
        return call.read(await self._once(call))

    async def _receive(self, socket: Any) -> str | bytes:
        async with asyncio.timeout(self._server.timeout_s):
            found: str | bytes = await socket.recv()
            return found
