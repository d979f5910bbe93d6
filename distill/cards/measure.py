"""The three networks of a bundle on rendered stills: tables for charts, worst cases for galleries.

Everything goes through the device's own code and thresholds. Asked are objects of which at
least 64 pixels show; a box on a smaller sliver is no error. The tables have the titles and
columns of ``edgetwin eval twinbench``, so a chart can be drawn from either.

Not covered: tracking, and how boxes of the detector spoil masks (``edgetwin eval twinbench``
measures both).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...perception.boxes import box_iou
from ...perception.bundle import Bundle
from ...perception.depth import DepthEstimator
from ...perception.detector import Detector
from ...perception.records import Detections
from ...perception.segmenter import Segmenter
from ..evaluate.detections import match
from ..evaluate.report import Table
from ..metrics import inscribed_ellipse, intersection_over_union
from ..sim.shards import Shards
from ..sim.statistics import LIFTED_M
from .worst import Case, Worst, crop_around

__all__ = ["MIN_AREA_PX", "Measured", "measure"]

MIN_AREA_PX = 64
_MISSED, _EXTRA = "missed", "extra"
_ENLARGE = 2  # crops, so that outlines are thinner than objects
_TRUE, _SAID = (60, 230, 90), (255, 60, 200)
_SMALL_PX = 36
Image = NDArray[np.uint8]


@dataclass(slots=True)
class _PerNoun:
    """Sums over the objects of one noun."""

    objects: int = 0
    found: int = 0
    labelled: int = 0
    coloured: int = 0
    iou: list[float] = field(default_factory=list)
    ellipse: list[float] = field(default_factory=list)
    pixels: int = 0
    near: int = 0


@dataclass(slots=True)
class Measured:
    """What was measured on ``pictures`` stills; ``confusion`` is (true, said) -> objects."""

    nouns: tuple[str, ...]
    pictures: int = 0
    extra: int = 0
    per_noun: dict[str, _PerNoun] = field(default_factory=dict)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: Worst = field(default_factory=Worst)
    by_height: dict[str, _PerNoun] = field(default_factory=dict)

    def of(self, noun: str) -> _PerNoun:
        """The sums of a noun."""
        return self.per_noun.setdefault(noun, _PerNoun())

    def tables(self, where: str) -> list[Table]:
        """Write the tables that charts are drawn from; ``where`` names the pictures."""
        held = [(noun, self.per_noun[noun]) for noun in self.nouns if noun in self.per_noun]
        found = tuple(
            (noun, n.objects, n.found / max(1, n.objects), n.labelled / max(1, n.found),
             n.coloured / max(1, n.found), n.labelled / max(1, n.objects))
            for noun, n in held
        )  # fmt: skip
        masks = tuple((noun, n.objects, _mean(n.iou), _mean(n.ellipse)) for noun, n in held)
        depths = tuple((noun, n.pixels, n.near / max(1, n.pixels)) for noun, n in held)
        counts: tuple[tuple[str | int, ...], ...] = tuple(
            (true, *(self.confusion[true, said] for said in (*self.nouns, _MISSED)))
            for true in (*self.nouns, _EXTRA)
        )
        columns = ("noun", "objects", "recall", "label", "label and colour", "recall with label")
        return [
            Table(f"Detector by category, {where}", columns, found),
            Table(f"Detector: confusion, {where}", ("true", *self.nouns, _MISSED), counts),
            Table(
                f"Segmenter by category, {where}",
                ("noun", "objects", "from true boxes", "ellipse in it"),
                masks,
            ),
            Table(f"Depth by category, {where}", ("noun", "pixels", "within 10 %"), depths),
            Table(
                f"Depth by height, {where}",
                ("objects are", "objects", "within 10 %"),
                tuple(
                    (place, n.objects, n.near / max(1, n.pixels))
                    for place, n in self.by_height.items()
                ),
            ),
        ]


def measure(bundle: Bundle, stills: Shards, limit: int) -> Measured:
    """Run the networks over the first ``limit`` stills.

    Raises:
        ModelError: if the bundle lacks one of the three networks.
    """
    detector, segmenter, depth = Detector(bundle), Segmenter(bundle), DepthEstimator(bundle)
    found = Measured(tuple(bundle.words.nouns))
    for row in range(min(limit, len(stills))):
        image, ids = np.ascontiguousarray(stills.rgb[row]), np.asarray(stills.ids[row])
        every = stills.objects[row]["objects"]
        asked = [o for o in every if o["area"] >= MIN_AREA_PX]
        found.pictures += 1
        for thing in asked:
            found.of(thing["category"]).objects += 1
        _detector(found, detector.detect(image), every, image)
        if asked:
            masks = segmenter.from_boxes(segmenter.encode(image), _boxes(asked)).masks_nhw
            _segmenter(found, masks, asked, ids, image)
            _depth(found, depth.depth_m(image), asked, ids, np.asarray(stills.depth[row]), image)
    return found


def _detector(
    found: Measured, said: Detections, every: Sequence[dict[str, Any]], image: Image
) -> None:
    pairs = dict(match(said.boxes_xyxy_n4, _boxes(every)))
    seen = {true: row for row, true in pairs.items()}
    for k, thing in enumerate(every):
        if thing["area"] >= MIN_AREA_PX:
            _found(found, said, seen.get(k), thing, image)
    overlap = box_iou(said.boxes_xyxy_n4, _boxes(every))
    for row in set(range(len(said))) - set(pairs):
        found.extra += 1
        found.confusion[_EXTRA, said.labels[row]] += 1
        noun, score = said.labels[row], float(said.scores_n[row])
        box, near, meets = said.boxes_xyxy_n4[row], None, "nothing there"
        if len(every) and overlap[row].max() > 0:
            near, meets = _boxes(every)[overlap[row].argmax()], f"IoU {overlap[row].max():.2f}"
        text = f"{meets}\nsaid: {said.colors[row] or ''} {noun} ({score:.2f})"
        found.worst.add("extra", score, partial(_boxed, "extra", noun, text, image, near, box))


def _found(
    found: Measured, said: Detections, row: int | None, thing: dict[str, Any], image: Image
) -> None:
    """Count one asked object; offer it to the gallery if it was missed or named wrongly."""
    noun, colour, box = thing["category"], thing["color"], thing["box_xyxy"]
    counts, name = found.of(noun), f"{thing['color']} {thing['category']}"
    found.confusion[noun, _MISSED if row is None else said.labels[row]] += 1
    if row is None:
        text = f"missed:\n{name}"
        found.worst.add(
            "missed", thing["area"], partial(_boxed, "missed", noun, text, image, box, None)
        )
        return
    right = said.labels[row] == noun
    counts.found += 1
    counts.labelled += right
    counts.coloured += right and said.colors[row] == colour
    if not right:
        score = float(said.scores_n[row])
        text = f"{name}\nsaid: {said.colors[row] or ''} {said.labels[row]} ({score:.2f})"
        other = said.boxes_xyxy_n4[row]
        found.worst.add("name", score, partial(_boxed, "name", noun, text, image, box, other))


def _segmenter(
    found: Measured,
    masks_nhw: NDArray[np.bool_],
    asked: Sequence[dict[str, Any]],
    ids_hw: Image,
    image: Image,
) -> None:
    for mask, thing in zip(masks_nhw, asked, strict=True):
        true, noun = ids_hw == thing["id"], thing["category"]
        iou = intersection_over_union(mask, true)
        ellipse = inscribed_ellipse(tuple(thing["box_xyxy"]), *true.shape)
        found.of(noun).iou.append(iou)
        found.of(noun).ellipse.append(intersection_over_union(ellipse, true))
        text = f"{thing['color']} {noun}\nIoU {iou:.2f}"
        found.worst.add(
            "mask",
            -iou,
            partial(_outlined, noun, text, image, thing["box_xyxy"], true, mask),
        )


def _depth(
    found: Measured,
    said_m: NDArray[np.float32],
    asked: Sequence[dict[str, Any]],
    ids_hw: Image,
    true_m: NDArray[np.floating],
    image: Image,
) -> None:
    for thing in asked:
        mask, noun = ids_hw == thing["id"], thing["category"]
        want = true_m[mask].astype(np.float32)
        error = (said_m[mask] - want) / want
        place = "lifted or dropping" if thing.get("lift_m", 0.0) > LIFTED_M else "resting"
        height = found.by_height.setdefault(place, _PerNoun())
        height.objects += 1
        for counts in (found.of(noun), height):
            counts.pixels += error.size
            counts.near += int(np.count_nonzero(np.abs(error) <= 0.1))
        off = float(np.median(error))
        text = (
            f"{thing['color']} {noun}: {np.median(want):.2f} m\n"
            f"said {np.median(said_m[mask]):.2f} m, {100 * off:+.0f} %"
        )
        found.worst.add(
            "depth",
            abs(off),
            partial(_errors, noun, text, image, thing["box_xyxy"], mask, said_m, true_m),
        )


def _boxed(kind: str, noun: str, text: str, image: Image, true: Any, said: Any) -> Case:
    """A crop with the true box in green and the detector's in magenta."""
    boxes = [b for b in (true, said) if b is not None]
    rows, columns = crop_around(boxes[0], image.shape[:2])
    crop = _large(image[rows, columns])
    for box, colour in ((true, _TRUE), (said, _SAID)):
        if box is not None:
            x0, y0, x1, y1 = (round(float(v)) for v in box)
            low = _ENLARGE * (x0 - columns.start), _ENLARGE * (y0 - rows.start)
            high = _ENLARGE * (x1 - columns.start) - 1, _ENLARGE * (y1 - rows.start) - 1
            cv2.rectangle(crop, low, high, colour, 1)
    return Case(kind, noun, text, crop)


def _outlined(noun: str, text: str, image: Image, box: Any, true: Any, said: Any) -> Case:
    """A crop with the true outline in green and the segmenter's in magenta."""
    rows, columns = crop_around(box, image.shape[:2])
    crop = _large(image[rows, columns])
    for mask, colour in ((true, _TRUE), (said, _SAID)):
        part = np.repeat(np.repeat(mask[rows, columns], _ENLARGE, 0), _ENLARGE, 1)
        lines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(crop, lines, -1, colour, 1)
    return Case("mask", noun, text, crop)


def _errors(
    noun: str, text: str, image: Image, box: Any, mask: Any, said_m: Any, true_m: Any
) -> Case:
    """A crop and beside it where the metres are too small or too large."""
    rows, columns = crop_around(box, image.shape[:2])
    want = true_m[rows, columns].astype(np.float32)
    error = (said_m[rows, columns] - want) / want
    error[~mask[rows, columns]] = np.nan
    return Case("depth", noun, text, _large(image[rows, columns]), error)


def _large(crop_hw3: Image) -> Image:
    large = np.repeat(np.repeat(crop_hw3, _ENLARGE, 0), _ENLARGE, 1)
    return np.ascontiguousarray(large)


def _boxes(objects: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    return np.array([o["box_xyxy"] for o in objects], np.float32).reshape(-1, 4)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
