"""What requests and answers of the server hold, as its OpenAPI tells it.

Bodies that come in refuse what they do not know; what goes out is declared in full, with an
example of each that a reader needs. Records of streams, standing questions and events are those
of :mod:`~edgetwin.deploy.live.records`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...reasoner.prompts import Mode
from ...twin.schema import FrameTwin, ObjectTwin, Rle
from ..live.records import Event, Standing, StreamStatus

__all__ = [
    "AnswerRecord",
    "Answers",
    "ErrorBody",
    "Events",
    "Histories",
    "HistoryRow",
    "Info",
    "Limits",
    "Login",
    "MasksRecord",
    "NewSession",
    "ObjectRecord",
    "Objects",
    "Offer",
    "Question",
    "SessionRecord",
    "Sessions",
    "StandingQuestion",
    "Standings",
    "StreamId",
    "Streams",
    "TwinRecord",
]

StreamId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
_MAX_QUESTION = 2000  # characters; the reasoner refuses more than it can read on its own


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Error(_Out):
    code: str
    message: str


class ErrorBody(_Out):
    """Every refusal; ``code`` is for programs, ``message`` for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"error": {"code": "unknown", "message": "expected a stream of ['cam'], got 'x'"}}
            ]
        }
    )
    error: _Error


class Login(_In):
    """The server's token, for a cookie."""

    token: Annotated[str, Field(min_length=1, max_length=512)]


class Question(_In):
    """A question about a stream; ``stream``: as server-sent events while it is answered."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "what could I drink from?"}]}
    )
    question: Annotated[str, Field(min_length=1, max_length=_MAX_QUESTION)]
    mode: Mode = "concise"
    session: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    budget_s: Annotated[float, Field(gt=0, le=60)] | None = None
    stream: bool = False


class StandingQuestion(_In):
    """A question whose plan then runs on every twin; ``webhook`` gets its events."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "tell me when a mug is near the bowl"}]}
    )
    question: Annotated[str, Field(min_length=1, max_length=_MAX_QUESTION)]
    webhook: Annotated[str, Field(min_length=1, max_length=2048)] | None = None


class NewSession(_In):
    """Which stream a conversation is about."""

    stream: StreamId


class Offer(_In):
    """One side of a WebRTC connection."""

    sdp: Annotated[str, Field(min_length=1, max_length=60_000)]
    type: Literal["offer", "answer"]


class Limits(_Out):
    """What the server takes at most, and ``kinds`` of sources that may be added over HTTP."""

    kinds: list[str]
    body_bytes: int
    streams: int
    sessions: int
    questions: int
    sockets: int
    viewers: int
    peers: int
    rows: int


class Info(_Out):
    """The server as a whole."""

    version: str
    models: dict[str, Any]
    words: list[str]
    modes: list[str]
    limits: Limits
    streams: list[str]
    auth: bool
    webrtc: bool


class Streams(_Out):
    """Every stream."""

    streams: list[StreamStatus]


class TwinRecord(_Out):
    """The newest frame's twin; ``age_ms`` since the frame was taken from its source."""

    age_ms: float
    frame: FrameTwin


class MasksRecord(_Out):
    """Masks of the newest frame's visible objects as COCO RLE by id; ``size`` is [height, width]."""

    age_ms: float
    index: int
    timestamp_s: float
    size: tuple[int, int]
    masks: dict[int, Rle]


class Objects(_Out):
    """Objects of the window, each as last seen."""

    age_ms: float
    frame_index: int
    timestamp_s: float
    objects: list[ObjectTwin]


class ObjectRecord(_Out):
    """One object as last seen, at ``timestamp_s`` of frame ``index``; ``path`` is [[t, x, y], …]."""

    age_ms: float
    object: ObjectTwin
    index: int
    timestamp_s: float
    path: list[tuple[float, float, float]]


class HistoryRow(_Out):
    """One object in one stored frame, or with ``by=object`` one object over all of them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    id: int
    label: str


class Histories(_Out):
    """Stored records, oldest first; ``truncated``: there are more than were asked for."""

    rows: list[HistoryRow]
    truncated: bool


class NamedObject(_Out):
    """An object that an answer names."""

    model_config = ConfigDict(extra="allow", frozen=True)
    id: int
    label: str
    attributes: dict[str, str] = Field(default_factory=dict)
    box_xyxy: list[float]


class AnswerRecord(_Out):
    """An answer: what was asked, the ids that answer it with their masks, and how it was found.

    ``status``: ``ok``; ``none`` no such object; ``stale`` found, but not in sight now;
    ``partial`` a budget ended first; ``error`` no answer, and ``message`` says why. ``masks`` are
    COCO RLE by id, of the newest frame in which each is visible. Further fields (tokens, times,
    models, transcript) are those of ``edgetwin ask --json``.
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "question": "what could I drink from?",
                    "status": "ok",
                    "ids": [3],
                    "objects": [
                        {
                            "id": 3,
                            "label": "mug",
                            "attributes": {"color": "red"},
                            "box_xyxy": [90.0, 71.0, 118.0, 99.0],
                        }
                    ],
                    "masks": {"3": {"size": [256, 256], "counts": "Tf11o7"}},
                    "rationale": "Mugs hold drinks.",
                    "plan": [{"tool": "find", "words": ["mug"]}],
                    "results": [[3]],
                    "message": "",
                    "stream": "cam",
                    "age_ms": 41.0,
                    "frame_index": 512,
                }
            ]
        },
    )
    question: str
    status: Literal["ok", "none", "stale", "partial", "error"]
    ids: list[int]
    objects: list[NamedObject] = Field(default_factory=list)
    masks: dict[str, Any] = Field(default_factory=dict)
    rationale: str = ""
    plan: list[dict[str, Any]] = Field(default_factory=list)
    results: list[Any] = Field(default_factory=list)
    message: str = ""
    stream: str
    age_ms: float | None = None
    frame_index: int | None = None


class Answers(_Out):
    """The newest answers about a stream, oldest first."""

    answers: list[AnswerRecord]


class SessionRecord(_Out):
    """A conversation: follow-up questions see its earlier ones."""

    model_config = ConfigDict(extra="allow", frozen=True)
    session: str
    stream: str


class Sessions(_Out):
    """Every open conversation."""

    sessions: list[SessionRecord]


class Standings(_Out):
    """Standing questions."""

    standing: list[Standing]


class Events(_Out):
    """Events, oldest first; go on with ``after`` the last one's id."""

    events: list[Event]
