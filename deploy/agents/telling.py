"""From the twin's records to what agents are told: cleaned, rounded, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...twin.motion import depth_of
from ...twin.schema import ObjectTwin
from ..live.records import Event, StreamStatus
from .backend import Now, Point
from .records import (
    AnsweredObject,
    AnswerTold,
    Box,
    EventTold,
    HistoryObject,
    ObjectTold,
    PathPoint,
    StreamTold,
    Vector,
)
from .words import label_of, plain, word

__all__ = [
    "MAX_IDS",
    "answer_told",
    "event_told",
    "frame_uri",
    "fresh",
    "history_told",
    "mask_uri",
    "object_told",
    "path_told",
    "stream_told",
    "thinned",
    "twin_uri",
]

MAX_IDS = 50  # objects named in one answer; what an agent's model reads at once
_MAX_ATTRIBUTES = 8
_MAX_WARNINGS = 5
_MAX_STEPS = 16
_MAX_RATIONALE = 2000


def frame_uri(stream: str) -> str:
    """The resource of a stream's newest picture."""
    return f"edgetwin://streams/{stream}/frame.jpg"


def twin_uri(stream: str) -> str:
    """The resource of a stream's newest twin."""
    return f"edgetwin://streams/{stream}/twin.json"


def mask_uri(stream: str, object_id: int) -> str:
    """The resource of an object's newest mask."""
    return f"edgetwin://streams/{stream}/objects/{object_id}/mask.png"


def fresh(stream: str, now: Now) -> dict[str, Any]:
    """What every fact begins with."""
    return {
        "stream": stream,
        "frame_index": now.frame.index,
        "timestamp_s": round(now.frame.timestamp_s, 3),
        "age_ms": round(now.age_ms, 1),
    }


def stream_told(status: StreamStatus) -> StreamTold:
    """A stream's status; its address is cleaned of what could be read as more than data."""
    source = status.source
    return StreamTold(
        id=status.id,
        source=plain(source.uri, 120),
        kind=source.kind,
        live=source.live,
        state=source.state,
        error=plain(source.error, 200),
        fps=round(status.fps, 2),
        age_ms=None if status.age_ms is None else round(status.age_ms, 1),
        frame_index=status.frame_index,
        timestamp_s=None if status.timestamp_s is None else round(status.timestamp_s, 3),
        width=status.width,
        height=status.height,
        objects=status.objects,
        frame_uri=frame_uri(status.id),
        twin_uri=twin_uri(status.id),
        warnings=[plain(text) for text in status.warnings[:_MAX_WARNINGS]],
    )


def object_told(stream: str, obj: ObjectTwin) -> ObjectTold:
    """An object's record without its mask."""
    depth = depth_of(obj)
    return ObjectTold(
        id=obj.id,
        label=label_of(obj.semantic_label),
        attributes=_attributes(obj.attributes),
        state=obj.state,
        confidence=round(obj.confidence, 3) if obj.confidence or obj.origin is None else None,
        origin=None if obj.origin is None else word(obj.origin) or "question",
        box_xyxy=_box(obj.box_xyxy),
        centroid=(round(obj.centroid[0], 1), round(obj.centroid[1], 1)),
        area_px=obj.area,
        depth=None if depth is None else round(depth, 4),
        depth_unit=None if obj.depth_stats is None else obj.depth_stats.unit,
        position_m=_vector(obj.centroid_m),
        size_m=_vector(obj.extent_m),
        velocity_px_s=(round(obj.velocity[0], 1) + 0.0, round(obj.velocity[1], 1) + 0.0),  # no -0.0
        first_seen_s=round(obj.first_seen, 3),
        last_seen_s=round(obj.last_seen, 3),
        mask_uri=mask_uri(stream, obj.id),
    )


def path_told(point: Point) -> PathPoint:
    """A point of a path."""
    return PathPoint(
        timestamp_s=round(point.timestamp_s, 3),
        x=round(point.x, 1),
        y=round(point.y, 1),
        position_m=_vector(point.position_m),
    )


def event_told(event: Event) -> EventTold:
    """An event without masks."""
    return EventTold(
        id=plain(event.id, 64),
        stream=event.stream,
        standing=plain(event.standing, 64),
        question=plain(event.question),
        reason=plain(event.reason),
        at=round(event.at, 3),
        timestamp_s=round(event.timestamp_s, 3),
        frame_index=event.frame_index,
        ids=event.ids[:MAX_IDS],
        labels=[label_of(obj.label) for obj in event.objects[:MAX_IDS]],
    )


def history_told(row: dict[str, Any]) -> HistoryObject:
    """What the memory says of one object."""
    return HistoryObject(
        run=int(row["run"]),
        id=int(row["id"]),
        label=label_of(str(row["label"])),
        first_at=_at(row["first_at"]),
        last_at=_at(row["last_at"]),
    )


def answer_told(stream: str, now: Now, record: dict[str, Any], session: str | None) -> AnswerTold:
    """An answer's record: the age is of the frame that it was answered on, where it says so."""
    age = {k: record[k] for k in ("age_ms", "frame_index") if record.get(k) is not None}
    ids = [int(i) for i in record.get("ids", ())]
    plan, intervals = record.get("plan") or [], record.get("intervals") or []
    return AnswerTold(
        **{**fresh(stream, now), **age},
        question=plain(str(record.get("question", "")), 500),
        status=record["status"],
        ids=ids[:MAX_IDS],
        objects=[_answered(stream, obj) for obj in record.get("objects", ())[:MAX_IDS]],
        value=record.get("value"),
        intervals=[(round(a, 3), round(b, 3)) for a, b in intervals[:MAX_IDS]],
        rationale=plain(str(record.get("rationale", "")), _MAX_RATIONALE),
        plan=[_step(step) for step in plan[:_MAX_STEPS]],
        message=plain(str(record.get("message", "")), 500),
        session=session,
        warnings=[plain(str(text)) for text in record.get("warnings", ())[:_MAX_WARNINGS]],
        truncated=max(len(ids), len(intervals)) > MAX_IDS or len(plan) > _MAX_STEPS,
    )


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of the points, evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    if most < 2:
        return list(points[-1:])
    last = len(points) - 1
    return [points[round(place * last / (most - 1))] for place in range(most)]


def _answered(stream: str, obj: dict[str, Any]) -> AnsweredObject:
    object_id = int(obj["id"])
    return AnsweredObject(
        id=object_id,
        label=label_of(str(obj["label"])),
        attributes=_attributes(obj.get("attributes") or {}),
        box_xyxy=_box(obj["box_xyxy"]),
        last_seen_s=round(float(obj["last_seen"]), 3),
        mask_uri=mask_uri(stream, object_id),
    )


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """A plan's step with its texts cleaned; references such as $1 stay."""
    return {word(str(name)): _value(value) for name, value in list(step.items())[:_MAX_STEPS]}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        head = "$" if value.startswith("$") and value[1:].isdigit() else ""
        return head + plain(value, 64)
    if isinstance(value, (list, tuple)):
        return [_value(item) for item in value[:MAX_IDS]]
    return (
        value if isinstance(value, (int, float, bool)) or value is None else plain(str(value), 64)
    )


def _attributes(attributes: dict[str, str]) -> dict[str, str]:
    held = list(attributes.items())[:_MAX_ATTRIBUTES]
    return {name: word(value) for key, value in held if (name := word(key))}


def _at(value: float | None) -> float | None:
    return None if value is None else round(float(value), 3)


def _box(box: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (round(float(side), 1) for side in box)
    return x0, y0, x1, y1


def _vector(vector: Sequence[float] | None) -> Vector | None:
    if vector is None:
        return None
    x, y, z = (round(float(part), 4) for part in vector)
    return x, y, z
