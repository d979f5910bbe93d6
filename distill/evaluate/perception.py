"""True boxes in, perception judged alone: detector, segmenter and depth against exact truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...perception.boxes import box_iou
from ...perception.bundle import Bundle
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector
from ...perception.records import Detections
from ...perception.segmenter import Segmenter
from ...twin import mask as rle
from ...twin.schema import ObjectTwin
from ..metrics import inscribed_ellipse, intersection_over_union
from .report import Table
from .worlds import RenderedWorld

__all__ = ["PerceptionScores", "match", "perception_tables", "score_perception"]

MIN_AREA_PX = 64
"""Smaller slivers of occluded objects are not asked of the detector."""


@dataclass
class PerceptionScores:
    """Counts over frames; every figure is a ratio of two of them."""

    frames: int = 0
    objects: int = 0
    found: int = 0
    labelled: int = 0
    coloured: int = 0
    extra: int = 0
    segmenter: list[float] = field(default_factory=list)
    ellipse: list[float] = field(default_factory=list)
    depth_pixels: int = 0
    depth_within: int = 0


def score_perception(
    bundle: Bundle, worlds: Iterable[RenderedWorld], frames_per_world: int = 4
) -> PerceptionScores:
    """Run the three networks on evenly spread frames of each world."""
    detector, segmenter, depth = Detector(bundle), Segmenter(bundle), DepthEstimator(bundle)
    scores = PerceptionScores()
    for world in worlds:
        last = len(world.rgb_thw3) - 1
        for t in sorted(
            {round(k * last / max(1, frames_per_world - 1)) for k in range(frames_per_world)}
        ):
            truth = [
                obj
                for obj in world.window.frames[t].objects.values()
                if obj.state == "visible" and obj.mask is not None and obj.area >= MIN_AREA_PX
            ]
            scores.frames += 1
            image = world.rgb_thw3[t]
            _score_detector(scores, detector.detect(image), truth)
            masks = [rle.decode(obj.mask) for obj in truth if obj.mask is not None]
            _score_segmenter(scores, segmenter, image, truth, masks)
            _score_depth(scores, depth.depth_m(image), world.depth_thw[t], masks)
    return scores


def match(detected: NDArray[np.float32], true: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pair detected with true boxes, best IoU first, each used once, IoU at least 0.5.

    Both are (N, 4) pixel boxes; returns (detected row, true row) pairs.
    """
    if not len(detected) or not len(true):
        return []
    iou = box_iou(detected, true)
    pairs: list[tuple[int, int]] = []
    for flat in np.argsort(-iou, axis=None):
        d, t = divmod(int(flat), iou.shape[1])
        if iou[d, t] < 0.5:
            break
        if all(d != pd and t != pt for pd, pt in pairs):
            pairs.append((d, t))
    return pairs


def _boxes(truth: Sequence[ObjectTwin]) -> NDArray[np.float32]:
    return np.array([obj.box_xyxy for obj in truth], np.float32).reshape(-1, 4)


def _score_detector(
    scores: PerceptionScores, found: Detections, truth: Sequence[ObjectTwin]
) -> None:
    pairs = match(found.boxes_xyxy_n4, _boxes(truth))
    scores.objects += len(truth)
    scores.found += len(pairs)
    scores.extra += len(found) - len(pairs)
    for d, t in pairs:
        right = found.labels[d] == truth[t].semantic_label
        scores.labelled += right
        scores.coloured += right and found.colors[d] == truth[t].attributes.get("color")


def _score_segmenter(
    scores: PerceptionScores,
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    truth: Sequence[ObjectTwin],
    masks: Sequence[NDArray[np.bool_]],
) -> None:
    if not truth:
        return
    predicted = segmenter.from_boxes(segmenter.encode(image), _boxes(truth)).masks_nhw
    height, width = image.shape[:2]
    for obj, pred, true in zip(truth, predicted, masks, strict=True):
        scores.segmenter.append(intersection_over_union(pred, true))
        ellipse = inscribed_ellipse(obj.box_xyxy, height, width)
        scores.ellipse.append(intersection_over_union(ellipse, true))


def _score_depth(
    scores: PerceptionScores,
    predicted_m: NDArray[np.float32],
    true_m: NDArray[np.floating],
    masks: Sequence[NDArray[np.bool_]],
) -> None:
    for mask in masks:
        error = np.abs(predicted_m[mask] - true_m[mask]) / true_m[mask]
        scores.depth_pixels += error.size
        scores.depth_within += int(np.count_nonzero(error <= 0.1))


def perception_tables(scores: PerceptionScores, where: str) -> list[Table]:
    """Print the scores beside their baselines; ``where`` names the data."""
    objects, found = max(1, scores.objects), max(1, scores.found)
    rows = (
        ("detector: recall at IoU 0.5", scores.found / objects),
        ("detector: label right, of the matched", scores.labelled / found),
        ("detector: label and colour right, of the matched", scores.coloured / found),
        ("detector: boxes that match nothing, per frame", scores.extra / max(1, scores.frames)),
        ("segmenter: mean IoU from true boxes", float(np.mean(scores.segmenter or [0.0]))),
        ("baseline: inscribed ellipse", float(np.mean(scores.ellipse or [0.0]))),
        ("depth: object pixels within 10 %", scores.depth_within / max(1, scores.depth_pixels)),
    )
    note = f"{scores.objects} objects of at least {MIN_AREA_PX} px in {scores.frames} frames"
    return [Table(f"Perception alone, {where}", ("figure", "score"), rows, (note,))]
