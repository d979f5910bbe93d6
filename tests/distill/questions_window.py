"""A small window made by hand: five objects on a table, one of which moves and one enters."""

from __future__ import annotations

from edgetwin.twin import FrameTwin, ObjectTwin, TwinWindow
from edgetwin.twin.schema import DepthStats

FRAMES = 16
STEP_S = 0.125

# id, label, colour, x, y, half size in px, depth in m
LAYOUT = (
    (1, "mug", "red", 40.0, 120.0, 15.0, 0.80),
    (2, "mug", "blue", 120.0, 60.0, 12.0, 1.00),
    (3, "bowl", "white", 80.0, 200.0, 20.0, 0.60),
    (4, "book", "red", 180.0, 130.0, 22.0, 0.75),
    (5, "banana", "yellow", 220.0, 210.0, 14.0, 0.58),
)


def _stats(depth_m: float) -> DepthStats:
    return DepthStats(
        unit="m", variance=0.0, min=depth_m, max=depth_m, p5=depth_m, p50=depth_m, p95=depth_m
    )


def _place(id: int, x: float, index: int) -> float | None:
    """Book 4 slides 80 px to the left from frame 4 to 8; banana 5 appears in frame 6."""
    if id == 5 and index < 6:
        return None
    if id == 4:
        return x - 80.0 * min(max((index - 4) / 4, 0.0), 1.0)
    return x


def small_window() -> TwinWindow:
    """16 frames at 8 frames/s, 256×256."""
    frames = []
    for index in range(FRAMES):
        objects = {}
        for id, label, colour, x0, y, half, depth in LAYOUT:
            x = _place(id, x0, index)
            if x is None:
                continue
            objects[id] = ObjectTwin(
                id=id,
                semantic_label=label,
                attributes={"color": colour},
                confidence=1.0,
                box_xyxy=(x - half, y - half, x + half, y + half),
                centroid=(x, y),
                area=int(4 * half * half),
                mean_depth=depth,
                depth_stats=_stats(depth),
                centroid_m=((x - 128) / 309 * depth, (y - 128) / 309 * depth, depth),
                first_seen=0.75 if id == 5 else 0.0,
                last_seen=index * STEP_S,
            )
        frames.append(
            FrameTwin(
                index=index, timestamp_s=index * STEP_S, width=256, height=256, objects=objects
            )
        )
    return TwinWindow(frames)
