"""What the agents' tools answer: bounded records, each with how old it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...reasoner.answer import Status
from ...twin.schema import State
from ..stream.records import SourceKind, SourceState

__all__ = [
    "AnswerTold",
    "AnsweredObject",
    "EventList",
    "EventTold",
    "FrameTold",
    "HistoryList",
    "HistoryObject",
    "MaskTold",
    "ObjectList",
    "ObjectNow",
    "ObjectTold",
    "PathPoint",
    "Place",
    "Relation",
    "StreamList",
    "StreamTold",
    "Track",
]

Relate = Literal["left_of", "right_of", "above", "below", "in_front_of", "behind", "inside", "on"]
Vector = tuple[float, float, float]
Box = tuple[float, float, float, float]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Fresh(_Told):
    """A fact of a stream with its age."""

    stream: str
    frame_index: Annotated[int, Field(description="index of the newest frame")]
    timestamp_s: Annotated[float, Field(description="its time, seconds since the stream began")]
    age_ms: Annotated[float, Field(description="milliseconds since it was taken by the camera")]


class StreamTold(_Told):
    """One stream; ``frame_uri`` and ``twin_uri`` are resources."""

    id: str
    source: str
    kind: SourceKind
    live: bool
    state: SourceState
    error: str
    fps: float
    age_ms: float | None
    frame_index: int | None
    timestamp_s: float | None
    width: int | None
    height: int | None
    objects: int
    frame_uri: str
    twin_uri: str
    warnings: list[str]


class StreamList(_Told):
    """Every stream; ``words`` are the labels that the detector knows."""

    streams: list[StreamTold]
    total: int
    truncated: bool
    words: list[str]


class ObjectTold(_Told):
    """One object as it was last seen.

    Boxes are (x0, y0, x1, y1) pixels of the frame; metres are camera axes: x right, y down, z
    forward; None where not known. ``depth`` is metres where ``depth_unit`` is m, else unit-free
    (larger is farther). Unless ``state`` is visible, all of it is of ``last_seen_s``. ``origin``
    is None for what the stream itself follows, else what found it, such as detect lamp;
    ``confidence`` is None where only an answer told of it.
    """

    id: int
    label: str
    attributes: dict[str, str]
    state: State
    confidence: float | None
    origin: str | None
    box_xyxy: Box
    centroid: tuple[float, float]
    area_px: int
    depth: float | None
    depth_unit: Literal["m", "relative"] | None
    position_m: Vector | None
    size_m: Vector | None
    velocity_px_s: tuple[float, float]
    first_seen_s: float
    last_seen_s: float
    mask_uri: str


class ObjectList(_Fresh):
    """Objects of a stream: visible ones first."""

    objects: list[ObjectTold]
    total: int
    truncated: bool
    note: str = ""


class ObjectNow(_Fresh):
    """One object."""

    object: ObjectTold


class AnsweredObject(_Told):
    """An object that an answer names."""

    id: int
    label: str
    attributes: dict[str, str]
    box_xyxy: Box
    last_seen_s: float
    mask_uri: str


class AnswerTold(_Fresh):
    """An answer.

    ``status``: ok; none: nothing such is there; stale: found, but not visible now; partial: cut
    short, ids are the best so far; error: no answer, see ``message``. ``ids`` can be empty while
    ``value`` (a number) or ``intervals`` ([start, end] seconds) hold the answer.
    """

    question: str
    status: Status
    ids: list[int]
    objects: list[AnsweredObject]
    value: float | None
    intervals: list[tuple[float, float]]
    rationale: str
    plan: list[dict[str, Any]]
    message: str
    session: str | None
    warnings: list[str]
    truncated: bool


class Place(_Fresh):
    """Where an object is: the box to point at and, when known, metres from the camera."""

    id: int
    label: str
    state: State
    box_xyxy: Box
    centroid: tuple[float, float]
    frame_size: tuple[int, int]
    depth: float | None
    depth_unit: Literal["m", "relative"] | None
    position_m: Vector | None
    size_m: Vector | None
    last_seen_s: float
    unseen_s: Annotated[float, Field(description="seconds since it was last visible; 0 if it is")]
    note: str = ""


class PathPoint(_Told):
    """Where it was at a time."""

    timestamp_s: float
    x: float
    y: float
    position_m: Vector | None


class Track(_Fresh):
    """A path, oldest point first; ``truncated`` when points between were left out."""

    id: int
    label: str
    state: State
    points: list[PathPoint]
    total: int
    truncated: bool
    from_s: float | None
    to_s: float | None
    moved_px: float
    moved_m: float | None
    note: str = ""


class HistoryObject(_Told):
    """An object that was seen; ``*_at`` are Unix seconds, None where a recording has no clock.

    ``run`` counts the recordings of a stream: ids begin anew with each, so only those of the
    newest run are the ids that the other tools take.
    """

    run: int
    id: int
    label: str
    first_at: float | None
    last_at: float | None


class HistoryList(_Fresh):
    """Objects seen, the last seen first."""

    objects: list[HistoryObject]
    truncated: bool
    note: str = ""


class EventTold(_Told):
    """What a standing question came to hold at."""

    id: str
    stream: str
    standing: str
    question: str
    reason: str
    at: float
    timestamp_s: float
    frame_index: int
    ids: list[int]
    labels: list[str]


class EventList(_Told):
    """Events, oldest first; pass ``next_after`` to read on.

    ``age_ms`` and ``frame_index`` are of the stream's newest frame, None without a stream.
    """

    events: list[EventTold]
    truncated: bool
    next_after: str | None
    frame_index: int | None
    age_ms: float | None


class Relation(_Fresh):
    """How two objects lie to each other: ``relations`` read "a … b"."""

    a: int
    b: int
    a_label: str
    b_label: str
    distance_px: float
    distance_m: float | None
    relations: list[Relate]
    note: str = ""


class MaskTold(_Fresh):
    """A mask: the picture is white on black, as large as the frame; ``rle`` is COCO's.

    ``mask_frame_index`` and ``mask_timestamp_s`` are of the frame that it was taken from, an
    earlier one unless ``current``.
    """

    id: int
    label: str
    state: State
    current: bool
    mask_frame_index: int
    mask_timestamp_s: float
    width: int
    height: int
    area_px: int
    box_xyxy: Box
    uri: str
    rle: Annotated[dict[str, Any] | None, Field(description="None when it is very long")]
    note: str = ""


class FrameTold(_Fresh):
    """A picture; ``scale`` is its pixels per pixel of boxes."""

    width: int
    height: int
    scale: float
    overlay: bool
    ids: list[int]
    uri: str
