"""Objects that no word covers, kept alive between the rare moments when they are found.

The detector does not see them, so a look would count against them. Each look therefore gets
rows for them: the segmenter is prompted where they should be, and what it gives goes to the
tracker beside the detections. About once a second
:class:`~edgetwin.perception.everything.EverythingFinder` looks for what is covered by no
detection; what it does not find again three times in a row is carried no longer.

Not covered: an unnamed object that hides is taken up only when the finder finds it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detector import Detector
from .everything import EverythingFinder
from .records import Detections
from .segmenter import SegmentedMasks, Segmenter
from .sense import Sensed
from .timing import Timings
from .tracker import Tracker
from .tracks import Track

__all__ = ["Unnamed"]

_STRIKES = 3  # the finder's grid takes two turns: once more than that
_COVERED = 0.5  # part of the smaller mask shared with a detection that makes it the same thing
_ECHOES = 16  # finds that wait to be confirmed: as many as the finder gives at most


@dataclass(slots=True)
class _Echo:
    """A find that the tracker has not made an object yet: its box is tried once more."""

    box_xyxy: NDArray[np.float32]
    label: str
    score: float


class Unnamed:
    """Finds and carries unnamed objects of one stream.

    ``every_s``: seconds between searches. Bounded by the tracker's objects and 16 finds.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        detector: Detector | None,
        tracker: Tracker,
        timings: Timings,
        every_s: float,
    ) -> None:
        self._finder = EverythingFinder(segmenter, detector)
        self._detector = detector
        self._segmenter = segmenter
        self._tracker = tracker
        self._timings = timings
        self._every_s = every_s
        self._next_s = float("-inf")
        self._strikes: dict[int, int] = {}  # objects carried, and how often they were not found
        self._echoes: list[_Echo] = []
        self._carried: list[int] = []  # of this look: ids, row by row, 0 for echoes
        self._named = 0  # rows of this look that are the detector's

    def reset(self) -> None:
        """Forget all."""
        self._strikes, self._echoes, self._next_s = {}, [], float("-inf")

    def extend(
        self, sensed: Sensed, features: Any, found: Detections, masks: SegmentedMasks
    ) -> tuple[Detections, SegmentedMasks]:
        """Return a look's rows with those of unnamed objects after them."""
        view = sensed.view
        self._named = len(found)
        with self._timings.stage("everything", view.spent_ms):
            rows, row_masks = self._carry(view.frame.timestamp_s, features, view.size_hw)
            rows, row_masks = self._keep(_apart(row_masks, masks), rows, row_masks)
            if view.frame.timestamp_s >= self._next_s:
                self._next_s = view.frame.timestamp_s + self._every_s
                fresh, fresh_masks = self._find(sensed, features, masks)
                rows, row_masks = self._keep(
                    self._not_again(row_masks, fresh_masks), rows, row_masks
                )
                rows, row_masks = _join(rows, fresh), _stack(row_masks, fresh_masks)
        return _join(found, rows), _stack(masks, row_masks)

    def took(self, found: Detections, ids: Sequence[int]) -> None:
        """Take note of which objects the tracker made of the rows."""
        for object_id in ids[: self._named]:
            self._strikes.pop(object_id, None)  # it has a name: the detector sees it
        tried = len(self._carried)
        self._echoes = []
        for row in range(self._named, len(found)):
            if ids[row]:
                self._strikes.setdefault(ids[row], 0)
            elif row - self._named >= tried and len(self._echoes) < _ECHOES:
                box, score = found.boxes_xyxy_n4[row], float(found.scores_n[row])
                self._echoes.append(_Echo(box.copy(), found.labels[row], score))
        live = {t.id for t in self._tracker.reported() if t.state != "left"}
        self._strikes = {i: n for i, n in self._strikes.items() if i in live and n < _STRIKES}

    # ---- pieces

    def _carry(
        self, timestamp_s: float, features: Any, size_hw: tuple[int, int]
    ) -> tuple[Detections, SegmentedMasks]:
        """Prompt where carried objects and new finds should be; rows in step with _carried."""
        tracks = [t for t in self._tracker.visible() if t.id in self._strikes]
        boxes = [t.predicted_box(timestamp_s) for t in tracks] + [e.box_xyxy for e in self._echoes]
        limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
        boxes_n4 = np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, limit)
        masks = self._segmenter.from_boxes(features, boxes_n4, margin=0.2)
        labels = [t.labels.winner or "object" for t in tracks] + [e.label for e in self._echoes]
        scores = [t.score for t in tracks] + [e.score for e in self._echoes]
        self._carried = [t.id for t in tracks] + [0] * len(self._echoes)
        n = len(boxes_n4)
        rows = Detections(
            boxes_xyxy_n4=boxes_n4,
            scores_n=np.clip(np.array(scores, np.float32), 0, 1),
            labels=tuple(labels),
            colors=(None,) * n,
            label_scores_n=np.full(n, 1e-3, np.float32),  # no vote of its own on the name
            color_scores_n=np.zeros(n, np.float32),
        )
        good = [row for row in range(n) if row >= len(tracks) or _like(masks, row, tracks[row])]
        self._carried = [self._carried[row] for row in good]
        return rows.take(good), masks.take(good)

    def _find(
        self, sensed: Sensed, features: Any, known: SegmentedMasks
    ) -> tuple[Detections, SegmentedMasks]:
        image = sensed.view.image_hw3
        seen = None
        if self._detector is not None:  # in its own lane: engines serve one thread
            words = self._detector.nouns or self._finder.labels
            labels = self._finder.labels
            seen = sensed.run(
                "detector", lambda d: d.look(image, words, also=labels), self._detector
            )
        return self._finder.find(image, features, known.masks_nhw, view=seen)

    def _keep(
        self, keep: list[int], rows: Detections, masks: SegmentedMasks
    ) -> tuple[Detections, SegmentedMasks]:
        self._carried = [self._carried[row] for row in keep]
        return rows.take(keep), masks.take(keep)

    def _not_again(self, carried: SegmentedMasks, fresh: SegmentedMasks) -> list[int]:
        """Count who was found again; returns the rows that were not.

        Where something was, its new mask takes the row's place: masks that are prompted by
        their own boxes again and again shrink.
        """
        again = _any(carried, fresh)
        for object_id, found in zip(self._carried, again, strict=True):
            if object_id:
                self._strikes[object_id] = 0 if found else self._strikes[object_id] + 1
        return [row for row, found in enumerate(again) if not found]


def _like(masks: SegmentedMasks, row: int, track: Track) -> bool:
    """Tell whether a mask may be the track's: there, sure enough, and of about its size."""
    area = int(np.count_nonzero(masks.masks_nhw[row]))
    there = masks.object_logits_n[row] > 0 and masks.scores_n[row] >= 0.3
    return bool(there) and 0.4 <= area / max(track.area, 1) <= 2.5


def _apart(masks: SegmentedMasks, from_masks: SegmentedMasks) -> list[int]:
    """Return the rows of masks that show something and nothing that the others show."""
    same = _any(masks, from_masks)
    return [row for row in range(len(masks)) if masks.masks_nhw[row].any() and not same[row]]


def _any(masks: SegmentedMasks, others: SegmentedMasks) -> list[bool]:
    """Tell of each mask whether any of the others shows the same."""
    return [bool((row > _COVERED).any()) for row in _shared(masks, others)]


def _shared(a: SegmentedMasks, b: SegmentedMasks) -> NDArray[np.float64]:
    """Return (len(a), len(b)): the shared part of the smaller of two masks."""
    p = a.masks_nhw.reshape(len(a), a.masks_nhw[0].size if len(a) else 0).astype(np.float32)
    q = b.masks_nhw.reshape(len(b), b.masks_nhw[0].size if len(b) else 0).astype(np.float32)
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    smaller = np.minimum(p.sum(axis=1)[:, None], q.sum(axis=1)[None])
    return np.asarray(p @ q.T / np.maximum(smaller, 1.0), np.float64)


def _join(a: Detections, b: Detections) -> Detections:
    def both(name: str) -> NDArray[np.float32]:
        return np.concatenate([getattr(a, name), getattr(b, name)])

    return Detections(
        boxes_xyxy_n4=both("boxes_xyxy_n4"),
        scores_n=both("scores_n"),
        labels=a.labels + b.labels,
        colors=a.colors + b.colors,
        label_scores_n=both("label_scores_n"),
        color_scores_n=both("color_scores_n"),
    )


def _stack(a: SegmentedMasks, b: SegmentedMasks) -> SegmentedMasks:
    names = [f.name for f in fields(a) if isinstance(getattr(a, f.name), np.ndarray)]
    columns: dict[str, Any] = {n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names}
    return replace(a, **columns)
