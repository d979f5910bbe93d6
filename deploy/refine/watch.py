"""Words looked for afterwards: the perceiver's own tracking over frames of the window.

A :class:`Watch` keeps its perceiver, so that a stream that went on is taken up where the last
look ended and objects keep their ids. Where only some frames are looked at, the records in
between lie on a line between two looks, so that what moved has moved on every frame.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...perception.perceiver import Perceiver
from ...twin import mask as rle
from ...twin.schema import FrameTwin, ObjectTwin, Rle
from ...twin.window import TwinWindow
from .budget import Allowance, RefineCounts
from .eyes import Observer
from .frames import FrameProvider

__all__ = ["Look", "Watch", "between", "same_object", "spread"]

_MAX_ORIGIN = 128  # characters, the schema's bound
_CHEAPER = 0.6  # of the expected time per frame: below it what is left is planned anew
_COVERED = 0.6  # part of the smaller mask that two records of one thing share
_LEAST_FRAMES = 0.5  # of the frames that show both, those that must agree


@dataclass(slots=True)
class Look:
    """What one pass saw: twins of the frames looked at, and whether it came to the end."""

    twins: list[FrameTwin] = field(default_factory=list)
    asked: int = 0  # frames of the window that had not been looked at
    held: int = 0  # of them those whose pictures could be had
    complete: bool = False  # the newest of them was looked at


@dataclass(slots=True)
class Watch:
    """Some words, looked for frame by frame.

    ``ids`` are the twin's ids by the perceiver's own; ``known`` the perceiver's ids of what the
    stream had found under another name, ``own`` the twin's ids of all others. ``last`` is the
    newest twin.
    """

    words: tuple[str, ...]
    perceiver: Observer
    last_index: int = -1
    ids: dict[int, int] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    own: set[int] = field(default_factory=set)
    last: FrameTwin | None = None
    ms_per_frame: float = 0.0

    @property
    def origin(self) -> str:
        """What found its objects, such as ``detect(lamp, ball)``."""
        return f"detect({', '.join(self.words)})"[:_MAX_ORIGIN]

    def look(
        self,
        window: TwinWindow,
        frames: FrameProvider,
        allowance: Allowance,
        counts: RefineCounts,
    ) -> Look:
        """Perceive what came since the last look: all frames, or as many as time allows."""
        due = [frame.index for frame in window.frames if frame.index > self.last_index]
        held = frames.held(due)
        seen = Look(asked=len(due), held=len(held))
        counts.frames_gone += len(due) - len(held)
        if not held:
            return seen
        last = held[-1]
        while held and allowance.used < allowance.frames and allowance.left_s > 0:
            fits = int(1000 * allowance.left_s / self.ms_per_frame) if self.ms_per_frame else 1
            chosen = spread(held, max(min(allowance.frames - allowance.used, fits), 1))
            self._trust_one_look(len(chosen) < len(held))
            self._run(frames, held[:1] if not self.ms_per_frame else chosen, allowance, seen)
            held = [index for index in held if index > self.last_index]
        seen.complete = self.last_index == last
        return seen

    def _trust_one_look(self, apart: bool) -> None:
        """Where looks lie apart, a second one may come too late to confirm what moves."""
        if isinstance(self.perceiver, Perceiver):
            own = self.perceiver.config.tracker
            changed = replace(own, confirmations=1)
            self.perceiver.tracker.config = changed if apart else own

    def _run(
        self, frames: FrameProvider, indexes: Sequence[int], allowance: Allowance, seen: Look
    ) -> None:
        """Look at frames until they turn out to be much cheaper than thought: the rest of the
        time is then worth more of them. (The first look also opens the networks.)"""
        expected, began = self.ms_per_frame, time.perf_counter()
        for frame in frames.frames_at(indexes):
            if not allowance.take():
                return
            self.last = self.perceiver.observe(frame)
            self.last_index = frame.index
            seen.twins.append(self.last)
            took = 1000 * (time.perf_counter() - began)
            self.ms_per_frame = 0.5 * (self.ms_per_frame + took) if expected else max(took, 0.1)
            if self.ms_per_frame < _CHEAPER * expected:
                return
            began = time.perf_counter()
        self.last_index = max([self.last_index, *indexes])  # a frame that went meanwhile


def spread(indexes: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` of the indexes, evenly spread, the last one among them."""
    if count >= len(indexes):
        return list(indexes)
    if count < 1:
        return []
    places = np.linspace(len(indexes) - 1, 0, count + 1)[:-1] if count > 1 else [len(indexes) - 1]
    return sorted({indexes[round(float(place))] for place in places})


def same_object(
    window: TwinWindow, twins: Iterable[FrameTwin], object_id: int, others: Iterable[int]
) -> int | None:
    """Return the id among ``others`` that the window shows where ``twins`` show an object.

    They are one if, on half of the frames that show both at least, their masks share six tenths
    of the smaller one.
    """
    frames = {frame.index: frame for frame in window.frames}
    met: dict[int, list[bool]] = {}
    candidates = list(others)
    for twin in twins:
        mine, frame = twin.objects.get(object_id), frames.get(twin.index)
        if mine is None or frame is None or mine.state != "visible":
            continue
        for other in candidates:
            theirs = frame.objects.get(other)
            if theirs is not None and theirs.state == "visible":
                met.setdefault(other, []).append(_shared(mine, theirs) >= _COVERED)
    agreed = {other: sum(yes) for other, yes in met.items() if np.mean(yes) >= _LEAST_FRAMES}
    return max(agreed, key=lambda other: agreed[other]) if agreed else None


def _shared(a: ObjectTwin, b: ObjectTwin) -> float:
    """Return the part of the smaller mask that two records of one frame share."""
    apart = (
        a.box_xyxy[2] <= b.box_xyxy[0]
        or b.box_xyxy[2] <= a.box_xyxy[0]
        or a.box_xyxy[3] <= b.box_xyxy[1]
        or b.box_xyxy[3] <= a.box_xyxy[1]
    )
    if apart or a.mask is None or b.mask is None:
        return 0.0
    return rle.intersection(a.mask, b.mask) / max(min(a.area, b.area), 1)


def between(
    before: ObjectTwin | None, after: ObjectTwin | None, share: float, frame: FrameTwin
) -> ObjectTwin | None:
    """Return an object's record on a frame between two looks, ``share`` (0–1) of the way.

    Visible in both: the nearer look's mask moved along the line between the two. Else it is as
    before, and hidden if either look says so; None if it was not known before.
    """
    if before is None:
        return None
    if after is None or before.state != "visible" or after.state != "visible":
        if before.state == "visible" and after is not None and after.state == "left":
            return before.model_copy(update={"state": "left", "mask": None, "velocity": (0.0, 0.0)})
        state = before.state if before.state != "visible" else "occluded"
        return before.model_copy(update={"state": state, "mask": None, "velocity": (0.0, 0.0)})
    nearer = before if share < 0.5 else after
    x, y = (a + share * (b - a) for a, b in zip(before.centroid, after.centroid, strict=True))
    dx, dy = round(x - nearer.centroid[0]), round(y - nearer.centroid[1])
    moved = _moved(nearer.mask, dx, dy)
    if moved is None:
        return before.model_copy(update={"state": "occluded", "mask": None, "velocity": (0.0, 0.0)})
    update = {
        "mask": moved,
        "box_xyxy": rle.to_box(moved),
        "centroid": (nearer.centroid[0] + dx, nearer.centroid[1] + dy),
        "area": rle.area(moved),
        "last_seen": frame.timestamp_s,
        "first_seen": before.first_seen,
    }
    return nearer.model_copy(update=update)


def _moved(mask: Rle | None, dx: int, dy: int) -> Rle | None:
    """Return a mask moved by whole pixels, what leaves the picture cut off; None if all does."""
    if mask is None:
        return None
    height, width = mask.size
    own = rle.decode(mask)
    moved = np.zeros_like(own)
    rows = slice(max(dy, 0), min(height + dy, height)), slice(max(-dy, 0), min(height - dy, height))
    cols = slice(max(dx, 0), min(width + dx, width)), slice(max(-dx, 0), min(width - dx, width))
    if rows[0].start >= rows[0].stop or cols[0].start >= cols[0].stop:
        return None
    moved[rows[0], cols[0]] = own[rows[1], cols[1]]
    return rle.encode(moved) if moved.any() else None
