"""What a twin holds, for people: its objects as a table, a moment of it, or what the model reads.

Not covered: pictures (``overlay.mp4`` and ``edgetwin twin export --format davis``).
"""

from __future__ import annotations

from typing import Any

from ..twin.errors import InputError
from ..twin.motion import appeared_s, disappeared_s, hidden_spans, motion_of
from ..twin.schema import FrameTwin, ObjectTwin
from ..twin.window import TwinWindow

__all__ = [
    "MOMENT_COLUMNS",
    "OBJECT_COLUMNS",
    "frame_at",
    "moments_of",
    "name_of",
    "object_records",
    "rows_at",
    "rows_of",
    "span",
]

OBJECT_COLUMNS = ("id", "color", "label", "seen", "moments")
MOMENT_COLUMNS = ("id", "color", "label", "state", "box", "depth", "px/s")
_MAX_OCCLUSIONS = 4


def name_of(obj: ObjectTwin) -> str:
    """Return an object as people call it, ``#3 red mug``."""
    return " ".join(f"#{obj.id} {obj.attributes.get('color', '')} {obj.semantic_label}".split())


def span(start_s: float, end_s: float) -> str:
    """Return seconds as ``1.2-2.4``, or ``1.2`` where both are the same."""
    start, end = f"{start_s:.1f}", f"{end_s:.1f}"
    return start if start == end else f"{start}-{end}"


def object_records(window: TwinWindow) -> list[dict[str, Any]]:
    """Return one plain record per object of the window, by id; times in seconds."""
    records = []
    for key in window.ids():
        obj = window.latest(key)
        records.append(
            {
                "id": key,
                "label": obj.semantic_label,
                "color": obj.attributes.get("color"),
                "first_seen": obj.first_seen,
                "last_seen": obj.last_seen,
                "visible": window.visible_at_end(key),
                "moments": moments_of(window, key),
                "origin": obj.origin,
            }
        )
    return records


def moments_of(window: TwinWindow, object_id: int) -> list[str]:
    """Return what happened to an object, in order of time, such as ``moved left 1.2-2.4``."""
    found: list[tuple[float, str]] = []
    if (start := appeared_s(window, object_id)) is not None:
        found.append((start, f"appeared {span(start, start)}"))
    if (motion := motion_of(window, object_id)) is not None:
        way = [part for part in (motion.direction, motion.depth_direction) if part]
        text = " ".join(["moved", *way, span(motion.start_s, motion.end_s)])
        found.append((motion.start_s, text))
    hidden = [(a, b) for a, b in hidden_spans(window, object_id) if b > a]
    found += [(a, f"hidden {span(a, b)}") for a, b in hidden[:_MAX_OCCLUSIONS]]
    if not window.visible_at_end(object_id):
        gone = disappeared_s(window, object_id)
        if gone is not None:
            found.append((gone, f"not seen since {span(gone, gone)}"))
    return [text for _, text in sorted(found, key=lambda moment: moment[0])]


def rows_of(window: TwinWindow) -> list[tuple[str, ...]]:
    """Return the rows of a table with :data:`OBJECT_COLUMNS`."""
    return [
        (
            str(record["id"]),
            record["color"] or "",
            record["label"],
            f"{span(record['first_seen'], record['last_seen'])} s",
            ", ".join(record["moments"]) + (f" [{record['origin']}]" if record["origin"] else ""),
        )
        for record in object_records(window)
    ]


def frame_at(window: TwinWindow, seconds: float) -> FrameTwin:
    """Return the frame shown at a time: the newest one that is not later.

    Raises:
        InputError: if the window is empty or has nothing at that time.
    """
    shown = [frame for frame in window.frames if frame.timestamp_s <= seconds + 1e-9]
    if not shown:
        raise InputError(
            f"expected a time from {window.start_s:.1f} to {window.end_s:.1f} s, got {seconds:g}: "
            "choose another --at"
        )
    return shown[-1]


def rows_at(frame: FrameTwin) -> list[tuple[str, ...]]:
    """Return the rows of a table with :data:`MOMENT_COLUMNS` for one frame."""
    return [
        (
            str(key),
            obj.attributes.get("color", ""),
            obj.semantic_label,
            obj.state,
            " ".join(f"{v:.0f}" for v in obj.box_xyxy),
            _depth(obj),
            " ".join(str(round(v)) for v in obj.velocity),
        )
        for key, obj in sorted(frame.objects.items())
    ]


def _depth(obj: ObjectTwin) -> str:
    if obj.depth_stats is None:
        return ""
    return f"{obj.depth_stats.p50:.2f} {'m' if obj.depth_stats.unit == 'm' else 'rel'}"
