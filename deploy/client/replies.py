"""How answers of the server are read: records, pictures, streamed answers, messages of the socket."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..live.errors import BusyError
from .errors import RemoteError, UnreachableError, refusal
from .records import Answer, Event, LightTwin, Picture, StreamStatus

__all__ = [
    "MOST_MISSED",
    "MOST_PAGE",
    "Answering",
    "Following",
    "Message",
    "Removed",
    "Reply",
    "Streamed",
    "listed",
    "message",
    "nothing",
    "picture",
    "record",
]

T = TypeVar("T")
MOST_PAGE = 1000  # events in one answer
MOST_MISSED = 10_000  # events that are read after a break; a server keeps no more
_OVERLAP = 64  # events read again after a break, and told apart by their ids
_MOST_TOLD = MOST_MISSED + _OVERLAP  # ids that are remembered, about 1 MB
_FIRST = "0"  # sorts before the id of any event
_SSE_BYTES = 2**20  # one event of a streamed answer: masks of some hundred objects


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is no refusal, read whole; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def nothing(reply: Reply) -> None:
    """Read an answer that says nothing."""
    return


def record(kind: type[T]) -> Callable[[Reply], T]:
    """Return what reads an answer as one record."""
    adapter = TypeAdapter(kind)

    def read(reply: Reply) -> T:
        return _valid(adapter, reply.body)

    return read


def listed(name: str, kind: type[T]) -> Callable[[Reply], list[T]]:
    """Return what reads an answer ``{name: [records]}``."""
    adapter = TypeAdapter(list[kind])  # type: ignore[valid-type]
    whole = TypeAdapter(dict[str, Any])

    def read(reply: Reply) -> list[T]:
        found = _valid(whole, reply.body)
        try:
            listed: list[T] = adapter.validate_python(found.get(name))
        except ValidationError as error:
            raise _foreign(_problem(error)) from None
        return listed

    return read


def _valid(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise _foreign(_problem(error)) from None


def _problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def _foreign(what: str) -> RemoteError:
    return RemoteError(
        f"expected a record of this version of edgetwin, got {what}: is the server another "
        "version, or another program?"
    )


class Following:
    """Which events were told already, and after which one to look for those that were missed.

    Args:
        streams: whose events are meant; none: all.
        after: the id of the last event that is not meant; None: there was none.
    """

    def __init__(self, streams: Collection[str], after: str | None) -> None:
        self._streams = frozenset(streams)
        self._told: deque[str] = deque([after or _FIRST], _MOST_TOLD)

    @property
    def after(self) -> str:
        """An id some events back: events of several streams may come in another order."""
        return min(list(self._told)[-_OVERLAP:])

    def takes(self, event: Event) -> bool:
        """Whether an event is to be told; it is noted then."""
        if event.id in self._told or event.id < self._told[0]:
            return False
        self._told.append(event.id)
        return not self._streams or event.stream in self._streams


class Removed(Exception):
    """The streams that were watched are gone."""


Message = LightTwin | StreamStatus | Event


def message(text: str | bytes) -> Message | None:
    """Return what a message of the socket says; None: nothing, or of a kind that came later.

    Raises:
        Removed: if the streams are gone.
        BusyError, UnreachableError: if the server says goodbye for another reason.
        RemoteError: if it is no message of ours.
    """
    found = _plain(text if isinstance(text, str) else text.decode(errors="replace"))
    if not isinstance(found, dict):
        raise _foreign("a message that is no record")
    kind = found.pop("type", None)
    if kind == "bye":
        reason = str(found.get("reason", ""))[:200]
        if reason == "removed":
            raise Removed
        if reason == "stopping":
            raise BusyError("the server is stopping", closing=True)
        raise UnreachableError(f"the server ended the socket: {reason}")
    if kind not in _MESSAGES:
        return None
    if kind == "status":
        found.pop("stream", None)  # its id says it
    said: Message = _valid(_MESSAGES[kind], json.dumps(found).encode())
    return said


_MESSAGES: dict[str, TypeAdapter[Any]] = {
    "twin": TypeAdapter(LightTwin),
    "status": TypeAdapter(StreamStatus),
    "event": TypeAdapter(Event),
}


def picture(reply: Reply) -> Picture:
    """Read a JPEG with what its headers say of it."""
    try:
        return Picture(
            jpeg=reply.body,
            index=int(reply.headers["x-frame-index"]),
            timestamp_s=float(reply.headers.get("x-timestamp-s", "nan")),
            age_ms=float(reply.headers["x-age-ms"]),
        )
    except (KeyError, ValueError) as error:
        raise _foreign(f"a picture without {error}") from None


class Streamed:
    """Server-sent events of one answer, put together from whatever pieces come."""

    def __init__(self) -> None:
        self._rest = b""  # an unfinished event, at most _SSE_BYTES

    def feed(self, piece: bytes) -> list[tuple[str, str]]:
        """Take bytes; return (event, data) of every event that they end.

        Raises:
            RemoteError: for an event larger than any answer.
        """
        *ended, self._rest = (self._rest + piece).split(b"\n\n")
        if len(self._rest) > _SSE_BYTES:
            raise _foreign(f"an event of more than {_SSE_BYTES} bytes")
        return [_event(block.decode(errors="replace")) for block in ended]


def _event(block: str) -> tuple[str, str]:
    kind, data = "", ""
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        if name == "event":
            kind = value.strip()
        elif name == "data":
            data += value.removeprefix(" ")
    return kind, data


class Answering:
    """A streamed answer: tells what is heard on the way, and holds the answer at its end."""

    def __init__(self, heard: Callable[[str, Any], None]) -> None:
        self._events, self._heard = Streamed(), heard
        self.answer: Answer | None = None

    def feed(self, piece: bytes) -> None:
        """Take bytes of the body.

        Raises:
            EdgeTwinError: what the server tells instead of an answer.
        """
        for kind, data in self._events.feed(piece):
            if kind == "answer":
                self.answer = record(Answer)(Reply(200, {}, data.encode()))
            elif kind == "error":
                raise refusal(200, data.encode())
            elif kind == "text":
                self._heard(kind, _plain(data)["text"])
            elif kind in ("plan", "results"):
                self._heard(kind, _plain(data))

    def end(self) -> Answer:
        """Return the answer.

        Raises:
            UnreachableError: if the body ended before it.
        """
        if self.answer is None:
            raise UnreachableError("expected an answer at the end, got none: try again")
        return self.answer


def _plain(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _foreign(f"an event that is no JSON: {error}") from None
