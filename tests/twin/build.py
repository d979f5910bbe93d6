"""Small hand-made twins for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgetwin.twin.schema import DepthStats, FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow


def depth(p50: float, unit: str = "m") -> DepthStats:
    return DepthStats.model_validate(
        {"unit": unit, "variance": 0.0, "min": p50, "max": p50, "p5": p50, "p50": p50, "p95": p50}
    )


def obj(
    object_id: int,
    label: str = "mug",
    x: float = 50,
    y: float = 50,
    *,
    w: float = 20,
    h: float = 20,
    z: float | None = None,
    unit: str = "m",
    **more: Any,
) -> ObjectTwin:
    """An object with its centroid in the middle of its box and an area of the box."""
    fields: dict[str, Any] = {
        "id": object_id,
        "semantic_label": label,
        "confidence": 0.9,
        "box_xyxy": (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
        "centroid": (x, y),
        "area": int(w * h),
        "first_seen": 0.0,
        "last_seen": 100.0,
    }
    if z is not None:
        fields |= {"mean_depth": z, "depth_stats": depth(z, unit)}
    return ObjectTwin(**(fields | more))


def frame(index: int, objects: Sequence[ObjectTwin], *, fps: float = 8, **more: Any) -> FrameTwin:
    fields: dict[str, Any] = {
        "index": index,
        "timestamp_s": index / fps,
        "width": 256,
        "height": 256,
        "objects": {o.id: o for o in objects},
    }
    return FrameTwin(**(fields | more))


def still_window(*objects: ObjectTwin) -> TwinWindow:
    """One frame."""
    return TwinWindow([frame(0, objects)])


def video(
    paths: Mapping[int, Sequence[Any]], labels: Mapping[int, str] | None = None, **more: Any
) -> TwinWindow:
    """One frame per entry of the paths, 8 frames/s.

    An entry is (x, y), (x, y, z), None (absent), or a ready ObjectTwin.
    """
    count = max(len(p) for p in paths.values())
    frames = []
    for index in range(count):
        objects = []
        for object_id, path in paths.items():
            entry = path[index] if index < len(path) else None
            label = (labels or {}).get(object_id, "mug")
            if isinstance(entry, ObjectTwin):
                objects.append(entry)
            elif entry is not None:
                z = entry[2] if len(entry) > 2 else None
                objects.append(obj(object_id, label, entry[0], entry[1], z=z, **more))
        frames.append(frame(index, objects))
    return TwinWindow(frames)
