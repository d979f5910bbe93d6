"""Regions of a picture that no word asked for: their shape, their quality and their names.

Small pure functions on masks and on what a detector's patches saw; see
:mod:`~edgetwin.perception.everything` for how they are put together.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from .boxes import box_iou

__all__ = [
    "BROAD_LABELS",
    "UNSURE",
    "RegionLabels",
    "border_share",
    "mask_boxes",
    "patch_weights",
    "shared_areas",
    "stability",
]

Array = NDArray[np.float32]

UNSURE = "object"
"""The name of what none of the labels fits well."""

BROAD_LABELS: tuple[str, ...] = (
    "person", "hand", "cat", "dog", "bird", "bicycle", "car", "bus", "truck", "motorcycle",
    "traffic light", "sign", "bench", "tree", "plant", "flower", "chair", "table", "sofa", "bed",
    "lamp", "door", "window", "shelf", "drawer", "mirror", "picture frame", "clock", "rug",
    "curtain", "pillow", "blanket", "towel", "cup", "mug", "glass", "bottle", "can", "jar", "bowl",
    "plate", "pan", "pot", "kettle", "teapot", "knife", "fork", "spoon", "cutting board", "oven",
    "microwave", "toaster", "refrigerator", "sink", "sponge", "fruit", "apple", "banana", "orange",
    "vegetable", "bread", "cake", "box", "bag", "backpack", "suitcase", "basket", "bucket",
    "trash can", "book", "paper", "pen", "pencil", "scissors", "tape", "key", "coin", "wallet",
    "watch", "glasses", "hat", "shoe", "shirt", "glove", "umbrella", "phone", "laptop", "keyboard",
    "mouse", "monitor", "television", "remote control", "camera", "headphones", "cable", "battery",
    "speaker", "printer", "hammer", "screwdriver", "wrench", "pliers", "drill", "saw", "screw",
    "brush", "broom", "ladder", "rope", "pipe", "tool", "toy", "doll", "ball", "block", "robot",
)  # fmt: skip
"""What a checkpoint with an open vocabulary is asked about a region when nobody gave labels."""


@dataclass(frozen=True, slots=True)
class RegionLabels:
    """Names of N regions, columns of equal length.

    ``labels`` hold :data:`UNSURE` where ``scores_n`` (N,) float32 in [0, 1], the score of the
    best label, lies below the threshold asked for. ``colors`` and ``color_scores_n`` as in
    :class:`~edgetwin.perception.records.Detections`.
    """

    labels: tuple[str, ...]
    scores_n: Array
    colors: tuple[str | None, ...]
    color_scores_n: Array


def mask_boxes(masks_nhw: NDArray[np.bool_]) -> Array:
    """Return the boxes (N, 4) around masks, exclusive far edges; an empty mask gives zeros."""
    boxes = np.zeros((len(masks_nhw), 4), np.float32)
    for row, mask in enumerate(masks_nhw):
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if ys.size:
            boxes[row] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return boxes


def stability(logits_nhw: Array, offset: float) -> Array:
    """Return (N,) how little masks change with their threshold (SAM's automatic masks).

    The IoU of the masks at ``+offset`` and ``-offset``; the former lies in the latter. 0 where
    the latter is empty.
    """
    inner = np.count_nonzero(logits_nhw > offset, axis=(1, 2))
    outer = np.count_nonzero(logits_nhw > -offset, axis=(1, 2))
    share: Array = (inner / np.maximum(outer, 1)).astype(np.float32)
    return share


def shared_areas(a_nhw: NDArray[np.bool_], b_mhw: NDArray[np.bool_]) -> Array:
    """Return (N, M) pixels in common of two lists of masks of one size."""
    a = a_nhw.reshape(len(a_nhw), int(np.prod(a_nhw.shape[1:]))).astype(np.float32)
    b = b_mhw.reshape(len(b_mhw), int(np.prod(b_mhw.shape[1:]))).astype(np.float32)
    shared: Array = a @ b.T
    return shared


def border_share(masks_nhw: NDArray[np.bool_]) -> Array:
    """Return (N,) the part of the picture's outermost pixels that each mask covers.

    A table, a wall or a floor holds much of the border; a thing cut by one edge little.
    """
    rim = np.concatenate(
        [masks_nhw[:, 0], masks_nhw[:, -1], masks_nhw[:, 1:-1, 0], masks_nhw[:, 1:-1, -1]], axis=1
    )
    share: Array = rim.mean(axis=1, dtype=np.float32)
    return share


def patch_weights(masks_nhw: NDArray[np.bool_], boxes_xyxy_p4: Array, objectness_p: Array) -> Array:
    """Return (N, P): how much each of a square grid's P patches says about each region, sum 1.

    A patch counts by the part of it that lies in the region, by its objectness (0–1) and by
    the squared IoU of the box that it predicts with the region's: where large networks see an
    object in a few patches only, those are the ones. A region that no patch speaks for is
    left to the patches that it covers, and one between all of them to the nearest.

    Raises:
        InputError: if P is no square number.
    """
    side = round(len(boxes_xyxy_p4) ** 0.5)
    if side * side != len(boxes_xyxy_p4) or not side:
        raise InputError(f"expected a square grid of patches, got {len(boxes_xyxy_p4)}")
    cover = np.stack([_cover(mask, side) for mask in masks_nhw]) if len(masks_nhw) else None
    if cover is None:
        return np.zeros((0, side * side), np.float32)
    fit = box_iou(mask_boxes(masks_nhw), boxes_xyxy_p4) ** 2
    weights = cover * fit * objectness_p[None]
    for row in np.flatnonzero(weights.sum(axis=1) <= 1e-6):
        weights[row] = cover[row]
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights, np.float32)


def _cover(mask_hw: NDArray[np.bool_], side: int) -> Array:
    """Return (P,) the part of each patch of the padded square that a mask covers."""
    height, width = mask_hw.shape
    longest = max(height, width)
    square = np.zeros((longest, longest), np.float32)
    square[:height, :width] = mask_hw
    cover = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA).reshape(-1)
    if cover.sum() <= 0:  # smaller than what resizing keeps: the patch under its middle
        ys, xs = np.nonzero(mask_hw)
        y, x = (ys.mean() + 0.5, xs.mean() + 0.5) if ys.size else (height / 2, width / 2)
        row, column = (min(int(v * side / longest), side - 1) for v in (y, x))
        cover[row * side + column] = 1.0
    return np.asarray(cover, np.float32)
