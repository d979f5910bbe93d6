"""Questions and conversations: an answer as JSON, or as server-sent events while it is made."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Response

from ...twin.errors import EdgeTwinError
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
from .state import Serving, State, StreamPath
from .streaming import Going

__all__ = ["Told", "answered", "router", "sse"]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody},
    429: {"model": ErrorBody},
    503: {"model": ErrorBody},
}
router = APIRouter(prefix="/api", tags=["questions"], responses=_REFUSALS)

Told = asyncio.Queue[tuple[str, Any]]
_MAX_ANSWERS = 50  # that one request returns
_MAX_TOLD = 4096  # pieces of one answer; the reasoner's budget of tokens is far below


def sse(event: str, data: Any) -> bytes:
    """Return one server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def answered(
    serving: Serving, stream_id: str, asked: dict[str, Any], told_to: Told | None = None
) -> dict[str, Any]:
    """Ask the hub, holding a place of those for questions; ``told_to`` gets pieces as they come.

    The answer is waited for even if its client leaves: the language model cannot be torn away
    from it, and its place must not be given to another meanwhile.

    Raises:
        BusyError: if there is no place.
        EdgeTwinError: as the hub's ``ask``.
    """
    serving.refuse_when_draining()
    serving.stream(stream_id)
    loop = asyncio.get_running_loop()
    heard = None
    if told_to is not None:

        def heard(kind: str, data: Any) -> None:  # in the language model's thread
            loop.call_soon_threadsafe(told_to.put_nowait, (kind, data))

    began = time.monotonic()
    with serving.questions.one(), anyio.CancelScope(shield=True):
        ask = partial(serving.hub.ask, stream_id, heard=heard, **asked)
        record = await anyio.to_thread.run_sync(ask, limiter=serving.asking)
    serving.metrics.answers.labels(record["status"]).inc()
    serving.metrics.answer_seconds.observe(time.monotonic() - began)
    return record


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
    told_to: Told = asyncio.Queue(_MAX_TOLD)
    task = asyncio.create_task(answered(serving, stream_id, asked, told_to))
    await asyncio.wait({task}, timeout=0)  # what is refused at once is refused as an answer
    await asyncio.sleep(0)
    if task.done():
        task.result()
    return Going(_events(task, told_to), "text/event-stream")


async def _events(task: asyncio.Task[dict[str, Any]], told_to: Told) -> AsyncGenerator[bytes, None]:
    async for kind, data in pieces(task, told_to):
        yield sse(kind, {"text": data} if kind == "text" else data)
    try:
        record = await task
    except EdgeTwinError as error:
        _, code, message = told(error)
        yield sse("error", error_body(code, message))
    else:
        yield sse("answer", AnswerRecord.model_validate(record).model_dump(mode="json"))


async def pieces(
    task: asyncio.Task[dict[str, Any]], told_to: Told
) -> AsyncGenerator[tuple[str, Any], None]:
    """Yield what was heard while a question is answered, until it is."""
    while True:
        getting = asyncio.ensure_future(told_to.get())
        try:
            await asyncio.wait({task, getting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getting.done():
                getting.cancel()
        if getting.done() and not getting.cancelled():
            yield getting.result()
        elif task.done():
            break
    while not told_to.empty():
        yield told_to.get_nowait()


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
