"""What the tracker is compared with: detection frame by frame, and SAM 2 prompted once.

Each rival takes one picture after another and returns what it sees: id -> mask. All use the
same segmenter, and the same detections in each setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.assignment import assign
from ...perception.perceiver import DetectorLike
from ...perception.records import Detections
from ...perception.repeats import distinct_rows
from ...perception.segmenter import ImageFeatures, SegmentedMasks, Segmenter
from ...twin.schema import FrameTwin
from .tracking_scores import Seen, mask_iou

__all__ = ["IouTracker", "PromptedOnce", "SharedSegmenter", "TrueBoxes"]

MIN_SCORE = 0.3
"""Masks that the segmenter thinks worse of are no detections."""


class TrueBoxes:
    """A detector that knows: boxes, nouns and colours of the visible objects, one frame each.

    ``words`` False hides the names: every object is a colourless "object".
    """

    def __init__(self, words: bool = True) -> None:
        self.words = words
        self.frame: FrameTwin | None = None

    def detect(
        self, image_hw3: NDArray[np.uint8], vocabulary: Sequence[str] | None = None
    ) -> Detections:
        """Return what is visible in the frame set before."""
        assert self.frame is not None
        shown = [o for o in self.frame.objects.values() if o.state == "visible"]
        named = self.words
        return Detections(
            np.array([o.box_xyxy for o in shown], np.float32).reshape(-1, 4),
            np.full(len(shown), 0.99, np.float32),
            tuple(o.semantic_label if named else "object" for o in shown),
            tuple(o.attributes.get("color") if named else None for o in shown),
        )


class SharedSegmenter(Segmenter):
    """Encodes a picture once for all trackers that are given the same array in turn."""

    _last: tuple[NDArray[np.uint8], ImageFeatures] | None = None

    def encode(self, image_hw3: NDArray[np.uint8]) -> ImageFeatures:
        """Return the features of a picture, again if it is the last one."""
        if self._last is None or self._last[0] is not image_hw3:
            self._last = (image_hw3, super().encode(image_hw3))
        return self._last[1]


class IouTracker:
    """Per-frame detection with IoU matching, as SORT (Bewley et al. 2016) without motion.

    Each frame's masks are matched one to one to those of the frame before, at the greatest
    total mask IoU, pairs under ``least`` forbidden. A mask that matches nothing gets a new id,
    and an object that one frame misses is gone: no prediction, no names, no
    re-identification. Repeated detections are removed as the perceiver does.
    """

    def __init__(self, segmenter: Segmenter, detector: DetectorLike, least: float = 0.3) -> None:
        self.segmenter, self.detector, self.least = segmenter, detector, least
        self._ids: list[int] = []
        self._masks: NDArray[np.bool_] | None = None
        self._next = 1

    def see(self, image_hw3: NDArray[np.uint8]) -> Seen:
        """Take the next picture."""
        masks = _detected(self.segmenter, self.detector, image_hw3).masks_nhw
        ids = [0] * len(masks)
        if self._masks is not None:
            iou = mask_iou(self._masks, masks)
            for i, k in assign(np.where(iou >= self.least, -iou, np.inf)):
                ids[k] = self._ids[i]
        for k, known in enumerate(ids):
            if not known:
                ids[k], self._next = self._next, self._next + 1
        self._ids, self._masks = ids, masks
        return dict(zip(ids, masks, strict=True))


class PromptedOnce:
    """SAM 2 as it is often used: prompted with the boxes of the first frame, then memory only."""

    def __init__(self, segmenter: Segmenter, detector: DetectorLike) -> None:
        self.segmenter, self.detector = segmenter, detector
        self.bank = segmenter.new_bank()
        self._started = False

    def see(self, image_hw3: NDArray[np.uint8]) -> Seen:
        """Take the next picture."""
        features = self.segmenter.encode(image_hw3)
        self.bank.advance()
        if self._started:
            ids: Sequence[int] = self.bank.ids()
            masks = self.segmenter.propagate(features, self.bank, ids)
        else:
            masks = _detected(self.segmenter, self.detector, image_hw3)
            ids = range(1, len(masks) + 1)
            self._started = True
        self.segmenter.remember(features, masks, self.bank, ids)
        return {i: mask for i, mask in zip(ids, masks.masks_nhw, strict=True) if mask.any()}


def _detected(segmenter: Segmenter, detector: Any, image_hw3: NDArray[np.uint8]) -> SegmentedMasks:
    """Masks of the detections whose mask is good and that repeat no surer one."""
    found: Detections = detector.detect(image_hw3)
    masks = segmenter.from_boxes(segmenter.encode(image_hw3), found.boxes_xyxy_n4)
    return masks.take(distinct_rows(found, masks, least_score=MIN_SCORE))
