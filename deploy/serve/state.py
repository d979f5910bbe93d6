"""What the routes of one server share: the hub, bounds, newest answers, shared pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from ..live.errors import UnknownError
from ..live.records import Event
from .access import Logins
from .broadcast import Shared
from .config import ServeSettings
from .conversations import Conversations
from .errors import DrainingError, NotReadyError
from .limits import Slots
from .metrics import Metrics
from .peers import Peers
from .town import Town

if TYPE_CHECKING:
    from ..live.hub import LiveHub
    from ..live.stream import LiveStream, Moment

__all__ = ["ObjectId", "Serving", "State", "StreamPath", "chosen", "newest", "serving_of"]

P = ParamSpec("P")
T = TypeVar("T")

_WATCH_S = 0.5


class Serving:
    """One server's state; made anew for every application.

    Attributes:
        hub: the streams.
        draining: set once the server is told to stop.
    """

    def __init__(self, hub: LiveHub, settings: ServeSettings) -> None:
        limits = settings.limits
        self.hub, self.settings = hub, settings
        self.logins = Logins(settings.token, limits.logins)
        self.draining = asyncio.Event()
        self.calls = anyio.CapacityLimiter(limits.calls)
        self.pictures = anyio.CapacityLimiter(2)  # encoders: more would starve perception
        self.asking = anyio.CapacityLimiter(limits.questions)
        self.questions = Slots("questions", limits.questions)
        self.sockets = Slots("WebSockets", limits.sockets, 5.0)
        self.viewers = Slots("video viewers", limits.viewers, 5.0)
        self.peers = Slots("WebRTC viewers", limits.peers, 5.0)
        self.metrics = Metrics(self)
        self.town = Town()
        self.webrtc = Peers()
        self.conversations = Conversations()
        self._shared: dict[tuple[Any, ...], Shared[Any]] = {}  # dropped with their last reader

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in one of few threads."""
        return await anyio.to_thread.run_sync(
            partial(function, *args, **kwargs), limiter=self.calls
        )

    def missed(self, stream: LiveStream, by: str, count: int) -> None:
        """Count frames that a viewer was too slow for."""
        if count > 0:
            self.metrics.skipped.labels(by).inc(count)
            stream.skip(count)

    def stream(self, stream_id: str) -> LiveStream:
        """Return a stream.

        Raises:
            UnknownError: if there is none of that id.
        """
        return self.hub.stream(stream_id)

    @property
    def busy(self) -> bool:
        """Whether a question is being answered."""
        return self.questions.used > 0

    def refuse_when_draining(self) -> None:
        """Raise DrainingError once the server is stopping."""
        if self.draining.is_set():
            raise DrainingError("this server is stopping: try again when it is back")

    def tell(self, event: Event) -> None:
        """Give an event to all who listen, and count it."""
        self.metrics.events.labels(event.stream).inc()
        self.town.cry(event)

    @asynccontextmanager
    async def shared(
        self, stream: LiveStream, name: tuple[Any, ...], make: Callable[[Moment], T]
    ) -> AsyncIterator[Shared[T]]:
        """What ``make`` gives of each moment, shared with all who ask under the same name."""
        key = (stream.id, *name)
        found = self._shared.get(key)
        if found is None or found.stream is not stream:
            found = self._shared[key] = Shared(stream, make, self.pictures)
        try:
            async with found.reading():
                yield found
        finally:
            if not found.readers and self._shared.get(key) is found:
                del self._shared[key]

    async def watch(self) -> None:
        """End what is shared of streams that are gone, until cancelled; all of it at a drain."""
        while True:
            current = {stream.id: stream for stream in await self.call(self.hub.streams)}
            for key, shared in list(self._shared.items()):
                if self.draining.is_set() or current.get(key[0]) is not shared.stream:
                    await shared.end()
            try:
                async with asyncio.timeout(_WATCH_S):
                    await self.draining.wait()
                await asyncio.sleep(_WATCH_S / 5)  # draining: those that came since end too
            except TimeoutError:
                continue


def serving_of(connection: HTTPConnection) -> Serving:
    """Return the state of the server that a request came to."""
    found = connection.app.state.serving
    assert isinstance(found, Serving)
    return found


State = Annotated[Serving, Depends(serving_of)]
StreamPath = Annotated[str, Path(alias="id", pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ObjectId = Annotated[int, Path(alias="oid", ge=1, le=2**31 - 1)]


def newest(stream: LiveStream) -> Moment:
    """Return a stream's newest moment.

    Raises:
        NotReadyError: if it has seen nothing yet.
    """
    moment = stream.latest()
    if moment is None:
        raise NotReadyError(
            f"expected a frame of stream {stream.id}, got none yet: its source is "
            f"{stream.status().source.state}; ask again in a second"
        )
    return moment


def chosen(ids: str, present: Iterable[int]) -> frozenset[int]:
    """Return the ids of ``"3,4"``; empty text is none of them.

    Raises:
        UnknownError: if one is not among those present.
    """
    wanted = frozenset(int(part) for part in ids.split(",") if part)
    missing = sorted(wanted - set(present))
    if missing:
        raise UnknownError(f"expected ids of objects in this frame, got {missing}")
    return wanted
