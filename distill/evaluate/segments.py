"""The segmenter against exact masks: true boxes, detected boxes, one point, and baselines.

The point is the mask's innermost pixel, where a careful finger would go. What a prompt alone is
worth stands beside: for boxes the ellipse inscribed in them, for points a disc of the mean area
of the objects asked about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...perception.records import Detections
from ...perception.segmenter import ImageFeatures, Segmenter
from ...twin import mask as rle
from ...twin.schema import ObjectTwin, Rle
from ..metrics import inscribed_ellipse, intersection_over_union
from .report import Table

__all__ = ["ODD", "SegmentScores", "Segmented", "disc", "innermost"]

ODD = 0.6
"""A shape whose inscribed ellipse has a lower IoU than this is odd."""

_KEYS = ("box", "ellipse", "detected", "detected_ellipse", "point", "disc")


@dataclass(frozen=True, slots=True)
class Segmented:
    """One object: IoU per prompt; ``detected`` ones are None where no box matched."""

    noun: str
    mask: Rle
    point_xy: tuple[int, int]
    box: float
    ellipse: float
    point: float
    detected: float | None = None
    detected_ellipse: float | None = None


@dataclass
class SegmentScores:
    """Objects in the order seen."""

    rows: list[Segmented] = field(default_factory=list)

    def add(
        self,
        segmenter: Segmenter,
        features: ImageFeatures,
        asked: Sequence[ObjectTwin],
        found: Detections,
        row_of: Mapping[int, int],
    ) -> None:
        """Segment one frame's objects; ``row_of`` is object id -> matching row of ``found``."""
        truth = [(obj, obj.mask) for obj in asked if obj.mask is not None]
        if not truth:
            return
        masks = [rle.decode(mask) for _, mask in truth]
        boxes = np.array([obj.box_xyxy for obj, _ in truth], np.float32)
        points = [innermost(mask) for mask in masks]
        from_box = segmenter.from_boxes(features, boxes).masks_nhw
        from_point = segmenter.from_points(features, np.array(points, np.float32)).masks_nhw
        ids = [obj.id for obj, _ in truth if obj.id in row_of]
        seen = found.boxes_xyxy_n4[[row_of[i] for i in ids]].reshape(-1, 4)
        from_seen = dict(zip(ids, segmenter.from_boxes(features, seen).masks_nhw, strict=True))
        for k, (obj, mask) in enumerate(truth):
            true = masks[k]
            detected = detected_ellipse = None
            if obj.id in from_seen:
                detected = intersection_over_union(from_seen[obj.id], true)
                box = tuple(float(v) for v in found.boxes_xyxy_n4[row_of[obj.id]])
                detected_ellipse = _ellipse(box, true)
            self.rows.append(
                Segmented(
                    obj.semantic_label,
                    mask,
                    points[k],
                    intersection_over_union(from_box[k], true),
                    _ellipse(obj.box_xyxy, true),
                    intersection_over_union(from_point[k], true),
                    detected,
                    detected_ellipse,
                )
            )

    def figures(self) -> dict[str, Any]:
        """Mean IoU per prompt of all, of odd shapes, and by category, with counts."""
        discs = self._discs()
        odd = [k for k, row in enumerate(self.rows) if row.ellipse < ODD]
        kinds: dict[str, list[int]] = {}
        for k, row in enumerate(self.rows):
            kinds.setdefault(row.noun, []).append(k)
        return {
            **self._means(range(len(self.rows)), discs),
            "disc_radius_px": self._radius(),
            "odd": self._means(odd, discs),
            "by_category": {noun: self._means(ks, discs) for noun, ks in kinds.items()},
        }

    def tables(self, where: str) -> list[Table]:
        """IoU per prompt beside its baseline: all, odd shapes, and per category."""
        figures = self.figures()
        columns = (
            "objects", "from true boxes", "ellipse in it", "from detected boxes", "ellipse in it ",
            "from one point", "disc around it",
        )  # fmt: skip

        def row(name: str, means: dict[str, Any]) -> tuple[Any, ...]:
            return (name, means["objects"], *(means[key] for key in _KEYS))

        kinds = sorted(figures["by_category"].items())
        notes = (
            f"mean IoU; odd: the ellipse inscribed in the true box has an IoU below {ODD}; the "
            f"point is the mask's innermost pixel, the disc around it has the objects' mean area "
            f"(radius {figures['disc_radius_px']:.1f} px)",
        )
        both = (row("all", figures), row("odd shapes", figures["odd"]))
        return [
            Table(f"Segmenter by prompt, {where}", ("objects are", *columns), both, notes),
            Table(
                f"Segmenter by category, {where}",
                ("noun", *columns),
                tuple(row(noun, means) for noun, means in kinds),
                notes,
            ),
        ]

    def _radius(self) -> float:
        areas = [rle.area(row.mask) for row in self.rows]
        return math.sqrt(float(np.mean(areas)) / math.pi) if areas else 0.0

    def _discs(self) -> list[float]:
        radius = self._radius()
        scores = []
        for row in self.rows:
            true = rle.decode(row.mask)
            scores.append(intersection_over_union(disc(row.point_xy, radius, true.shape), true))
        return scores

    def _means(self, of: Sequence[int], discs: Sequence[float]) -> dict[str, Any]:
        rows = [self.rows[k] for k in of]
        values: dict[str, list[float | None]] = {
            key: [getattr(row, key) for row in rows] for key in _KEYS if key != "disc"
        }
        values["disc"] = [discs[k] for k in of]
        seen = [v for v in values["detected"] if v is not None]
        return {"objects": len(rows), "objects_detected": len(seen)} | {
            key: _mean([v for v in column if v is not None]) for key, column in values.items()
        }


def innermost(mask_hw: NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel (x, y) of a mask that is farthest from what is not it, the picture's edge too."""
    padded = np.pad(mask_hw.astype(np.uint8), 1)
    far = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = divmod(int(np.argmax(far)), mask_hw.shape[1])
    return x, y


def disc(centre_xy: tuple[int, int], radius: float, shape_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """A disc as an (H, W) mask."""
    y, x = np.ogrid[: shape_hw[0], : shape_hw[1]]
    inside: NDArray[np.bool_] = (x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2 <= radius**2
    return inside


def _ellipse(box_xyxy: Any, true: NDArray[np.bool_]) -> float:
    return intersection_over_union(inscribed_ellipse(box_xyxy, *true.shape), true)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
