"""Questions and conversations: an answer as JSON, or as server-sent events while it is made."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from ...twin.errors import EdgeTwinError
from .answering import Answering, answered
from .errors import error_body, told
from .records import (
    AnswerRecord,
    Answers,
    ErrorBody,
    NewSession,
    Question,
    SessionRecord,
    Sessions,
)
from .state import State, StreamPath
from .streaming import Going

__all__ = ["router", "sse"]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody},
    429: {"model": ErrorBody},
    503: {"model": ErrorBody},
}
router = APIRouter(prefix="/api", tags=["questions"], responses=_REFUSALS)

_MAX_ANSWERS = 50  # that one request returns


def sse(event: str, data: Any) -> bytes:
    """Return one server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


@router.post(
    "/streams/{id}/questions",
    summary="Ask about a stream",
    response_model=AnswerRecord,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def ask(stream_id: StreamPath, body: Question, serving: State) -> Response | dict[str, Any]:
    """Answer a question with ids and masks.

    With ``stream`` as server-sent events: ``text`` {"text"}, ``plan``, ``results``, then either
    ``answer`` (the record) or ``error``.
    """
    asked = body.model_dump(exclude={"stream"})
    if not body.stream:
        return await answered(serving, stream_id, asked)
    answering = Answering(lambda heard: answered(serving, stream_id, asked, heard))
    return Going(_events(await answering.begun()), "text/event-stream")


async def _events(answering: Answering) -> AsyncGenerator[bytes, None]:
    async for kind, data in answering.pieces():
        yield sse(kind, {"text": data} if kind == "text" else data)
    try:
        record = await answering.record()
    except EdgeTwinError as error:
        _, code, message = told(error)
        yield sse("error", error_body(code, message))
    else:
        yield sse("answer", AnswerRecord.model_validate(record).model_dump(mode="json"))


@router.get("/streams/{id}/questions", summary="The newest answers")
async def answers(stream_id: StreamPath, serving: State) -> Answers:
    """Return the newest answers about a stream, oldest first, at most fifty."""
    kept = list(serving.stream(stream_id).answers)[-_MAX_ANSWERS:]
    return Answers(answers=[AnswerRecord.model_validate(record) for record in kept])


@router.get("/sessions", summary="Every conversation")
async def sessions(serving: State) -> Sessions:
    """Return the conversations that are open."""
    found = await serving.call(serving.hub.sessions)
    return Sessions(sessions=[SessionRecord(session=one.pop("id"), **one) for one in found])


@router.post("/sessions", status_code=201, summary="Begin a conversation")
async def begin(body: NewSession, serving: State) -> SessionRecord:
    """Open a conversation; questions that name it see its earlier ones."""
    serving.stream(body.stream)
    session = await serving.call(serving.hub.open_session, body.stream)
    return SessionRecord(session=session, stream=body.stream)


@router.delete("/sessions/{sid}", status_code=204, summary="End a conversation")
async def end(
    session_id: Annotated[str, Path(alias="sid", pattern=r"^[A-Za-z0-9_-]{1,64}$")], serving: State
) -> Response:
    """Forget a conversation."""
    await serving.call(serving.hub.close_session, session_id)
    return Response(status_code=204)
