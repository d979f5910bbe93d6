"""Frames to twins with a vision-language model's eyes: asked at keyframes, followed in between.

At each keyframe every question is put to the policy; the masks become objects of the twin, the
same ones again where a mask covers one that is followed. From frame to frame SAM 2's memory
follows them (by their boxes where the set's memory is not trained), both bounded: nothing grows
with the length of the video.

A question whose model cannot be asked keeps that error and is not asked again; its retries were
made. Objects are followed forwards only: frames before the first keyframe show nothing.

Not covered: depth and places in metres, words besides those that the model says, live cameras
(a model takes seconds; frames wait).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...perception.memory_bank import MemoryBank
from ...perception.regions import mask_boxes
from ...perception.segmenter import ImageFeatures, SegmentedMasks, Segmenter
from ...reasoner.prompts import clean_question
from ...twin import mask as rle
from ...twin.errors import InputError, ModelError
from ...twin.frame import Frame
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.words import clean
from .base import Proposal, Proposer

__all__ = ["Asked", "VisionPerceiver", "keyframes_of"]

MAX_FOLLOWED = 32  # objects: each costs one memory attention per frame
_SAME = 0.5  # IoU at which a new mask is an object that is followed
_LEAST_PIXELS = 4  # of a followed mask; less is a crumb
_LEAST_SCORE = 0.5  # the segmenter's own estimate below which memory shows nothing


@dataclass(slots=True)
class Asked:
    """One question: what the policy said at each keyframe, and the ids that came of it."""

    question: str
    proposals: list[tuple[int, Proposal]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class _Followed:
    """One object as last seen."""

    id: int
    label: str
    color: str | None
    score: float
    origin: str
    first_seen: float
    last_seen: float
    box_xyxy: tuple[float, float, float, float]
    centroid: tuple[float, float]
    area: int
    velocity: tuple[float, float] = (0.0, 0.0)


def keyframes_of(frames: int | None, count: int) -> frozenset[int]:
    """``count`` frames evenly chosen from ``frames``, the first among them.

    Where the number of frames is not known, or there are fewer than ``count``, as far as they go.
    """
    if count < 1:
        raise InputError(f"expected at least one keyframe, got {count}")
    if frames is None or frames < 1:
        return frozenset({0})
    count = min(count, frames)
    return frozenset(k * frames // count for k in range(count))


class VisionPerceiver:
    """Turns the frames of one source into twins of what the questions ask for.

    Args:
        proposer: :class:`~.rsvp.Rsvp`, :class:`~.vlm.Vlm` or another.
        segmenter: follows the masks.
        questions: asked at every keyframe.
        keyframes: indexes of frames.
        remembers: whether the segmenter's memory is trained.

    Attributes:
        asked: one record per question, by its cleaned text.

    One source per perceiver.
    """

    def __init__(
        self,
        proposer: Proposer,
        segmenter: Segmenter,
        questions: Sequence[str],
        keyframes: frozenset[int] = frozenset({0}),
        *,
        remembers: bool = False,
    ) -> None:
        self._proposer, self._segmenter = proposer, segmenter
        self._keyframes, self._remembers = keyframes, remembers
        self.asked = {clean_question(q): Asked(clean_question(q)) for q in questions}
        self._bank: MemoryBank | None = None
        self._objects: dict[int, _Followed] = {}
        self._next = 1
        self._last_s: float | None = None
        self.left_out = 0  # objects beyond the bound

    def observe(self, frame: Frame) -> FrameTwin:
        """Return the twin of the next frame; its objects are those that answer the questions."""
        height, width = frame.image_hw3.shape[:2]
        masks: dict[int, NDArray[np.bool_]] = {}
        if self._objects or frame.index in self._keyframes:
            features = self._segmenter.encode(frame.image_hw3)
            masks = self._follow(features)
            if frame.index in self._keyframes:
                self._ask(frame, features, masks)
            self._see(frame, masks)
        self._last_s = frame.timestamp_s
        return FrameTwin(
            source_id=frame.source_id,
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            width=width,
            height=height,
            intrinsics=frame.intrinsics,
            objects={i: _record(self._objects[i], masks.get(i)) for i in sorted(self._objects)},
        )

    # ---- pieces

    def _follow(self, features: ImageFeatures) -> dict[int, NDArray[np.bool_]]:
        """Find the known objects in a new picture, and keep what memory needs of it."""
        if not self._objects:
            return {}
        if self._bank is not None:
            self._bank.advance()
            ids = list(self._bank.ids())
            found = self._segmenter.propagate(features, self._bank, ids)
            there = (found.object_logits_n > 0) & (found.scores_n >= _LEAST_SCORE)
        else:
            ids = list(self._objects)
            boxes = np.array([self._objects[i].box_xyxy for i in ids], np.float32)
            found = self._segmenter.from_boxes(features, boxes, margin=0.25)
            there = found.object_logits_n > 0
        there &= found.masks_nhw.sum(axis=(1, 2)) >= _LEAST_PIXELS
        rows = [row for row in range(len(ids)) if there[row]]
        if self._bank is not None and rows:
            seen = found.take(rows)
            self._segmenter.remember(features, seen, self._bank, [ids[row] for row in rows])
        return {ids[row]: found.masks_nhw[row] for row in rows}

    def _ask(
        self, frame: Frame, features: ImageFeatures, masks: dict[int, NDArray[np.bool_]]
    ) -> None:
        """Put every question, and make objects of the masks."""
        for asked in self.asked.values():
            if asked.error:
                continue
            try:
                proposal = self._proposer.propose(frame.image_hw3, asked.question)
            except ModelError as error:
                asked.error = str(error)
                continue
            asked.proposals.append((frame.index, proposal))
            for row in range(len(proposal)):
                key = self._object_of(proposal, row, masks, frame, asked.question)
                if key is None:
                    self.left_out += 1
                    continue
                masks[key] = proposal.masks_nhw[row]
                if key not in asked.ids:
                    asked.ids.append(key)
                self._remember(features, key, proposal.masks_nhw[row])

    def _object_of(
        self,
        proposal: Proposal,
        row: int,
        masks: dict[int, NDArray[np.bool_]],
        frame: Frame,
        question: str,
    ) -> int | None:
        """The id of the followed object that a mask is, or of a new one; None beyond the bound."""
        mask = proposal.masks_nhw[row]
        overlaps = {i: _iou(mask, known) for i, known in masks.items()}
        best = max(overlaps, key=lambda i: overlaps[i], default=None)
        if best is not None and overlaps[best] >= _SAME:
            return best
        if len(self._objects) >= MAX_FOLLOWED:
            return None
        key, self._next = self._next, self._next + 1
        now = frame.timestamp_s
        box, centroid, area = _measures(mask)
        self._objects[key] = _Followed(
            id=key,
            label=proposal.labels[row],
            color=proposal.colors[row],
            score=float(proposal.scores_n[row]),
            origin=f"{proposal.trace.get('policy', 'vision')}({clean(question, 96)})",
            first_seen=now,
            last_seen=now,
            box_xyxy=box,
            centroid=centroid,
            area=area,
        )
        return key

    def _remember(self, features: ImageFeatures, key: int, mask: NDArray[np.bool_]) -> None:
        """Let memory begin with the object's box on this frame."""
        if not self._remembers:
            return
        if self._bank is None:
            self._bank = self._segmenter.new_bank(max_objects=MAX_FOLLOWED)
        masks: SegmentedMasks = self._segmenter.from_boxes(features, mask_boxes(mask[None]))
        self._bank.forget([key])
        self._segmenter.remember(features, masks, self._bank, [key])

    def _see(self, frame: Frame, masks: dict[int, NDArray[np.bool_]]) -> None:
        """Take note of where the objects are now; velocity in pixels per second."""
        now = frame.timestamp_s
        passed = now - self._last_s if self._last_s is not None else 0.0
        for key, mask in masks.items():
            known = self._objects[key]
            box, centroid, area = _measures(mask)
            speed = (0.0, 0.0)
            if passed > 0 and known.last_seen == self._last_s:
                dx, dy = (centroid[k] - known.centroid[k] for k in (0, 1))
                speed = (dx / passed, dy / passed)
            known.box_xyxy, known.centroid, known.area = box, centroid, area
            known.last_seen, known.velocity = now, speed


def _record(known: _Followed, mask: NDArray[np.bool_] | None) -> ObjectTwin:
    return ObjectTwin(
        id=known.id,
        semantic_label=known.label,
        attributes={} if known.color is None else {"color": known.color},
        confidence=known.score,
        state="occluded" if mask is None else "visible",
        mask=None if mask is None else rle.encode(mask),
        box_xyxy=known.box_xyxy,
        centroid=known.centroid,
        area=known.area,
        velocity=(0.0, 0.0) if mask is None else known.velocity,
        first_seen=known.first_seen,
        last_seen=known.last_seen,
        origin=known.origin,
    )


def _measures(
    mask: NDArray[np.bool_],
) -> tuple[tuple[float, float, float, float], tuple[float, float], int]:
    """Box, centroid and area of a mask that is not empty."""
    x0, y0, x1, y1 = (float(v) for v in mask_boxes(mask[None])[0])
    ys, xs = np.nonzero(mask)
    return (x0, y0, x1, y1), (float(xs.mean()) + 0.5, float(ys.mean()) + 0.5), len(xs)


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0
