"""What streams, questions and events look like from outside: the records of the API.

Every record is plain JSON by ``model_dump(mode="json")``. Times named ``timestamp_s`` are seconds
since the stream began, on the clock of its twin; ``*_at`` are Unix seconds; ``age_ms`` counts from
the moment a frame was taken from its source to now.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..stream.records import SourceStatus

__all__ = [
    "Event",
    "EventObject",
    "FrameCounts",
    "Standing",
    "StandingState",
    "StreamSpec",
    "StreamStatus",
]

StandingState = Literal["active", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamSpec(_Record):
    """What a stream is to be.

    ``source`` is a file or folder, ``rtsp://…``, ``v4l2:/dev/video0``, ``gst:PIPELINE`` or
    ``sim:cell?seed=7``; it may hold credentials and is never shown: see ``SourceStatus.uri``.
    ``words`` are what to look for; None: all that the set knows. ``loop`` begins a file anew when
    it ends. ``live`` overrides what the kind says: True paces a file by its own clock and drops
    frames like a camera, False waits for perception and drops none.
    """

    source: Annotated[str, Field(min_length=1, max_length=4096)]
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] | None = None
    words: Annotated[list[str], Field(max_length=256)] | None = None
    fps: Annotated[float, Field(gt=0, le=240)] = 10.0
    loop: bool = False
    live: bool | None = None
    record: bool = True


class FrameCounts(_Record):
    """Where frames went: ``read == processed + sum(dropped.values()) + in_flight``, always.

    ``dropped`` is by reason: ``queue`` (a live source was faster than perception), ``stopped``
    (waiting when the stream was stopped), ``failed`` (perception refused it), ``damaged``.
    """

    read: int = 0
    processed: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)


class StreamStatus(_Record):
    """One stream at a moment; ``fps`` is of twins in the last seconds, ``age_ms`` the staleness
    of the newest twin (None before the first one), ``skipped`` what its viewers missed."""

    id: str
    source: SourceStatus
    frames: FrameCounts
    fps: float = 0.0
    age_ms: float | None = None
    frame_index: int | None = None
    timestamp_s: float | None = None
    width: int | None = None
    height: int | None = None
    objects: int = 0
    started_at: float
    skipped: int = 0
    stored_frames: int = 0
    stored_bytes: int = 0
    warnings: list[str] = Field(default_factory=list)


class Standing(_Record):
    """A standing question: ``plan`` is what runs on every twin, without the language model.

    ``asked`` is the question that the plan was made from. ``compiled`` counts how often the
    language model was asked for it.
    """

    id: str
    stream: str
    question: str
    asked: str = ""
    plan: list[dict[str, Any]] = Field(default_factory=list)
    state: StandingState = "active"
    message: str = ""
    created_at: float
    events: int = 0
    evaluations: int = 0
    compiled: int = 0
    webhook: bool = False


class EventObject(_Record):
    """An object that an event is about, as it was then; ``mask`` is COCO RLE or None."""

    id: int
    label: str
    attributes: dict[str, str] = Field(default_factory=dict)
    box_xyxy: tuple[float, float, float, float]
    mask: dict[str, Any] | None = None


class Event(_Record):
    """What a standing question came to hold at: ``delay_ms`` from frame to event."""

    id: str
    standing: str
    stream: str
    question: str
    at: float
    timestamp_s: float
    frame_index: int
    ids: list[int]
    objects: list[EventObject]
    reason: str
    delay_ms: float
    clip: bool = False
    delivered: Literal["none", "waiting", "yes", "failed"] = "none"
