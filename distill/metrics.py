"""Mask metrics of reasoning segmentation, each by the protocol that its field publishes.

* :func:`region_similarity` (J) and :func:`contour_accuracy` (F): DAVIS (Perazzi et al. 2016,
  Pont-Tuset et al. 2017), on one frame and one object or union of objects.
* :func:`giou_ciou`: ReasonSeg, by the protocol of LISA or of Seg-Zero.
* :func:`video_scores`: J and F of one question, averaged over all frames as MeViS and ReVOS do.

Not covered: the dropping of the first and last frame in semi-supervised DAVIS, and average
precision (SegInW).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = [
    "contour_accuracy",
    "giou_ciou",
    "inscribed_ellipse",
    "intersection_over_union",
    "region_similarity",
    "video_scores",
]

BoolMask = NDArray[np.bool_]
Protocol = Literal["lisa", "seg-zero"]

_VOID = 255
_CONTOUR_TOLERANCE = 0.008  # of the image diagonal, as DAVIS sets it


def region_similarity(pred: BoolMask, gt: BoolMask) -> float:
    """Jaccard index J of two (H, W) boolean masks; 1 when both are empty.

    Raises:
        InputError: if the masks are not boolean, not 2-D or of different shapes.
    """
    _check_pair(pred, gt)
    union = int(np.count_nonzero(pred | gt))
    if union == 0:
        return 1.0
    return int(np.count_nonzero(pred & gt)) / union


def contour_accuracy(pred: BoolMask, gt: BoolMask, tolerance: float = _CONTOUR_TOLERANCE) -> float:
    """Boundary F-measure of two (H, W) boolean masks; 1 when neither has a boundary.

    Two boundaries match within a disk of ``ceil(tolerance * diagonal)`` pixels. A boundary
    that only one mask has scores 0.

    Raises:
        InputError: if the masks are not boolean, not 2-D or of different shapes.
    """
    _check_pair(pred, gt)
    pred_edge, gt_edge = _boundary(pred), _boundary(gt)
    pred_count, gt_count = int(np.count_nonzero(pred_edge)), int(np.count_nonzero(gt_edge))
    if pred_count == 0 and gt_count == 0:
        return 1.0
    if pred_count == 0 or gt_count == 0:
        return 0.0
    disk = _disk(math.ceil(tolerance * math.hypot(*pred.shape)))
    pred_wide = cv2.dilate(pred_edge.astype(np.uint8), disk).astype(bool)
    gt_wide = cv2.dilate(gt_edge.astype(np.uint8), disk).astype(bool)
    precision = int(np.count_nonzero(pred_edge & gt_wide)) / pred_count
    recall = int(np.count_nonzero(gt_edge & pred_wide)) / gt_count
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def giou_ciou(
    pairs: Iterable[tuple[NDArray[np.generic], NDArray[np.generic]]],
    protocol: Protocol = "lisa",
) -> tuple[float, float]:
    """Mean IoU over samples (gIoU) and summed intersection over summed union (cIoU).

    ``pairs`` yields (prediction, target) as (H, W) arrays; the target may be boolean or hold
    0 (background), 1 (target) and 255 (ignored area).

    * ``"lisa"``: 255 is removed from both; a sample with an empty union scores 1.
    * ``"seg-zero"``: 255 counts as target; a sample with an empty union scores 0.

    Raises:
        InputError: on no pairs, unequal shapes or an unknown protocol.
    """
    if protocol not in ("lisa", "seg-zero"):
        raise InputError(f"expected protocol 'lisa' or 'seg-zero', got {protocol!r}")
    scores: list[float] = []
    intersections = unions = 0
    for pred_any, gt_any in pairs:
        if pred_any.shape != gt_any.shape or pred_any.ndim != 2:
            raise InputError(
                f"expected two (H, W) masks of one shape, got {pred_any.shape} and {gt_any.shape}"
            )
        pred, gt = pred_any.astype(bool), gt_any.astype(bool)
        if protocol == "lisa" and gt_any.dtype != np.bool_:
            kept = gt_any != _VOID
            pred, gt = pred & kept, gt & kept
        intersection = int(np.count_nonzero(pred & gt))
        union = int(np.count_nonzero(pred | gt))
        intersections, unions = intersections + intersection, unions + union
        empty = 1.0 if protocol == "lisa" else 0.0
        scores.append(intersection / (union + 1e-5) if union else empty)
    if not scores:
        raise InputError("expected at least one (prediction, target) pair, got none")
    return float(np.mean(scores)), intersections / (unions + 1e-10)


def video_scores(pred_thw: Sequence[BoolMask], gt_thw: Sequence[BoolMask]) -> tuple[float, float]:
    """Mean J and mean F of one question over all T frames of its video.

    Raises:
        InputError: if the numbers of frames differ or are zero.
    """
    if len(pred_thw) != len(gt_thw) or not gt_thw:
        raise InputError(
            f"expected as many predicted as true frames, at least one, got {len(pred_thw)} "
            f"and {len(gt_thw)}"
        )
    pairs = list(zip(pred_thw, gt_thw, strict=True))
    mean_j = float(np.mean([region_similarity(p, g) for p, g in pairs]))
    mean_f = float(np.mean([contour_accuracy(p, g) for p, g in pairs]))
    return mean_j, mean_f


def intersection_over_union(a: BoolMask, b: BoolMask) -> float:
    """IoU of two (H, W) boolean masks; 0 when both are empty (nothing was found)."""
    _check_pair(a, b)
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 0.0


def inscribed_ellipse(
    box_xyxy: tuple[float, float, float, float], height: int, width: int
) -> BoolMask:
    """The ellipse inscribed in a box, as an (H, W) mask.

    The baseline of a box-prompted segmenter: what does not clearly beat it has learnt the
    prompt and not the picture.
    """
    x0, y0, x1, y1 = box_xyxy
    half_w, half_h = max((x1 - x0) / 2, 1e-6), max((y1 - y0) / 2, 1e-6)
    x = (np.arange(width) + 0.5 - (x0 + x1) / 2) / half_w
    y = (np.arange(height) + 0.5 - (y0 + y1) / 2) / half_h
    inside: BoolMask = x[None, :] ** 2 + y[:, None] ** 2 <= 1.0
    return inside


def _check_pair(pred: NDArray[np.generic], gt: NDArray[np.generic]) -> None:
    for name, mask in (("pred", pred), ("gt", gt)):
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise InputError(
                f"expected {name} as an (H, W) boolean array, got shape {mask.shape} and dtype "
                f"{mask.dtype}: threshold it first, for example mask > 0"
            )
    if pred.shape != gt.shape:
        raise InputError(f"expected masks of one shape, got {pred.shape} and {gt.shape}")


def _boundary(mask: BoolMask) -> BoolMask:
    """Pixels that differ from their right, lower or lower-right neighbour, as DAVIS marks them."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1, :] |= mask[:-1, :] ^ mask[1:, :]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def _disk(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    disk: NDArray[np.uint8] = (offsets[None, :] ** 2 + offsets[:, None] ** 2 <= radius**2).astype(
        np.uint8
    )
    return disk
