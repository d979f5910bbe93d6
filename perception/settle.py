"""The third step of the loop: what was sensed meets what is known.

Everything that depends on the frames before happens here, in order, in one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .appearance import describe
from .domain import DomainWatch
from .following import Follower
from .policy import Policy
from .records import Detections, Masks
from .repeats import RepeatLimits, distinct_rows
from .segmenter import ImageFeatures, SegmentedMasks
from .sense import SegmenterLike, Sensed
from .timing import Timings
from .tracker import Tracker
from .tracks import Crop
from .twins import DepthHold
from .unnamed import Unnamed

__all__ = ["Parts", "Settler"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What one stream's settling is made of; all of it bounded, all of it the stream's own."""

    segmenter: SegmenterLike
    tracker: Tracker
    follower: Follower
    policy: Policy
    hold: DepthHold
    domain: DomainWatch
    timings: Timings
    metric: bool
    unnamed: Unnamed | None = None


class Settler:
    """Settles the frames of one stream one after another.

    ``min_mask_score`` and ``repeats`` say which of a look's masks count;
    ``memories_per_frame`` how many objects' memories are renewed per frame (0: all).
    """

    def __init__(
        self,
        parts: Parts,
        *,
        min_mask_score: float,
        repeats: RepeatLimits,
        memories_per_frame: int,
    ) -> None:
        self._parts = parts
        self._least = min_mask_score
        self._repeats = repeats
        self._memories = memories_per_frame
        self._size_hw: tuple[int, int] | None = None

    def settle(self, sensed: Sensed, vocabulary: tuple[str, ...] | None) -> None:
        """Take one frame; afterwards the tracker and the depth held describe it.

        Raises:
            InputError: if its time lies before the last frame's.
            ModelError: if a network fails.
        """
        parts, view = self._parts, sensed.view
        if self._size_hw not in (None, view.size_hw):
            self._reset()  # another picture size is another scene
        self._size_hw = view.size_hw
        features = sensed.features()
        parts.follower.advance()
        tracker = parts.tracker
        settling = tracker.settling(view.frame.timestamp_s)
        reason = parts.policy.before(view, settling=settling, pending=tracker.pending > 0)
        if reason is None:
            done = parts.follower.between(view, features)
            reason = parts.policy.after(view, _crops(parts.tracker), done)
        found = None if reason is None else self._look(sensed, features, vocabulary)
        if parts.policy.depth_due():
            self._measure(sensed, found)
        crops = _crops(parts.tracker)
        most = parts.policy.memories(self._memories or len(crops))
        parts.follower.renew(view, features, most)
        parts.policy.finish(view, crops)

    def _look(
        self, sensed: Sensed, features: Any, vocabulary: tuple[str, ...] | None
    ) -> Detections:
        parts, view = self._parts, sensed.view
        followed = parts.follower.remembered(view, features)
        found = sensed.found(vocabulary)
        with parts.timings.stage("segmenter", view.spent_ms):
            masks = parts.segmenter.from_boxes(features, found.boxes_xyxy_n4)
        with parts.timings.stage("tracker", view.spent_ms):
            rows = distinct_rows(found, masks, self._repeats, self._least)
            found, masks = found.take(rows), masks.take(rows)
        if parts.unnamed is not None:
            found, masks = parts.unnamed.extend(sensed, features, found, masks)
        with parts.timings.stage("tracker", view.spent_ms):
            ids = parts.tracker.update(
                found,
                masks,
                view.frame.timestamp_s,
                view.size_hw,
                followed=followed,
                appearance_nd=_appearance(features, masks),
            )
        if parts.unnamed is not None:
            parts.unnamed.took(found, ids)
        parts.follower.seen(ids, masks)
        parts.follower.missed(view, features)
        return found

    def _measure(self, sensed: Sensed, found: Detections | None) -> None:
        parts = self._parts
        depth_hw = sensed.depth_m()
        with parts.timings.stage("objects", sensed.view.spent_ms):
            parts.hold.refresh(parts.tracker.reported(), depth_hw, parts.metric)
            if found is not None:
                parts.domain.observe(sensed.view.image_hw3, found)

    def _reset(self) -> None:
        self._parts.tracker.forget()
        self._parts.follower.reset()
        self._parts.policy.reset()
        if self._parts.unnamed is not None:
            self._parts.unnamed.reset()


def _appearance(features: Any, masks: Masks) -> NDArray[np.float32] | None:
    """Return what the masks' objects look like, where the segmenter can tell."""
    if isinstance(masks, SegmentedMasks) and isinstance(features, ImageFeatures) and len(masks):
        return describe(features, masks.logits_nhw)
    return None


def _crops(tracker: Tracker) -> list[Crop]:
    """Return the masks of all visible objects."""
    return [t.crop for t in tracker.visible() if t.crop is not None]
