"""The detector and the segmenter of a set on single pictures: what policies prompt.

Where a frame has more pixels than a network takes, only a window around the region is given to
it, so that small things are seen at full size; never a smaller one than the network's input,
which would be enlarged. Measured with the embedded set on 140 true objects of 25 TwinBench
validation worlds (256 x 256 pixels, true region ids): OWLv2 on the padded region alone finds the
object with IoU .42, on half the frame .63, on the whole frame, then kept to the region, .89;
SAM 2 on the padded region .50, on the whole frame .90. As it is here, 220 objects of 40 worlds
(``edgetwin eval vision``): .900 with true regions, .898 with regions off by up to one strip.

Not covered: pictures that a network sees in several windows at once, prompts that are masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...perception.boxes import box_iou
from ...perception.records import Detections
from ...perception.segmenter import ImageFeatures, SegmentedMasks
from ...twin.errors import InputError
from ...twin.words import clean

__all__ = ["Box", "Found", "Point", "Sight"]

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Point = tuple[float, float]
_CONTEXT = 3.0  # sides of a window, in sides of what it is around
_LEAST_FIT = 0.02  # score x IoU with the region below which a detection is something else
_OTHER_COLOR = 0.5  # what a detection of another colour than the described one counts


class _Detector(Protocol):
    @property
    def config(self) -> Any: ...
    @property
    def nouns(self) -> tuple[str, ...]: ...
    def unknown(self, vocabulary: Sequence[str]) -> list[str]: ...
    def detect(self, image_hw3: Image, vocabulary: Sequence[str] | None = None) -> Detections: ...


class _Segmenter(Protocol):
    @property
    def config(self) -> Any: ...
    def encode(self, image_hw3: Image) -> ImageFeatures: ...
    def from_boxes(
        self,
        features: ImageFeatures,
        boxes_xyxy_n4: NDArray[Any],
        *,
        margin: float | None = ...,
        points_xy_nk2: NDArray[Any] | None = ...,
    ) -> SegmentedMasks: ...
    def from_points(
        self, features: ImageFeatures, points_xy_nk2: NDArray[Any]
    ) -> SegmentedMasks: ...


@dataclass(frozen=True, slots=True)
class Found:
    """One detection in pixels of the frame; ``how`` says by what it was found."""

    box_xyxy: Box
    score: float
    label: str
    color: str | None
    how: str


class Sight:
    """Detector and segmenter, called on one picture at a time. Keeps one picture's features.

    Not thread-safe.
    """

    def __init__(self, detector: _Detector, segmenter: _Segmenter) -> None:
        self.detector, self.segmenter = detector, segmenter
        self._kept: tuple[Image, Box, ImageFeatures] | None = None

    def words(self, name: str, description: str) -> tuple[list[str], str | None]:
        """Nouns that the detector knows in a name and a description, and a colour or None.

        With a vocabulary of its own: its nouns as they stand in the text, also with a plural s;
        without one: the name and the description's first words, if they can be asked for.
        """
        text = f" {clean(name, 64)} {clean(description, 256)} ".casefold()
        color = next((c for c in self.detector.config.colors if f" {c} " in text), None)
        if self.detector.nouns:
            endings = ("", "s", "es")
            known = [n for n in self.detector.nouns if any(f" {n}{e} " in text for e in endings)]
            in_name = [n for n in known if f" {n}" in f" {clean(name, 64)} ".casefold()]
            return in_name or known, color
        asked = [word for word in (clean(name, 64), clean(description, 64)) if word]
        return [w for w in dict.fromkeys(asked) if not self.detector.unknown([w])], color

    def find(
        self,
        image_hw3: Image,
        region: Box,
        padded: Box,
        near: Box,
        nouns: Sequence[str],
        color: str | None,
    ) -> Found:
        """The detection that fits words and region best.

        ``region``, ``padded`` and ``near`` are boxes in pixels of the frame: the strips that were
        named, with their margin, and with one strip more each way. A detection counts by its score
        times the IoU of its box with the region, if its middle lies in the padded region. Where
        none does, the one of these words and this colour whose middle is near and closest is
        taken (models are often one strip off); else what any noun finds in the region; else the
        region itself.
        """
        left, top, crop = _window(image_hw3, region, int(self.detector.config.image_size))
        corner = np.array([left, top, left, top], np.float32)
        if nouns:
            found = self.detector.detect(crop, list(nouns))
            boxes = found.boxes_xyxy_n4 + corner
            best = _best(_fits(boxes, found, region, padded, color), _LEAST_FIT)
            if best is not None:
                return _found(found, boxes, best, "words")
            best = _best(_closeness(boxes, found, region, near, color), 0.0)
            if best is not None:
                return _found(found, boxes, best, "words nearby")
        if self.detector.nouns:
            found = self.detector.detect(crop, list(self.detector.nouns))
            boxes = found.boxes_xyxy_n4 + corner
            best = _best(_fits(boxes, found, region, padded, None), _LEAST_FIT)
            if best is not None:
                return _found(found, boxes, best, "any word")
        return Found(region, 0.0, nouns[0] if nouns else "", color, "region")

    def segment(
        self, image_hw3: Image, box: Box | None, points: Sequence[Point] = ()
    ) -> tuple[NDArray[np.bool_], float]:
        """Mask (H, W) of the object in a box, at points on it, or both, and its predicted IoU.

        Without points the mask stays in its box. Raises InputError for neither.
        """
        at = np.array(points, np.float32).reshape(1, -1, 2)
        if box is None and not len(points):
            raise InputError("expected a box or a point to segment, got neither")
        xs, ys = (box[::2], box[1::2]) if box is not None else (at[0, :, 0], at[0, :, 1])
        around = (float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys)))
        left, top, crop = _window(image_hw3, around, int(self.segmenter.config.image_size))
        features = self._encode(image_hw3, crop, (left, top))
        corner = np.array([left, top], np.float32)
        if box is None:
            masks = self.segmenter.from_points(features, at - corner)
        else:
            boxes = np.array([box], np.float32) - np.tile(corner, 2)
            if len(points):
                masks = self.segmenter.from_boxes(
                    features, boxes, margin=None, points_xy_nk2=at - corner
                )
            else:
                masks = self.segmenter.from_boxes(features, boxes)
        whole = np.zeros(image_hw3.shape[:2], np.bool_)
        whole[top : top + crop.shape[0], left : left + crop.shape[1]] = masks.masks_nhw[0]
        return whole, float(masks.scores_n[0])

    def _encode(self, image_hw3: Image, crop: Image, corner: tuple[int, int]) -> ImageFeatures:
        where = (*corner, *crop.shape[:2])
        if self._kept is None or self._kept[0] is not image_hw3 or self._kept[1] != where:
            self._kept = (image_hw3, where, self.segmenter.encode(crop))
        return self._kept[2]


def _window(image_hw3: Image, around: Box, least: int) -> tuple[int, int, Image]:
    """Left, top and pixels of a square window around a box, at least ``least`` pixels wide.

    The box takes a third of it at most: networks are trained on things in their surroundings.
    """
    height, width = image_hw3.shape[:2]
    x0, y0, x1, y1 = around
    side = round(max(least, _CONTEXT * (x1 - x0), _CONTEXT * (y1 - y0)))
    wide, tall = min(side, width), min(side, height)
    left = round(min(max((x0 + x1 - wide) / 2, 0), width - wide))
    top = round(min(max((y0 + y1 - tall) / 2, 0), height - tall))
    if (wide, tall) == (width, height):
        return 0, 0, image_hw3
    return left, top, np.ascontiguousarray(image_hw3[top : top + tall, left : left + wide])


def _found(found: Detections, boxes: NDArray[np.float32], row: int, how: str) -> Found:
    x0, y0, x1, y1 = (float(v) for v in boxes[row])
    return Found(
        (x0, y0, x1, y1), float(found.scores_n[row]), found.labels[row], found.colors[row], how
    )


def _best(fit: NDArray[np.float32], least: float) -> int | None:
    return int(fit.argmax()) if len(fit) and fit.max() > least else None


def _closeness(
    boxes: NDArray[np.float32], found: Detections, region: Box, near: Box, color: str | None
) -> NDArray[np.float32]:
    """How close the middle of each detection of this colour is to the region's; 0 if not near."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = middle - (np.array(region[:2]) + np.array(region[2:])) / 2
    inside = (middle >= near[:2]).all(axis=1) & (middle <= near[2:]).all(axis=1)
    same = np.array([color in (None, c) for c in found.colors], np.bool_)
    close: NDArray[np.float32] = (1.0 / (1.0 + np.hypot(away[:, 0], away[:, 1]))) * inside * same
    return close


def _fits(
    boxes: NDArray[np.float32], found: Detections, region: Box, padded: Box, color: str | None
) -> NDArray[np.float32]:
    """How well each detection fits: score x IoU with the region x colour; 0 outside."""
    if not len(found):
        return np.zeros(0, np.float32)
    overlap = box_iou(boxes, np.array([region], np.float32))[:, 0]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (middle >= padded[:2]).all(axis=1) & (middle <= padded[2:]).all(axis=1)
    same = np.array([color in (None, c) for c in found.colors])
    fit: NDArray[np.float32] = found.scores_n * overlap * np.where(same, 1.0, _OTHER_COLOR) * inside
    return fit
