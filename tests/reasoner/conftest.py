from __future__ import annotations

import pytest

from edgetwin.twin.schema import DepthStats, FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow


def make_object(
    id: int, label: str, color: str, x: float, y: float, z: float = 0.8, t: float = 0.0
) -> ObjectTwin:
    depth = DepthStats(unit="m", variance=0, min=z, max=z, p5=z, p50=z, p95=z)
    return ObjectTwin(
        id=id,
        semantic_label=label,
        attributes={"color": color},
        confidence=1.0,
        box_xyxy=(x - 20, y - 20, x + 20, y + 20),
        centroid=(x, y),
        area=1200,
        mean_depth=z,
        depth_stats=depth,
        first_seen=0.0,
        last_seen=t,
    )


@pytest.fixture
def window() -> TwinWindow:
    """A red mug (1) left, a blue mug (2) right, a green box (3) between; nothing moves."""
    frames = []
    for index in range(5):
        t = index * 0.25
        objects = [
            make_object(1, "mug", "red", 40, 120, t=t),
            make_object(2, "mug", "blue", 200, 120, 1.1, t=t),
            make_object(3, "box", "green", 90, 140, t=t),
        ]
        frames.append(
            FrameTwin(
                index=index,
                timestamp_s=t,
                width=256,
                height=256,
                objects={o.id: o for o in objects},
            )
        )
    return TwinWindow(frames)
