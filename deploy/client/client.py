"""The Python client of a running server::

    from edgetwin.deploy.client import Client

    with Client("http://127.0.0.1:8300") as twin:
        answer = twin.ask("table", "what could I drink from?")
        print(answer.ids, {key: mask.sum() for key, mask in answer.masks_hw().items()})

:class:`~edgetwin.deploy.client.AsyncClient` has the same methods. Errors are those of this package:
see :mod:`~edgetwin.deploy.client.errors`. Reading is repeated a few times when a connection breaks
or the server is busy; what changes something only if the server cannot have begun with it.

Not covered: video (MJPEG, WebRTC), for which browsers and players are made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
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

__all__ = ["Client"]

T = TypeVar("T")
_ANSWER_S = 120.0  # a large language model on a small board, behind one other question


class Client:
    """Talks to one server; may be used from several threads.

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
        self._http = http_library().Client(**self._server.options())

    def __repr__(self) -> str:
        return f"Client({self._server.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # ---- the server and its streams

    def info(self) -> Info:
        """What the server is: version, models, words, limits."""
        return self._call(calls.info())

    def ready(self) -> bool:
        """Whether it answers questions now."""
        try:
            self._call(calls.ready())
        except (NotReadyError, BusyError):
            return False
        return True

    def streams(self) -> list[StreamStatus]:
        """Every stream."""
        return self._call(calls.streams())

    def stream(self, stream_id: str) -> StreamStatus:
        """One stream."""
        return self._call(calls.stream(stream_id))

    def add_stream(self, source: str, **options: Any) -> StreamStatus:
        """Open a source; ``options`` are fields of :class:`StreamSpec`, such as ``id``."""
        return self._call(calls.add_stream(source, options))

    def remove_stream(self, stream_id: str) -> None:
        """Close a stream; what was recorded stays on the server's disk."""
        self._call(calls.remove_stream(stream_id))

    # ---- what it sees

    def twin(self, stream_id: str) -> TwinRecord:
        """The newest twin."""
        return self._call(calls.twin(stream_id))

    def masks(self, stream_id: str, ids: Iterable[int] = ()) -> Masks:
        """Masks of the newest frame, of all objects in sight or of some."""
        return self._call(calls.masks(stream_id, ids))

    def frame(self, stream_id: str, *, overlay: bool = False, ids: Iterable[int] = ()) -> Picture:
        """The newest picture; ``overlay`` draws the objects, ``ids`` strongly."""
        return self._call(calls.frame(stream_id, overlay, ids))

    def objects(self, stream_id: str) -> Objects:
        """Every object of the last seconds, as last seen."""
        return self._call(calls.objects(stream_id))

    def object(self, stream_id: str, object_id: int) -> ObjectRecord:
        """One object and where it was."""
        return self._call(calls.one_object(stream_id, object_id))

    def history(
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
        return self._call(
            calls.history(
                stream_id,
                start_at=start_at,
                end_at=end_at,
                label=label,
                object_id=object_id,
                limit=limit,
            )
        )

    def lives(self, stream_id: str, *, label: str | None = None, limit: int = 1000) -> list[Life]:
        """First and last sight of every object that was recorded, the one seen last first."""
        return self._call(calls.lives(stream_id, label=label, limit=limit))

    def rows(
        self,
        stream_id: str,
        *,
        start_at: float = 0.0,
        end_at: float | None = None,
        label: str | None = None,
        object_id: int | None = None,
        page: int = 1000,
    ) -> Generator[Row, None, None]:
        """Yield the whole history between two times, oldest first, a page at a time."""
        end_at = time.time() if end_at is None else end_at  # a running stream has no end
        while True:
            found = self.history(
                stream_id,
                start_at=start_at,
                end_at=end_at,
                label=label,
                object_id=object_id,
                limit=page,
            )
            yield from found.rows
            if not found.truncated or not found.rows:
                return
            start_at = math.nextafter(found.rows[-1].at, math.inf)

    # ---- questions

    def ask(
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
            return self._call(calls.ask(stream_id, asked, timeout_s))
        answering = Answering(heard)
        call = calls.ask(stream_id, {**asked, "stream": True}, timeout_s)
        self._again(call, lambda: self._once(call, answering.feed))
        return answering.end()

    def answers(self, stream_id: str) -> list[Answer]:
        """The newest answers, oldest first."""
        return self._call(calls.answers(stream_id))

    def sessions(self) -> list[Session]:
        """Open conversations."""
        return self._call(calls.sessions())

    def open_session(self, stream_id: str) -> str:
        """Begin a conversation; questions that name it see its earlier ones."""
        return self._call(calls.open_session(stream_id))

    def close_session(self, session: str) -> None:
        """End a conversation."""
        self._call(calls.close_session(session))

    # ---- standing questions and events

    def standing(self, stream_id: str | None = None) -> list[Standing]:
        """Standing questions, of all streams or of one."""
        return self._call(calls.standing(stream_id))

    def add_standing(
        self,
        stream_id: str,
        question: str,
        *,
        webhook: str | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> Standing:
        """Ask from now on; what comes to hold is an event."""
        return self._call(calls.add_standing(stream_id, question, webhook, timeout_s))

    def remove_standing(self, standing_id: str) -> None:
        """Ask no more; its events stay."""
        self._call(calls.remove_standing(standing_id))

    def events(
        self, stream_id: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[Event]:
        """Events, oldest first; those after one if it is named."""
        return self._call(calls.events(stream_id, after, limit))

    def event(self, event_id: str) -> Event:
        """One event."""
        return self._call(calls.event(event_id))

    def clip(self, event_id: str) -> bytes:
        """The clip around an event, as MP4."""
        return self._call(calls.clip(event_id))

    def event_picture(self, event_id: str) -> bytes:
        """The event's frame, as JPEG."""
        return self._call(calls.event_picture(event_id))

    def watch(self, *streams: str) -> Generator[Message, None, None]:
        """Yield twins, statuses and events of some streams, or of all, as they come.

        It ends when the streams are removed. A slow reader misses twins, never events.

        Raises:
            BusyError, UnreachableError: when the server stops or the connection breaks.
        """
        library = socket_library("sync.client")
        try:
            with library.connect(
                self._server.socket_url(streams), **self._server.socket_options()
            ) as socket:
                try:
                    while True:
                        found = message(socket.recv(self._server.timeout_s))
                        if found is not None:
                            yield found
                finally:
                    socket.close()  # as one who leaves, not as one who failed
        except Removed:
            return
        except Exception as error:  # the library's become ours, others stay what they are
            raise from_socket(error, self._server.url) from None

    def follow(self, *streams: str, after: str | None = None) -> Generator[Event, None, None]:
        """Yield events after one, or from now on, as they come: each once and none missed.

        When the connection breaks, or the server is started anew, it connects again and first
        reads what came meanwhile. It ends when the streams are removed.

        Raises:
            As :meth:`watch`, when ``retries`` more attempts did not connect.
        """
        newest = [] if after else self.events(limit=1)
        following = Following(streams, after or (newest[0].id if newest else None))
        failed = 0
        while True:
            try:
                with closing(self.watch(*streams)) as messages:
                    missed: list[Event] | None = None
                    for found in messages:
                        missed = self._missed(following) if missed is None else []
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
            time.sleep(pause)

    # ---- inside

    def _missed(self, following: Following) -> list[Event]:
        found: list[Event] = []
        while len(found) < MOST_MISSED:
            page = self.events(after=found[-1].id if found else following.after, limit=MOST_PAGE)
            found += page
            if len(page) < MOST_PAGE:
                break
        return found

    def _call(self, call: Call[T]) -> T:
        return self._again(call, lambda: call.read(self._once(call)))

    def _again(self, call: Call[Any], send: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                return send()
            except EdgeTwinError as error:
                pause = pause_s(call, error, attempt, self._server.retries)
                if pause is None:
                    raise
            attempt += 1
            time.sleep(pause)

    def _once(self, call: Call[Any], taken: Callable[[bytes], None] | None = None) -> Reply:
        """Send once; ``taken`` gets the body of an answer that is no refusal as it comes."""
        http = http_library()
        try:
            with self._http.stream(**self._server.request(call)) as response:
                body, streamed = bytearray(), taken is not None and response.status_code == 200
                for piece in response.iter_bytes():
                    if streamed and taken is not None:
                        taken(piece)
                        continue
                    body += piece
                    if len(body) > MOST_BODY_BYTES:
                        raise too_large(self._server.url)
        except (http.HTTPError, http.StreamError, http.InvalidURL) as error:
            raise from_transport(error, self._server.url) from None
        return whole(response.status_code, response.headers, bytes(body))
