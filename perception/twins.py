"""From the tracker's memory to the twin's records: masks, depth, metres, states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin import mask as rle
from ..twin.frame import Frame
from ..twin.geometry import back_project, intrinsics_from_fov
from ..twin.schema import DepthStats, FrameTwin, Intrinsics, ObjectTwin, Rle
from .tracks import Crop, Track

__all__ = ["DepthHold", "depth_stats", "frame_twin"]


class DepthHold:
    """Depth of each live object as of the last keyframe; holds no other objects."""

    def __init__(self) -> None:
        self._stats: dict[int, tuple[DepthStats, float]] = {}

    def get(self, object_id: int) -> tuple[DepthStats, float] | None:
        """Return (statistics, mean) of an object, or None before its first keyframe."""
        return self._stats.get(object_id)

    def refresh(self, tracks: Iterable[Track], depth_hw: NDArray[np.float32], metric: bool) -> None:
        """Measure visible objects anew, keep hidden ones, forget the rest."""
        fresh: dict[int, tuple[DepthStats, float]] = {}
        for track in tracks:
            known = self._stats.get(track.id)
            if track.state == "visible" and track.crop is not None:
                fresh[track.id] = depth_stats(track.crop, depth_hw, metric)
            elif known is not None:
                fresh[track.id] = known
        self._stats = fresh


def depth_stats(
    crop: Crop, depth_hw: NDArray[np.float32], metric: bool
) -> tuple[DepthStats, float]:
    """Return statistics and mean of the depth under a mask.

    The mask loses a pixel all around if a fifth of it remains: predicted depth is blurred
    across contours.
    """
    height, width = crop.pixels_hw.shape
    window = depth_hw[crop.y : crop.y + height, crop.x : crop.x + width]
    padded = np.pad(crop.pixels_hw, 1).astype(np.uint8)
    core = cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    use = core if 5 * np.count_nonzero(core) >= crop.area else crop.pixels_hw
    values = window[use].astype(np.float64)
    low, middle, high = (float(v) for v in np.percentile(values, (5, 50, 95)))
    stats = DepthStats(
        unit="m" if metric else "relative",
        variance=float(values.var()),
        min=float(values.min()),
        max=float(values.max()),
        p5=low,
        p50=middle,
        p95=high,
    )
    return stats, float(values.mean())


def frame_twin(
    frame: Frame,
    tracks: Sequence[Track],
    hold: DepthHold,
    scale: float,
    fov_deg: float | None,
) -> FrameTwin:
    """Write the twin of one frame; ``scale`` is frame pixels per pixel of the tracker's world.

    Without intrinsics of its own the frame gets those of the bundle's field of view.
    """
    height, width = frame.image_hw3.shape[:2]
    camera = frame.intrinsics
    if camera is None and fov_deg is not None:
        camera = intrinsics_from_fov(width, height, fov_deg)
    objects = {t.id: _object(t, hold, scale, camera, (height, width)) for t in tracks}
    return FrameTwin(
        source_id=frame.source_id,
        index=frame.index,
        timestamp_s=frame.timestamp_s,
        width=width,
        height=height,
        intrinsics=camera,
        objects=objects,
    )


def _object(
    track: Track,
    hold: DepthHold,
    scale: float,
    camera: Intrinsics | None,
    size_hw: tuple[int, int],
) -> ObjectTwin:
    visible = track.state == "visible"
    color = track.colors.winner
    box, centroid, area, mask = _place(track, scale, size_hw, visible)
    depth = hold.get(track.id)
    stats, mean = depth if depth is not None else (None, None)
    place = None
    if stats is not None and stats.unit == "m" and camera is not None:
        place = back_project(centroid[0], centroid[1], stats.p50, camera)
    velocity = track.velocity * scale if visible else np.zeros(2)
    return ObjectTwin(
        id=track.id,
        semantic_label=track.labels.winner or "object",
        attributes={} if color is None else {"color": color},
        confidence=min(max(track.score, 0.0), 1.0),
        state=track.state,
        mask=mask,
        box_xyxy=box,
        centroid=centroid,
        area=area,
        mean_depth=mean,
        depth_stats=stats,
        centroid_m=place,
        velocity=(float(velocity[0]), float(velocity[1])),
        first_seen=track.first_seen,
        last_seen=track.last_seen,
    )


def _place(
    track: Track, scale: float, size_hw: tuple[int, int], visible: bool
) -> tuple[tuple[float, float, float, float], tuple[float, float], int, Rle | None]:
    """Return box, centroid, area and mask in pixels of the frame."""
    crop = track.crop
    if visible and crop is not None:
        full = _full_mask(crop, scale, size_hw)
        own = Crop.of(full)
        if own is not None:
            return own.box_xyxy, own.centroid, own.area, rle.encode(full)
    x0, y0, x1, y1 = (float(v) * scale for v in track.box_xyxy)
    middle = (float(track.centroid[0]) * scale, float(track.centroid[1]) * scale)
    return (x0, y0, x1, y1), middle, round(track.area * scale * scale), None


def _full_mask(crop: Crop, scale: float, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    full = np.zeros(size_hw, np.bool_)
    height, width = crop.pixels_hw.shape
    if scale == 1.0:
        full[crop.y : crop.y + height, crop.x : crop.x + width] = crop.pixels_hw
        return full
    x0, y0 = round(crop.x * scale), round(crop.y * scale)
    x1 = min(round((crop.x + width) * scale), size_hw[1])
    y1 = min(round((crop.y + height) * scale), size_hw[0])
    if x1 <= x0 or y1 <= y0:
        return full
    pixels = crop.pixels_hw.astype(np.float32)
    full[y0:y1, x0:x1] = cv2.resize(pixels, (x1 - x0, y1 - y0)) >= 0.5
    return full
