"""How masks follow known objects where the detector does not look, or overlooked them.

By boxes: the segmenter is prompted where an object should be now. By memory (SAM 2): the
segmenter finds the objects it remembers, hidden ones too. An object without a memory yet
follows by its box. Memories are renewed by need, at most so many per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .memory_bank import MemoryBank
from .policy import Followed
from .records import Masks
from .segmenter import SegmentedMasks, Segmenter
from .sense import SegmenterLike, View
from .timing import Timings
from .tracker import Tracker
from .tracks import Crop, Track

__all__ = ["Follower"]

_MAX_HIDDEN = 4  # hidden objects that memory searches per frame: each costs as a visible one
_EXPLAINED = 0.5  # part of a returning mask that a visible object may cover


class Follower:
    """Follows the tracker's objects through one stream.

    ``bank`` None follows by boxes. With a bank, ``segmenter`` must be a
    :class:`~edgetwin.perception.segmenter.Segmenter`. Memory is bounded by the bank.
    ``at_looks``: memory also finds all visible objects where the detector looks, not only
    hidden ones, those that may be taken for one another, and those that it overlooked.
    """

    def __init__(
        self,
        segmenter: SegmenterLike,
        tracker: Tracker,
        timings: Timings,
        bank: MemoryBank | None,
        min_mask_score: float,
        at_looks: bool = False,
    ) -> None:
        self.bank = bank
        self._at_looks = at_looks
        self._segmenter = segmenter
        self._tracker = tracker
        self._timings = timings
        self._least = min_mask_score
        self._made: dict[int, tuple[int, NDArray[np.float64]]] = {}  # id -> frame, place
        self._fresh: list[tuple[tuple[int, ...], SegmentedMasks]] = []
        self._found: tuple[list[int], SegmentedMasks] | None = None  # by memory, at this frame

    def advance(self) -> None:
        """Begin a frame."""
        self._fresh, self._found = [], None
        if self.bank is not None:
            self.bank.advance()

    def reset(self) -> None:
        """Forget every object."""
        self._made = {}
        if self.bank is not None:
            self.bank.clear()

    def between(self, view: View, features: Any) -> Followed:
        """Let the masks of all visible objects follow, and search hidden ones in memory."""
        visible = self._tracker.visible()
        remembered = set(self.bank.ids()) if self.bank is not None else set[int]()
        by_memory = [t for t in visible if t.id in remembered]
        hidden = self._hidden(remembered)
        lost: tuple[int, ...] = ()
        back, qualities = False, list[float]()
        if by_memory or hidden:
            ids = [t.id for t in (*by_memory, *hidden)]
            masks = self._propagate(view, features, ids)
            self._found = ids, masks
            n = len(by_memory)
            lost = self._take(view, ids[:n], masks.take(range(n)))
            rest = masks.take(range(n, len(ids)))
            back = any(self._returned(rest, row) for row in range(len(rest)))
            qualities += masks.scores_n[:n].tolist()
        by_box = [t for t in visible if t.id not in remembered]
        if by_box:
            masks = self._prompt(view, features, by_box)
            lost += self._take(view, [t.id for t in by_box], masks)
            qualities += masks.scores_n.tolist()
        return Followed(lost, back, tuple(qualities))

    def remembered(self, view: View, features: Any) -> tuple[list[int], SegmentedMasks] | None:
        """Begin a look: return ids and masks that memory finds at this frame."""
        self._fresh = []
        if self._found is None and self.bank is not None:
            known = set(self.bank.ids())
            visible = [t.id for t in self._tracker.visible() if t.id in known]
            asked = self._tracker.contested(view.frame.timestamp_s)
            ids = [i for i in visible if self._at_looks or i in asked]
            ids += [t.id for t in self._hidden(known)]
            if ids:
                self._found = ids, self._propagate(view, features, ids)
        return self._found

    def missed(self, view: View, features: Any) -> None:
        """Let objects follow that the look just taken did not find: it may have overlooked them."""
        if self._found is not None:  # what memory held, its masks make memories
            shown = {t.id for t in self._tracker.visible()}
            shown -= {i for part, _ in self._fresh for i in part}
            self.seen([i if i in shown else 0 for i in self._found[0]], self._found[1])
        missed = self._tracker.missed()
        if not missed:
            return
        remembered = set(self.bank.ids()) if self.bank is not None else set[int]()
        by_memory = [t.id for t in missed if t.id in remembered]
        if by_memory:
            self._take(view, by_memory, self._propagate(view, features, by_memory))
        by_box = [t for t in missed if t.id not in remembered]
        if by_box:
            self._take(view, [t.id for t in by_box], self._prompt(view, features, by_box))

    def seen(self, ids: Sequence[int], masks: Masks) -> None:
        """Take note of masks that a look gave; memories are made of them. Id 0 is no object."""
        rows = [row for row, object_id in enumerate(ids) if object_id]
        if self.bank is not None and rows and isinstance(masks, SegmentedMasks):
            self._fresh.append((tuple(ids[row] for row in rows), masks.take(rows)))

    def renew(self, view: View, features: Any, most: int) -> None:
        """Make memories of this frame's masks, of the ``most`` objects that need it most.

        First those without one, then by frames since the last, more so the farther the object
        has moved since (in its own sizes).
        """
        if self.bank is None:
            return
        live = {t.id: t for t in self._tracker.reported()}
        self.bank.forget(set(self.bank.ids()) - set(live))
        self._made = {k: v for k, v in self._made.items() if k in live}
        shown = {t.id for t in self._tracker.visible()}
        ids = [i for part, _ in self._fresh for i in part if i in shown]
        wanted = set(sorted(ids, key=lambda i: (-self._need(live[i]), i))[:most])
        for part, masks in self._fresh:
            rows = [row for row, object_id in enumerate(part) if object_id in wanted]
            if not rows:
                continue
            assert isinstance(self._segmenter, Segmenter)
            keys = [part[row] for row in rows]
            with self._timings.stage("memory", view.spent_ms):
                self._segmenter.remember(features, masks.take(rows), self.bank, keys)
            self._made |= {i: (self.bank.frame, live[i].centroid.copy()) for i in keys}

    # ---- pieces

    def _need(self, track: Track) -> float:
        made = self._made.get(track.id)
        if made is None:
            return float("inf")
        assert self.bank is not None
        frame, place = made
        moved = float(np.hypot(*(track.centroid - place))) / track.size
        return (self.bank.frame - frame) * (1.0 + moved)

    def _hidden(self, remembered: set[int]) -> list[Track]:
        """Hidden objects to search, those that hid last first."""
        hidden = [
            t for t in self._tracker.reported() if t.state == "occluded" and t.id in remembered
        ]
        return sorted(hidden, key=lambda t: (-t.lost_at, t.id))[:_MAX_HIDDEN]

    def _propagate(self, view: View, features: Any, ids: Sequence[int]) -> SegmentedMasks:
        assert isinstance(self._segmenter, Segmenter)
        assert self.bank is not None
        with self._timings.stage("segmenter", view.spent_ms):
            return self._segmenter.propagate(features, self.bank, ids)

    def _prompt(self, view: View, features: Any, tracks: Sequence[Track]) -> Any:
        """Prompt with the boxes where objects should be now."""
        height, width = view.size_hw
        boxes = np.array([t.predicted_box(view.frame.timestamp_s) for t in tracks], np.float32)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        with self._timings.stage("segmenter", view.spent_ms):
            return self._segmenter.from_boxes(features, boxes, margin=0.2)

    def _take(self, view: View, ids: Sequence[int], masks: Any) -> tuple[int, ...]:
        """Give masks to the tracker; returns the ids whose masks it refused."""
        with self._timings.stage("tracker", view.spent_ms):
            lost = self._tracker.follow(
                ids, masks, view.frame.timestamp_s, view.size_hw, self._least
            )
        kept = [row for row, object_id in enumerate(ids) if object_id not in lost]
        self.seen([ids[row] for row in kept], masks.take(kept))
        return lost

    def _returned(self, masks: SegmentedMasks, row: int) -> bool:
        """Tell whether a hidden object's mask shows it again, rather than what hides it."""
        if masks.object_logits_n[row] <= 0 or masks.scores_n[row] < self._least:
            return False
        crop = Crop.of(masks.masks_nhw[row])
        if crop is None:
            return False
        crops = (t.crop for t in self._tracker.visible())
        limit = _EXPLAINED * crop.area
        return all(other is None or crop.shared(other) <= limit for other in crops)
