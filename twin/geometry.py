"""Plain geometry of boxes and points: pixels in the image plane, metres in camera space.

Boxes are ``(x0, y0, x1, y1)`` in pixels with exclusive right and bottom edges; camera
coordinates are metres, x right, y down, z forward. Nothing here raises on finite numbers:
overflow gives infinity, and an empty box has area zero.

Not covered: lens distortion, rotated boxes, boxes along an object's own axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .schema import Intrinsics

__all__ = [
    "Box",
    "Point2",
    "Point3",
    "back_project",
    "back_project_pixels",
    "box_area",
    "box_centroid",
    "box_intersection",
    "box_iou",
    "distance",
    "extents_m",
    "intrinsics_from_fov",
    "point_extents",
    "project",
    "whole",
]

Box = tuple[float, float, float, float]
Point2 = tuple[float, float]
Point3 = tuple[float, float, float]

_TAIL = 1.0  # percent of points left out at either end of an axis: see point_extents()
_WHOLE_LIMIT = 999_999  # longest whole number the model is ever shown: six digits, six tokens


def box_area(box_xyxy: Box) -> float:
    """Area in square pixels; 0 for an empty or inverted box."""
    x0, y0, x1, y1 = box_xyxy
    return max(0.0, x1 - x0) * max(0.0, y1 - y0)


def box_centroid(box_xyxy: Box) -> Point2:
    """Centre of a box in pixels."""
    x0, y0, x1, y1 = box_xyxy
    return x0 + (x1 - x0) / 2, y0 + (y1 - y0) / 2


def box_intersection(a_xyxy: Box, b_xyxy: Box) -> float:
    """Area in square pixels that two boxes share."""
    return box_area(
        (
            max(a_xyxy[0], b_xyxy[0]),
            max(a_xyxy[1], b_xyxy[1]),
            min(a_xyxy[2], b_xyxy[2]),
            min(a_xyxy[3], b_xyxy[3]),
        )
    )


def box_iou(a_xyxy: Box, b_xyxy: Box) -> float:
    """Intersection over union in [0, 1]; 0 when both boxes are empty."""
    shared = box_intersection(a_xyxy, b_xyxy)
    union = box_area(a_xyxy) + box_area(b_xyxy) - shared
    return shared / union if union > 0 else 0.0


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Euclidean distance of two points of the same dimension, in their own unit."""
    return math.dist(a, b)


def back_project(u_px: float, v_px: float, depth_m: float, camera: Intrinsics) -> Point3:
    """Camera coordinates (x, y, z) in metres of pixel (u, v) at ``depth_m`` along the axis."""
    return (
        (u_px - camera.cx) / camera.fx * depth_m,
        (v_px - camera.cy) / camera.fy * depth_m,
        depth_m,
    )


def back_project_pixels(
    pixels_n2: NDArray[np.floating], depth_m_n: NDArray[np.floating], camera: Intrinsics
) -> NDArray[np.float64]:
    """Camera coordinates (N, 3) in metres of N pixels (x, y) at their depths in metres.

    Pixel coordinates are continuous: the middle of the top left pixel is (0.5, 0.5).
    """
    z = np.asarray(depth_m_n, np.float64)
    rays = (np.asarray(pixels_n2, np.float64) - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return np.concatenate([rays * z[:, None], z[:, None]], axis=1)


def point_extents(points_n3: NDArray[np.floating]) -> Point3:
    """Width, height and depth in metres of the axis-aligned box around N camera-space points.

    The outer percent of the points at each end of each axis is left out. On 10 TwinBench
    validation worlds (225 objects about 130 mm across, predicted depth) this gave a mean absolute
    error of 12, 17 and 40 mm against what is really visible; leaving out five percent, as the
    depth statistics do, makes every object a sixth too small (24, 22 and 43 mm), leaving out
    nothing lets single wrong pixels decide (14, 20 and 47 mm).

    Raises:
        InputError: if there is no point or the shape is not (N, 3).
    """
    points = np.asarray(points_n3, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise InputError(f"expected at least one point as (N, 3), got shape {points.shape}")
    low, high = np.percentile(points, (_TAIL, 100.0 - _TAIL), axis=0)
    width, height, depth = (float(side) for side in high - low)
    return width, height, depth


def project(point_m: Point3, camera: Intrinsics) -> Point2:
    """Pixel (u, v) of a camera-space point in metres.

    Raises:
        InputError: if the point does not lie in front of the camera (z <= 0).
    """
    x, y, z = point_m
    if not z > 0:
        raise InputError(f"expected a point in front of the camera (z > 0 m), got z = {z}")
    return camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy


def extents_m(box_xyxy: Box, depth_m: float, camera: Intrinsics) -> Point2:
    """Width and height in metres of a box seen at ``depth_m``, as if it faced the camera.

    For objects whose pixels' depths are known :func:`point_extents` is better.
    """
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) / camera.fx * depth_m, (y1 - y0) / camera.fy * depth_m


def intrinsics_from_fov(width_px: int, height_px: int, fov_deg: float) -> Intrinsics:
    """Pinhole camera with square pixels from its vertical field of view in degrees.

    Raises:
        InputError: if the field of view is not strictly between 0 and 180 degrees.
    """
    if not 0 < fov_deg < 180:
        raise InputError(f"expected a field of view between 0 and 180 degrees, got {fov_deg}")
    focal = height_px / 2 / math.tan(math.radians(fov_deg) / 2)
    return Intrinsics(fx=focal, fy=focal, cx=width_px / 2, cy=height_px / 2)


def whole(value: float) -> int:
    """Nearest whole number, halves up, held within six digits; NaN gives 0."""
    if math.isnan(value):
        return 0
    return math.floor(min(max(value, -_WHOLE_LIMIT), _WHOLE_LIMIT) + 0.5)
