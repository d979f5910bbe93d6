"""Chat as OpenAI's clients speak it: the last user message is the question about a stream.

Model ``edgetwin/STREAM`` is a stream, ``edgetwin`` the first one. The answer's text names objects
with ids; ``message.edgetwin`` holds ids, masks, plan and status. Earlier messages are found again
as a conversation that this server had; one that it did not have begins anew, with a warning.

Not covered: tools, pictures in messages, sampling options (read and not used), several choices.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from ...reasoner.prompts import Mode
from ...twin.errors import EdgeTwinError, QueryError
from ..ask_text import answer_text
from ..live.errors import UnknownError
from .answering import Answering, Heard, answered
from .errors import error_body, told
from .records import ErrorBody
from .state import Serving, State
from .streaming import Going

__all__ = ["router"]

router = APIRouter(
    prefix="/v1",
    tags=["chat"],
    responses={404: {"model": ErrorBody}, 429: {"model": ErrorBody}, 503: {"model": ErrorBody}},
)
_MAX_MESSAGES = 64
_MAX_TEXT = 16_000  # characters of one message
_STARTED = int(time.time())


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["text"]
    text: Annotated[str, Field(max_length=_MAX_TEXT)]


class Message(BaseModel):
    """One message; other fields that clients send along are read and not used."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=_MAX_TEXT)] | list[_Part]

    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return " ".join(part.text for part in self.content)


class Chat(BaseModel):
    """A chat so far; options that OpenAI's clients send are read and not used."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "edgetwin",
                    "messages": [{"role": "user", "content": "what could I drink from?"}],
                }
            ]
        },
    )
    model: Annotated[str, Field(max_length=64)] = "edgetwin"
    messages: Annotated[list[Message], Field(min_length=1, max_length=_MAX_MESSAGES)]
    stream: bool = False
    mode: Mode = "concise"


class ChatMessage(BaseModel):
    """What is answered; ``edgetwin`` holds ids, objects, masks, plan, results and status."""

    role: Literal["assistant"] = "assistant"
    content: str
    edgetwin: dict[str, Any]


class Choice(BaseModel):
    """The only choice."""

    index: int = 0
    message: ChatMessage
    finish_reason: Literal["stop"] = "stop"


class Usage(BaseModel):
    """Tokens of the language model."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """A chat completion as OpenAI's clients read it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelEntry(BaseModel):
    """A stream as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "edgetwin"


class ModelList(BaseModel):
    """Every stream as a model."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


@router.get("/models", summary="Streams as models")
async def models(serving: State) -> ModelList:
    """Return ``edgetwin`` and one model per stream."""
    names = ["edgetwin", *(f"edgetwin/{stream.id}" for stream in serving.hub.streams())]
    return ModelList(data=[ModelEntry(id=name, created=_STARTED) for name in names])


@router.post(
    "/chat/completions",
    summary="Ask as a chat",
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def complete(body: Chat, serving: State) -> Response | Completion:
    """Answer the last user message, with chunks while it is answered if ``stream``."""
    stream_id = _stream_of(body.model, serving)
    asked = [place for place, message in enumerate(body.messages) if message.role == "user"]
    if not asked or asked[-1] != len(body.messages) - 1:
        raise QueryError("expected a last message of the user, got none: ask with role user")
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.model}
    if not body.stream:
        record = await _ask(serving, stream_id, body)
        return _completion(head, record)
    answering = Answering(lambda heard: _ask(serving, stream_id, body, heard))
    return Going(_chunks(head, await answering.begun()), "text/event-stream")


async def _ask(
    serving: Serving, stream_id: str, body: Chat, heard: Heard | None = None
) -> dict[str, Any]:
    serving.refuse_when_draining()
    *earlier, question = body.messages
    said = [(m.role, m.text()) for m in earlier if m.role in ("user", "assistant")]
    found = serving.conversations.take(stream_id, said) if said else None
    notes = []
    if said and found is None:
        notes = ["earlier messages are not of a conversation that this server remembers"]
    if found is None:
        session = await serving.call(serving.hub.open_session, stream_id)
    else:
        session = found
    asked = {"question": question.text(), "mode": body.mode, "session": session}
    try:
        record = await answered(serving, stream_id, asked, heard)
    except EdgeTwinError:
        if found is None:
            await _close(serving, [session])
        else:  # refused for now: the chat may go on later
            await _close(serving, serving.conversations.keep(stream_id, said, session))
        raise
    record = {**record, "warnings": [*record.get("warnings", ()), *notes]}
    said += [("user", question.text()), ("assistant", _text(record))]
    await _close(serving, serving.conversations.keep(stream_id, said, session))
    return record


async def _chunks(head: dict[str, Any], answering: Answering) -> AsyncGenerator[bytes, None]:
    """Yield the rationale as ``reasoning_content`` while it is written, then the answer."""
    yield _chunk(head, {"role": "assistant", "content": ""})
    async for kind, data in answering.pieces():
        if kind == "text":
            yield _chunk(head, {"reasoning_content": data})
    try:
        record = await answering.record()
    except EdgeTwinError as error:
        _, code, message = told(error)
        yield f"data: {json.dumps(error_body(code, message))}\n\n".encode()
    else:
        yield _chunk(head, {"content": _text(record), "edgetwin": _extra(record)})
        yield _chunk(head, {}, "stop")
    yield b"data: [DONE]\n\n"


def _chunk(head: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    whole = {**head, "object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(whole, ensure_ascii=False)}\n\n".encode()


def _completion(head: dict[str, Any], record: dict[str, Any]) -> Completion:
    tokens = record.get("tokens", {})
    prompt, total = int(tokens.get("prompt", 0)), int(tokens.get("total", 0))
    message = ChatMessage(content=_text(record), edgetwin=_extra(record))
    usage = Usage(
        prompt_tokens=prompt, completion_tokens=max(0, total - prompt), total_tokens=total
    )
    return Completion(choices=[Choice(message=message)], usage=usage, **head)


def _text(record: dict[str, Any]) -> str:
    """What a person reads: ``#3 red mug``."""
    return answer_text({"objects": [], **record})


def _extra(record: dict[str, Any]) -> dict[str, Any]:
    names = (
        "status ids objects masks intervals value rationale plan results message warnings "
        "stream age_ms frame_index"
    )
    return {name: record[name] for name in names.split() if name in record}


def _stream_of(model: str, serving: Serving) -> str:
    name, _, stream_id = model.partition("/")
    if name != "edgetwin":
        raise UnknownError(f"expected the model edgetwin or edgetwin/STREAM, got {model!r}")
    if stream_id:
        return serving.stream(stream_id).id
    streams = serving.hub.streams()
    if not streams:
        raise UnknownError("expected a stream to ask about, got none: add one")
    return streams[0].id


async def _close(serving: Serving, sessions: Sequence[str]) -> None:
    for session in sessions:
        with suppress(UnknownError):  # closed already, with its stream
            await serving.call(serving.hub.close_session, session)
