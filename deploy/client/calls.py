"""Every request of the server's API as a value: the same for both clients, sent by either.

A :class:`Call` says what to send, how to read the answer, and whether it may be sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from ...twin.errors import InputError
from ..live.records import StreamSpec
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
    Session,
    Standing,
    StreamStatus,
    TwinRecord,
)
from .replies import Reply, listed, nothing, picture, record

__all__ = [
    "Call",
    "add_standing",
    "add_stream",
    "answers",
    "ask",
    "clip",
    "close_session",
    "event",
    "event_picture",
    "events",
    "frame",
    "history",
    "info",
    "lives",
    "masks",
    "objects",
    "one_object",
    "open_session",
    "ready",
    "remove_standing",
    "remove_stream",
    "sessions",
    "standing",
    "stream",
    "streams",
    "twin",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request; ``timeout_s`` replaces the client's own for what takes longer."""

    method: str
    path: str
    read: Callable[[Reply], T]
    params: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    timeout_s: float | None = None

    @property
    def safe(self) -> bool:
        """Whether repeating it changes nothing, whatever became of the first one."""
        return self.method == "GET"


# ---- the server and its streams


def info() -> Call[Info]:
    """Return the call of the clients' ``info``."""
    return Call("GET", "/api/info", record(Info))


def ready() -> Call[None]:
    """Return the call of the clients' ``ready``."""
    return Call("GET", "/readyz", nothing)


def streams() -> Call[list[StreamStatus]]:
    """Return the call of the clients' ``streams``."""
    return Call("GET", "/api/streams", listed("streams", StreamStatus))


def stream(stream_id: str) -> Call[StreamStatus]:
    """Return the call of the clients' ``stream``."""
    return Call("GET", _of(stream_id), record(StreamStatus))


def add_stream(source: str, options: dict[str, Any]) -> Call[StreamStatus]:
    """Return the call of the clients' ``add_stream``."""
    try:
        spec = StreamSpec.model_validate({"source": source, **options})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise InputError(
            f"expected what a stream is to be, got {problem['loc']}: {problem['msg']}"
        ) from None
    body = spec.model_dump(mode="json", exclude_unset=True)
    return Call("POST", "/api/streams", record(StreamStatus), body=body)


def remove_stream(stream_id: str) -> Call[None]:
    """Return the call of the clients' ``remove_stream``."""
    return Call("DELETE", _of(stream_id), nothing)


# ---- what it sees


def twin(stream_id: str) -> Call[TwinRecord]:
    """Return the call of the clients' ``twin``."""
    return Call("GET", _of(stream_id, "twin"), record(TwinRecord))


def masks(stream_id: str, ids: Iterable[int]) -> Call[Masks]:
    """Return the call of the clients' ``masks``."""
    return Call("GET", _of(stream_id, "masks"), record(Masks), _params(ids=_ids(ids)))


def frame(stream_id: str, overlay: bool, ids: Iterable[int]) -> Call[Picture]:
    """Return the call of the clients' ``frame``."""
    params = _params(overlay="1" if overlay else None, ids=_ids(ids))
    return Call("GET", _of(stream_id, "frame.jpg"), picture, params)


def objects(stream_id: str) -> Call[Objects]:
    """Return the call of the clients' ``objects``."""
    return Call("GET", _of(stream_id, "objects"), record(Objects))


def one_object(stream_id: str, object_id: int) -> Call[ObjectRecord]:
    """Return the call of the clients' ``object``."""
    return Call("GET", _of(stream_id, "objects", str(object_id)), record(ObjectRecord))


def history(stream_id: str, **wanted: Any) -> Call[History]:
    """Return the call of the clients' ``history``."""
    return Call("GET", _of(stream_id, "history"), record(History), _params(**wanted))


def lives(stream_id: str, **wanted: Any) -> Call[list[Life]]:
    """Return the call of the clients' ``lives``."""
    params = _params(**wanted, by="object")
    return Call("GET", _of(stream_id, "history"), listed("rows", Life), params)


# ---- questions


def ask(stream_id: str, asked: dict[str, Any], timeout_s: float) -> Call[Answer]:
    """Return the call of the clients' ``ask``."""
    body = {name: value for name, value in asked.items() if value is not None}
    return Call("POST", _of(stream_id, "questions"), record(Answer), body=body, timeout_s=timeout_s)


def answers(stream_id: str) -> Call[list[Answer]]:
    """Return the call of the clients' ``answers``."""
    return Call("GET", _of(stream_id, "questions"), listed("answers", Answer))


def sessions() -> Call[list[Session]]:
    """Return the call of the clients' ``sessions``."""
    return Call("GET", "/api/sessions", listed("sessions", Session))


def open_session(stream_id: str) -> Call[str]:
    """Return the call of the clients' ``open_session``."""
    body = {"stream": stream_id}
    return Call("POST", "/api/sessions", lambda r: record(Session)(r).session, body=body)


def close_session(session: str) -> Call[None]:
    """Return the call of the clients' ``close_session``."""
    return Call("DELETE", _path("api", "sessions", session), nothing)


# ---- standing questions and events


def standing(stream_id: str | None) -> Call[list[Standing]]:
    """Return the call of the clients' ``standing``."""
    path = "/api/standing" if stream_id is None else _of(stream_id, "standing")
    return Call("GET", path, listed("standing", Standing))


def add_standing(
    stream_id: str, question: str, webhook: str | None, timeout_s: float
) -> Call[Standing]:
    """Return the call of the clients' ``add_standing``."""
    body = _params(question=question, webhook=webhook)
    read = record(Standing)
    return Call("POST", _of(stream_id, "standing"), read, body=dict(body), timeout_s=timeout_s)


def remove_standing(standing_id: str) -> Call[None]:
    """Return the call of the clients' ``remove_standing``."""
    return Call("DELETE", _path("api", "standing", standing_id), nothing)


def events(stream_id: str | None, after: str | None, limit: int) -> Call[list[Event]]:
    """Return the call of the clients' ``events``."""
    params = _params(stream=stream_id, after=after, limit=limit)
    return Call("GET", "/api/events", listed("events", Event), params)


def event(event_id: str) -> Call[Event]:
    """Return the call of the clients' ``event``."""
    return Call("GET", _path("api", "events", event_id), record(Event))


def clip(event_id: str) -> Call[bytes]:
    """Return the call of the clients' ``clip``."""
    return Call("GET", _path("api", "events", event_id, "clip.mp4"), lambda reply: reply.body)


def event_picture(event_id: str) -> Call[bytes]:
    """Return the call of the clients' ``event_picture``."""
    return Call("GET", _path("api", "events", event_id, "picture.jpg"), lambda reply: reply.body)


# ---- paths


def _path(*parts: str) -> str:
    for part in parts:
        if not part or part in (".", ".."):
            raise InputError(f"expected an id that is not empty, got {part!r}")
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _of(stream_id: str, *more: str) -> str:
    return _path("api", "streams", stream_id, *more)


def _params(**values: Any) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _ids(ids: Iterable[int]) -> str | None:
    return ",".join(str(int(one)) for one in ids) or None
