"""One number per exported network on held-out pictures, measured as the device runs it.

These decide between new and shipped weights, so they look only at bundles, never at a
training run's own scores: graph, post-processing and thresholds are included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.assignment import assign
from ...perception.boxes import box_iou
from ...perception.bundle import Bundle, FrameStatistics
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector
from ...perception.domain import fit_statistics
from ...perception.perceiver import PerceiverConfig
from ...perception.segmenter import Segmenter
from ..sim.shards import Shards

__all__ = ["judge_depth", "judge_detector", "judge_segmenter", "measure_statistics"]

_MIN_AREA_PX = 64  # smaller slivers of covered objects are asked of no network


def judge_detector(bundle: Bundle, pictures: Shards, limit: int) -> float:
    """Return F1 of noun and colour: a detection counts when its box has IoU ≥ .5 with an object
    of that noun and colour, each object once."""
    detector = Detector(bundle)
    right = wanted = given = 0
    for row, objects in _rows(pictures, limit):
        found = detector.detect(np.ascontiguousarray(pictures.rgb[row]))
        true = np.array([o["box_xyxy"] for o in objects], np.float32).reshape(-1, 4)
        iou = box_iou(found.boxes_xyxy_n4, true)
        names = [(o["category"], o["color"]) for o in objects]
        for d, name in enumerate(zip(found.labels, found.colors, strict=True)):
            for t, other in enumerate(names):
                if iou[d, t] < 0.5 or name != other:
                    iou[d, t] = -np.inf
        right += len(assign(-iou.astype(np.float64)))
        wanted += len(objects)
        given += len(found)
    return 2 * right / max(wanted + given, 1)


def judge_segmenter(bundle: Bundle, pictures: Shards, limit: int) -> float:
    """Return the mean IoU of masks prompted with true boxes."""
    segmenter = Segmenter(bundle)
    scores: list[float] = []
    for row, objects in _rows(pictures, limit):
        features = segmenter.encode(np.ascontiguousarray(pictures.rgb[row]))
        boxes = np.array([o["box_xyxy"] for o in objects], np.float32).reshape(-1, 4)
        ids = np.asarray(pictures.ids[row])
        masks = segmenter.from_boxes(features, boxes).masks_nhw
        for mask, obj in zip(masks, objects, strict=True):
            true = ids == obj["id"]
            scores.append(float((mask & true).sum() / max(1, (mask | true).sum())))
    return float(np.mean(scores)) if scores else 0.0


def judge_depth(bundle: Bundle, pictures: Shards, limit: int) -> float:
    """Return the mean share of object pixels whose depth is within 10 % of the truth."""
    depth = DepthEstimator(bundle)
    shares: list[float] = []
    for row, objects in _rows(pictures, limit):
        inside = np.isin(np.asarray(pictures.ids[row]), [o["id"] for o in objects])
        true = np.asarray(pictures.depth[row], np.float32)[inside]
        if true.size:
            got = depth.depth_m(np.ascontiguousarray(pictures.rgb[row]))[inside]
            shares.append(float((np.abs(got - true) <= 0.1 * true).mean()))
    return float(np.mean(shares)) if shares else 0.0


def measure_statistics(bundle: Bundle, train: Shards, val: Shards, limit: int) -> FrameStatistics:
    """Return what the bundle's training pictures look like, for the warning of foreign video.

    Detections are taken with the perceiver's thresholds. The least usual confidence is .8 of the 5th percentile over held-out pictures.
    """
    detector, policy = Detector(bundle), PerceiverConfig()
    detector.config = replace(
        detector.config,
        score_threshold=min(detector.config.score_threshold, policy.detector_score),
        min_support=min(detector.config.min_support, policy.detector_support),
    )
    sure = []
    for row, _ in _rows(val, limit):
        found = detector.detect(np.ascontiguousarray(val.rgb[row]))
        sure.append(float(found.scores_n.mean()) if len(found) else 0.0)
    floor = round(0.8 * float(np.percentile(sure, 5)), 3) if sure else 0.0
    return fit_statistics(_spread(train, 500), min_confidence=floor)


def _spread(pictures: Shards, count: int) -> Iterator[NDArray[np.uint8]]:
    for row in np.linspace(0, len(pictures) - 1, min(count, len(pictures))).astype(int):
        yield np.array(pictures.rgb[row])


def _rows(pictures: Shards, limit: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    for row in range(min(limit, len(pictures))):
        objects = pictures.objects[row]["objects"]
        yield row, [o for o in objects if o["area"] >= _MIN_AREA_PX]
