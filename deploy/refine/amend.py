"""Writing what was found into the window, so that it stays a sound twin.

An id keeps its first sighting, a visible record is of its frame, area and box are the mask's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.tracks import Crop
from ...twin import mask as rle
from ...twin.errors import ToolError
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from .follow import Named, Seed

__all__ = ["Amender"]

_MAX_ORIGIN = 128  # characters, the schema's bound


class Amender:
    """Changes one window at a time and remembers which of its frames it changed.

    ``reserve`` gives the first of n ids that a running stream will not use.
    """

    def __init__(self, reserve: Callable[[int], int] | None = None) -> None:
        self._reserve = reserve
        self._highest = 0  # ids that left the window are not given again
        self._changed: set[int] = set()
        self._window: TwinWindow | None = None

    def _own(self, window: TwinWindow) -> None:
        """Take a window for the one to change; what is known of another one is forgotten."""
        if window is not self._window:
            self._window, self._highest = window, 0
            self._changed.clear()

    def refined(self, window: TwinWindow) -> list[FrameTwin]:
        """Return the frames that were changed and are still there."""
        self._own(window)
        return [frame for frame in window.frames if frame.index in self._changed]

    def new_ids(self, window: TwinWindow, count: int) -> list[int]:
        """Return ids above all that the window ever held."""
        self._own(window)
        first = max([self._highest, *window.ids()]) + 1
        if self._reserve is not None and count:
            reserved = self._reserve(count)
            while reserved < first:  # the twin knows ids that its tracker does not
                reserved = self._reserve(first - reserved + count)
                reserved = max(reserved, first)
            first = reserved
        self._highest = max(self._highest, first + count - 1)
        return list(range(first, first + count))

    def amend(
        self,
        window: TwinWindow,
        records: Mapping[int, Iterable[ObjectTwin]],
        words: Sequence[str] = (),
    ) -> None:
        """Write records by frame index, with the words that were looked for there."""
        self._own(window)
        window.amend(records, words)
        self._changed |= records.keys()
        self._changed &= {frame.index for frame in window.frames}  # bounded by the window

    def put(self, window: TwinWindow, index: int, record: ObjectTwin) -> None:
        """Write one record."""
        self.amend(window, {index: [record]})

    def add(self, window: TwinWindow, records: Mapping[int, ObjectTwin], origin: str) -> None:
        """Write an object's records by frame index."""
        how = {"origin": origin[:_MAX_ORIGIN]}
        self.amend(window, {i: [record.model_copy(update=how)] for i, record in records.items()})

    def record(self, window: TwinWindow, index: int, object_id: int) -> ObjectTwin:
        """Return an object's record on a frame."""
        for frame in window.frames:
            if frame.index == index and object_id in frame.objects:
                return frame.objects[object_id]
        raise ToolError(f"expected object {object_id} on frame {index}, got none")

    def renamed(self, window: TwinWindow, object_id: int, named: Named | None, origin: str) -> bool:
        """Give an object a surer name on all its frames; whether label or colour changed."""
        old = window.latest(object_id)
        if named is None or named.score <= old.confidence:
            return False
        attributes = dict(old.attributes)
        if named.color is not None:
            attributes["color"] = named.color
        if named.label == old.semantic_label and attributes == old.attributes:
            return False
        update: dict[str, Any] = {
            "semantic_label": named.label[:64],
            "attributes": attributes,
            "confidence": min(named.score, 1.0),
            "origin": origin[:_MAX_ORIGIN],
        }
        changes = {
            frame.index: [frame.objects[object_id].model_copy(update=update)]
            for frame in window.frames
            if object_id in frame.objects
        }
        self.amend(window, changes)
        return True

    def reshaped(
        self, window: TwinWindow, index: int, object_id: int, mask_hw: NDArray[np.bool_]
    ) -> None:
        """Give an object another mask on one frame; box, centroid and area follow."""
        crop = Crop.of(mask_hw)
        if crop is None:
            return
        height, width = mask_hw.shape
        old = self.record(window, index, object_id)
        update = {
            "mask": rle.encode_crop(crop.pixels_hw, crop.x, crop.y, (height, width)),
            "box_xyxy": crop.box_xyxy,
            "centroid": crop.centroid,
            "area": crop.area,
            "origin": f"zoom({object_id})",
        }
        self.put(window, index, old.model_copy(update=update))

    def known_at(self, window: TwinWindow, seed: Seed, least_iou: float) -> int | None:
        """Return the object whose mask on the seed's frame is the seed's, if there is one."""
        crop = seed.crop
        if crop is None:
            return None
        found: dict[int, float] = {}
        for frame in window.frames:
            if frame.index != seed.frame.index:
                continue
            own = _at_frame(seed, frame)
            for object_id, record in frame.objects.items():
                if record.state == "visible" and record.mask is not None:
                    found[object_id] = rle.iou(own, record.mask)
        best = max(found, key=lambda i: found[i], default=None)
        return best if best is not None and found[best] >= least_iou else None


def _at_frame(seed: Seed, frame: FrameTwin) -> Any:
    mask = seed.masks.masks_nhw[0]
    if mask.shape != (frame.height, frame.width):
        import cv2

        shape = (frame.width, frame.height)
        mask = np.asarray(cv2.resize(mask.astype(np.float32), shape) >= 0.5, np.bool_)
    return rle.encode(mask)
