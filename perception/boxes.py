"""Boxes as arrays: overlap, suppression of repeats, padding to a square and back.

Boxes are (N, 4) ``(x0, y0, x1, y1)`` with exclusive right and bottom edges.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import ModelError
from .resample import gaussian_square

__all__ = ["box_iou", "from_square", "intersections", "suppress", "to_square"]

Boxes = NDArray[np.float32]


def intersections(a_n4: Boxes, b_m4: Boxes) -> NDArray[np.float32]:
    """Return the shared areas (N, M) of two lists of boxes."""
    low = np.maximum(a_n4[:, None, :2], b_m4[None, :, :2])
    high = np.minimum(a_n4[:, None, 2:], b_m4[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    shared: NDArray[np.float32] = sides[..., 0] * sides[..., 1]
    return shared


def _areas(boxes_n4: Boxes) -> NDArray[np.float32]:
    sides = np.clip(boxes_n4[:, 2:] - boxes_n4[:, :2], 0, None)
    area: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area


def box_iou(a_n4: Boxes, b_m4: Boxes) -> NDArray[np.float32]:
    """Return intersection over union (N, M); 0 where both boxes are empty."""
    shared = intersections(a_n4, b_m4)
    union = _areas(a_n4)[:, None] + _areas(b_m4)[None, :] - shared
    iou: NDArray[np.float32] = np.where(union > 0, shared / np.maximum(union, 1e-9), 0)
    return iou.astype(np.float32)


def suppress(
    boxes_n4: Boxes,
    scores_n: NDArray[np.float32],
    labels_n: NDArray[np.int64],
    *,
    iou: float,
    inside: float,
) -> list[int]:
    """Return the rows to keep, best score first (non-maximum suppression).

    A row goes when a better one overlaps it by more than ``iou``, whatever their labels
    (one thing, two names), or when both have one label and the smaller lies in the larger by
    more than ``inside`` of its area (a part taken for the whole, or the reverse).
    """
    order = np.argsort(-scores_n, kind="stable")
    overlap = box_iou(boxes_n4, boxes_n4)
    areas = _areas(boxes_n4)
    smaller = np.maximum(np.minimum(areas[:, None], areas[None, :]), 1e-9)
    within = intersections(boxes_n4, boxes_n4) / smaller
    same = labels_n[:, None] == labels_n[None, :]
    clash = (overlap > iou) | (same & (within > inside))
    kept: list[int] = []
    for row in order.tolist():
        if not any(clash[row, k] for k in kept):
            kept.append(row)
    return kept


def to_square(
    image_hw3: NDArray[np.uint8], size: int, value: float, how: str = "area"
) -> NDArray[Any]:
    """Pad on the right and at the bottom to a square, then resize to ``size``.

    ``value`` (0–1) fills the padding. ``"area"`` resizes before it pads, which is less work,
    and returns uint8; ``"gaussian"`` is OWLv2's published way
    (:func:`~edgetwin.perception.resample.gaussian_square`) and returns float32, also 0–255.

    Raises:
        ModelError: if ``how`` is neither.
    """
    if how == "gaussian":
        return gaussian_square(image_hw3, size, value)
    if how != "area":
        raise ModelError(f"expected a detector's resize 'area' or 'gaussian', got {how!r}")
    height, width = image_hw3.shape[:2]
    longest = max(height, width)
    if (height, width) == (size, size):
        return image_hw3
    new_h = max(1, round(height * size / longest))
    new_w = max(1, round(width * size / longest))
    kernel = cv2.INTER_AREA if longest > size else cv2.INTER_LINEAR
    square = np.full((size, size, 3), round(255 * value), np.uint8)
    square[:new_h, :new_w] = cv2.resize(image_hw3, (new_w, new_h), interpolation=kernel)
    return square


def from_square(boxes_cxcywh_n4: Boxes, height: int, width: int) -> Boxes:
    """Turn (cx, cy, w, h) in units of the padded square into pixel boxes of the frame."""
    longest = float(max(height, width))
    centre, half = boxes_cxcywh_n4[:, :2], boxes_cxcywh_n4[:, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) * longest
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes, 0, limits).astype(np.float32)
