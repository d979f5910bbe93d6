"""Objects that no word covers: regions found by shape alone, named afterwards if possible.

Two sources of regions, both without words: boxes where the detector's patches see an object of
whatever kind (OWLv2's objectness; a handful of box prompts), and SAM 2's grid of points over
what is not yet explained (its automatic mask generator). Points that fall on one thing give one
mask again and again while points on nothing give a different one each: the number of points
that agree is the best sign of an object that a small network has. Names come from the
detector's patches under each region.

It costs tens to hundreds of milliseconds, so it runs at an interval of its own (about once a
second), never per frame; :attr:`EverythingConfig.share` spreads the grid over several calls.

Not covered: parts of objects as objects of their own, several masks per point, regions larger
than ``max_area``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from .boxes import suppress
from .detector import Detector, PatchView
from .records import Detections
from .regions import (
    BROAD_LABELS,
    UNSURE,
    RegionLabels,
    border_share,
    mask_boxes,
    shared_areas,
    stability,
)
from .segmenter import SegmentedMasks

__all__ = ["EverythingConfig", "EverythingFinder", "PointSegmenter"]

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]

_CELLS = 64  # masks are compared at this size: a thing of 1/64 of a side is the smallest


class PointSegmenter(Protocol):
    """What is needed of a segmenter (:class:`~edgetwin.perception.segmenter.Segmenter` has it)."""

    def from_points(self, features: Any, points_xy_nk2: Array) -> SegmentedMasks:
        """Return one mask per point (N, 2)."""
        ...

    def from_boxes(
        self, features: Any, boxes_xyxy_n4: Array, *, margin: float = 0.1
    ) -> SegmentedMasks:
        """Return one mask per box (N, 4)."""
        ...


@dataclass(frozen=True, slots=True)
class EverythingConfig:
    """How regions are sought and which are kept; the defaults suit the embedded networks.

    ``points_per_side`` squared points, ``points_per_batch`` at a time (bounds memory); each
    call uses every ``share``-th of them, so ``share`` calls see the whole grid.
    ``min_objectness``: least objectness (0–1) of a box proposal. ``min_iou`` (predicted) and
    ``min_stability`` (at ``stability_offset`` logits) are SAM's filters; ``min_support`` points
    must agree on a mask by ``support_iou``, counted among this call's points. Areas are parts
    of the picture, ``max_border`` the part of its outermost pixels: beyond these a region is
    the table, not a thing. Of two regions that overlap by ``nms_iou``, or of which one lies in
    the other by ``inside`` of its area, the better stays; a region that known masks cover by
    ``max_known`` of its area is a part of them. A box prompt around a mask from points replaces
    it where both agree by ``agreement`` (IoU). ``label_score``: least score of a name (None:
    the detector's own threshold); at .6 the embedded detector leaves 2 to 4 of 100 regions of
    trained nouns without a name, and 60 of 100 of nouns that it was never taught.
    """

    points_per_side: int = 12
    points_per_batch: int = 32
    share: int = 2
    min_objectness: float = 0.3
    min_iou: float = 0.5
    min_stability: float = 0.5
    stability_offset: float = 1.0
    min_support: int = 2
    support_iou: float = 0.7
    min_area: float = 0.0008
    max_area: float = 0.15
    max_border: float = 0.3
    nms_iou: float = 0.5
    inside: float = 0.6
    max_known: float = 0.3
    agreement: float = 0.5
    max_regions: int = 16
    label_score: float | None = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.points_per_side <= 64 or self.points_per_batch < 1:
            raise InputError(
                "expected 0 (no points) to 64 points per side and at least 1 per batch, got "
                f"{self.points_per_side} and {self.points_per_batch}"
            )
        if self.share < 1 or self.min_support < 1 or self.max_regions < 1:
            raise InputError(
                "expected share, min_support and max_regions of at least 1, got "
                f"{self.share}, {self.min_support} and {self.max_regions}"
            )

    @classmethod
    def published(cls) -> EverythingConfig:
        """Return the thresholds of SAM 2's automatic mask generator, for its published weights.

        32 points a side, predicted IoU .8, stability .95 at an offset of 1 logit, suppression
        at .7 (by masks here, by boxes there). No points have to agree: these networks put no
        masks where nothing is. Neither the objectness nor the areas are published values.
        """
        return cls(
            points_per_side=32,
            min_iou=0.8,
            min_stability=0.95,
            min_support=1,
            min_area=0.0003,
            max_area=0.5,
            max_border=0.5,
            nms_iou=0.7,
            inside=0.9,
            share=1,
            label_score=None,
        )


class EverythingFinder:
    """Finds and names objects in one picture that are not among those already known.

    ``detector`` gives box proposals and names; without one there are points only, and every
    region is called ``"object"``. Without ``config`` a segmenter for pictures of more than 512
    pixels gets :meth:`EverythingConfig.published`, a smaller one the defaults.

    Holds no state but which part of the grid is next. Not thread-safe.
    """

    def __init__(
        self,
        segmenter: PointSegmenter,
        detector: Detector | None = None,
        config: EverythingConfig | None = None,
    ) -> None:
        large = getattr(getattr(segmenter, "config", None), "image_size", 0) > 512
        suited = EverythingConfig.published() if large else EverythingConfig()
        self.config = config or suited
        self._segmenter = segmenter
        self._detector = detector
        self._turn = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """What regions are called when no labels are given: trained nouns, or a broad list.

        Give them to :meth:`Detector.look` as ``also`` for a view to share.
        """
        if self._detector is None:
            return ()
        return self._detector.nouns or BROAD_LABELS

    def find(
        self,
        image_hw3: NDArray[np.uint8],
        features: Any,
        known_masks_nhw: Bools | None = None,
        *,
        view: PatchView | None = None,
        labels: Sequence[str] | None = None,
    ) -> tuple[Detections, SegmentedMasks]:
        """Find what ``known_masks_nhw`` (N, H, W) bool do not cover; row ``i`` is one object.

        ``features`` are the segmenter's of this picture. ``view`` is what the detector already
        saw of it (:meth:`Detector.look`, with the labels as ``also``), else it looks once more.
        ``scores_n`` of the detections is the predicted IoU of the mask; ``label_scores_n``
        that of the name, which is ``"object"`` where none fits. Masks keep clear of known ones.

        Raises:
            InputError: if masks are not of the picture's size, or no label is known.
        """
        height, width = image_hw3.shape[:2]
        known = np.zeros((0, height, width), np.bool_)
        if known_masks_nhw is not None:
            known = known_masks_nhw
        if known.dtype != np.bool_ or known.shape[1:] != (height, width):
            raise InputError(
                f"expected known masks (N, {height}, {width}) bool, got {known.shape} {known.dtype}"
            )
        asked = self.labels if labels is None else tuple(labels)
        if self._detector is not None and view is None:
            view = self._detector.look(image_hw3, self._detector.nouns or asked, also=asked)
        taken: Bools = np.asarray(known.any(axis=0))
        masks = self._from_boxes(features, taken, view)
        explained: Bools = taken | np.asarray(masks.masks_nhw.any(axis=0))
        masks = _join(masks, self._from_points(features, explained))
        masks = masks.take(np.argsort(-masks.scores_n, kind="stable")[: self.config.max_regions])
        masks = masks.with_masks(masks.masks_nhw & ~taken)
        masks = masks.take(np.flatnonzero(masks.masks_nhw.any(axis=(1, 2))))
        return self._detections(masks, self._names(masks, view, asked)), masks

    # ---- where to look

    def _from_boxes(self, features: Any, taken_hw: Bools, view: PatchView | None) -> SegmentedMasks:
        """Prompt with boxes of patches that see an object where no known one is."""
        boxes = np.zeros((0, 4), np.float32)
        if view is not None:
            rows = np.flatnonzero(
                (view.objectness_p >= self.config.min_objectness)
                & (view.boxes_xyxy_p4[:, 2:] - view.boxes_xyxy_p4[:, :2] >= 2).all(axis=1)
            )
            boxes, scores = view.boxes_xyxy_p4[rows], view.objectness_p[rows]
            one = np.zeros(len(rows), np.int64)
            kept = suppress(boxes, scores, one, iou=self.config.nms_iou, inside=0.9)
            boxes = boxes[[k for k in kept if not _covered(boxes[k], taken_hw)]]
            boxes = boxes[: 2 * self.config.max_regions]
        masks = self._segmenter.from_boxes(features, boxes)
        quality = masks.scores_n * stability(masks.logits_nhw, self.config.stability_offset)
        small = _small(masks.logits_nhw)
        good = self._good(masks, small, _cells(taken_hw))
        return masks.take(self._distinct(small, quality, good))

    def _from_points(self, features: Any, taken_hw: Bools) -> SegmentedMasks:
        """Prompt with a grid of points on what is not taken, and keep what points agree on."""
        points = self._grid(taken_hw)
        step = self.config.points_per_batch
        taken = _cells(taken_hw)
        small, quality, good = [], [], []
        for i in range(0, len(points), step):  # dense masks of one batch at a time
            masks = self._segmenter.from_points(features, points[i : i + step])
            steady = stability(masks.logits_nhw, self.config.stability_offset)
            small.append(_small(masks.logits_nhw))
            quality.append(masks.scores_n * steady)
            good.append(self._good(masks, small[-1], taken))
        if not small:
            return self._segmenter.from_points(features, np.zeros((0, 2), np.float32))
        cells = np.concatenate(small)
        support = self._support(cells)
        enough = np.concatenate(good) & (support >= self.config.min_support)
        rank = np.concatenate(quality) * np.log1p(support)
        kept = self._distinct(cells, rank, enough)[: self.config.max_regions]
        return self._again(features, self._segmenter.from_points(features, points[kept]))

    def _grid(self, taken_hw: Bools) -> Array:
        """Return this call's points (N, 2): centres of grid cells that nothing covers."""
        height, width = taken_hw.shape
        n = self.config.points_per_side
        middles = (np.arange(n, dtype=np.float32) + 0.5) / n
        xs, ys = np.meshgrid(middles * width, middles * height)
        rows, columns = np.indices((n, n))
        mine = (rows + columns + self._turn) % self.config.share == 0  # diagonals: even spread
        self._turn = (self._turn + 1) % self.config.share
        free = mine & ~taken_hw[ys.astype(np.int64), xs.astype(np.int64)]
        return np.stack([xs[free], ys[free]], axis=1).astype(np.float32)

    # ---- what to keep

    def _good(self, masks: SegmentedMasks, small_nhw: Bools, taken_hw: Bools) -> Bools:
        """Tell which masks are sound, of a thing's size and no part of what is known."""
        config = self.config
        area = small_nhw.mean(axis=(1, 2))
        covered = (small_nhw & taken_hw).mean(axis=(1, 2))
        steady = stability(masks.logits_nhw, config.stability_offset)
        good: Bools = (
            (masks.scores_n >= config.min_iou)
            & (steady >= config.min_stability)
            & (area >= config.min_area)
            & (area <= config.max_area)
            & (covered <= config.max_known * area)
            & (border_share(small_nhw) <= config.max_border)
        )
        return good

    def _support(self, small_nhw: Bools) -> NDArray[np.int64]:
        """Count for each mask the masks that agree with it, itself included."""
        areas = np.count_nonzero(small_nhw, axis=(1, 2))
        things = (areas > 0) & (areas <= self.config.max_area * small_nhw[0].size)
        shared = shared_areas(small_nhw, small_nhw)
        iou = shared / np.maximum(areas[:, None] + areas[None] - shared, 1)
        support: NDArray[np.int64] = ((iou >= self.config.support_iou) & things[None]).sum(axis=1)
        return support

    def _distinct(self, small_nhw: Bools, rank_n: Array, good_n: Bools) -> NDArray[np.int64]:
        """Return good rows, best first, without those that repeat a better one or its parts."""
        rows = np.flatnonzero(good_n)
        rows = rows[np.argsort(-rank_n[rows], kind="stable")]
        chosen = small_nhw[rows]
        areas = np.maximum(np.count_nonzero(chosen, axis=(1, 2)), 1)
        shared = shared_areas(chosen, chosen)
        iou = shared / (areas[:, None] + areas[None] - shared)
        within = shared / np.minimum(areas[:, None], areas[None])
        clash = (iou > self.config.nms_iou) | (within > self.config.inside)
        kept: list[int] = []
        for row in range(len(rows)):
            if not any(clash[row, k] for k in kept):
                kept.append(row)
        return rows[np.array(kept, dtype=np.int64)]

    def _again(self, features: Any, masks: SegmentedMasks) -> SegmentedMasks:
        """Ask once more with the box of each mask: boxes cut better than single points.

        Where the answer is another mask, the points that agreed keep the say.
        """
        if not len(masks):
            return masks
        cut = self._segmenter.from_boxes(features, mask_boxes(masks.masks_nhw))
        shared = np.count_nonzero(cut.masks_nhw & masks.masks_nhw, axis=(1, 2))
        union = np.count_nonzero(cut.masks_nhw | masks.masks_nhw, axis=(1, 2))
        same = shared >= self.config.agreement * np.maximum(union, 1)
        rows = np.arange(len(masks))
        return _join(masks, cut).take(np.where(same, rows + len(masks), rows))

    # ---- what it is

    def _names(
        self, masks: SegmentedMasks, view: PatchView | None, labels: Sequence[str]
    ) -> RegionLabels:
        if self._detector is None or view is None:
            nothing = np.zeros(len(masks), np.float32)
            return RegionLabels((UNSURE,) * len(masks), nothing, (None,) * len(masks), nothing)
        least = self.config.label_score
        return self._detector.label_regions(view, masks.masks_nhw, labels, min_score=least)

    def _detections(self, masks: SegmentedMasks, names: RegionLabels) -> Detections:
        return Detections(
            boxes_xyxy_n4=mask_boxes(masks.masks_nhw),
            scores_n=masks.scores_n,
            labels=names.labels,
            colors=names.colors,
            label_scores_n=names.scores_n,
            color_scores_n=names.color_scores_n,
        )


def _covered(box_xyxy: Array, taken_hw: Bools) -> bool:
    """Tell whether known objects hold most of a box."""
    x0, y0 = (int(v) for v in box_xyxy[:2])
    x1, y1 = (int(np.ceil(v)) for v in box_xyxy[2:])
    return float(taken_hw[y0:y1, x0:x1].mean()) > 0.5


def _cells(mask_hw: Bools) -> Bools:
    """Return a full-size mask on the grid that masks are compared on."""
    size = (_CELLS, _CELLS)
    share = cv2.resize(mask_hw.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 0.5, np.bool_)


def _small(logits_nhw: Array) -> Bools:
    """Return masks (N, 64, 64) of a network's own logits (N, S, S)."""
    small = np.zeros((len(logits_nhw), _CELLS, _CELLS), np.bool_)
    for row, logits in enumerate(logits_nhw):
        how = cv2.INTER_AREA if logits.shape[0] > _CELLS else cv2.INTER_LINEAR
        small[row] = cv2.resize(logits, (_CELLS, _CELLS), interpolation=how) > 0
    return small


def _join(a: SegmentedMasks, b: SegmentedMasks) -> SegmentedMasks:
    """Return the rows of both, as found in one picture."""
    names = [f.name for f in fields(a) if isinstance(getattr(a, f.name), np.ndarray)]
    columns: dict[str, Any] = {n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names}
    return replace(a, **columns)
