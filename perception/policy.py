"""When to look: keyframes chosen by what happens in the picture, within a budget of time.

A *look* runs the detector, a *measurement* the depth network. Both have an interval; a look is
also taken on a change of scene, on a changed region that no known object explains, to confirm
what the last look found for the first time, when an object that is followed was lost, when its
mask is poor, and when memory sees a hidden one again. With a budget, what the stages cost decides how often. Without one, the same pictures
always give the same decisions.

Not covered: rotation and zoom of a moving camera (its shift is compensated); a new object of
its background's brightness waits for the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from .sense import THUMB, View
from .timing import Timings
from .tracks import Crop

__all__ = ["Changes", "Followed", "Policy", "PolicyConfig", "PolicyCounts", "Reason"]

Reason = Literal["start", "interval", "scene", "new", "confirm", "lost", "quality", "back"]

_CARRY = 8  # frames' worth of budget that may be saved up or owed: bounds both
_DEPTH_FLOOR = 4  # longest depth interval in units of the longest look interval
_SAVED = 2  # frames' worth saved above which the intervals are as configured
_STILL = 2.0  # grey levels of mean difference, far below what a moving camera gives
_AROUND = np.ones((3, 3), np.uint8)
_OWED = 2  # frames' worth that a look for a reason in the picture may go into debt


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """Thresholds of the policy, chosen on validation worlds.

    ``look_every`` and ``depth_every`` are frames between looks and between measurements when
    time allows; ``max_interval`` is the most frames between two looks, whatever the budget (and
    a look that found something new has a second one to confirm it).
    ``budget_ms`` is the mean of milliseconds that all stages of one frame together may take
    (None: no bound). ``scene_change``: mean absolute difference of two frames' 32 × 32 grey
    copies (0–255) that is another scene. ``new_change``: grey levels by which a cell of the
    64 × 64 copy must differ from the last look's to count as changed, and ``new_cells`` how
    many connected cells outside every known object make a new region. ``min_quality``: the
    segmenter's own estimate of a followed mask (0–1) below which the detector looks.
    ``pause``: least frames between looks for a new region or poor quality, so that something
    the detector has no word for does not ask at every frame; a loss always asks (looking for
    each object but once in four frames cost .05 of HOTA).
    """

    look_every: int = 1
    depth_every: int = 4
    max_interval: int = 30
    budget_ms: float | None = None
    scene_change: float = 14.0
    new_change: float = 22.0
    new_cells: int = 5
    min_quality: float = 0.5
    pause: int = 3

    def __post_init__(self) -> None:
        least = min(self.look_every, self.depth_every, self.new_cells, self.pause)
        if least < 1 or self.max_interval < self.look_every:
            raise InputError(
                "expected look_every, depth_every, new_cells and pause >= 1 and max_interval >= "
                f"look_every, got {self}"
            )
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise InputError(f"expected budget_ms above 0 or None, got {self.budget_ms}")


@dataclass(slots=True)
class PolicyCounts:
    """What was decided since the start.

    ``looks`` by reason; ``measured`` depth measurements; ``skipped`` looks by reason, and
    ``skipped_depth`` measurements, that were due and put off because the budget was spent.
    """

    frames: int = 0
    looks: dict[str, int] = field(default_factory=dict)
    measured: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_depth: int = 0


@dataclass(frozen=True, slots=True)
class Followed:
    """What following came to: objects lost, a hidden one seen again, qualities of the masks."""

    lost: tuple[int, ...] = ()
    back: bool = False
    qualities_n: tuple[float, ...] = ()


class Changes:
    """Finds regions that changed since the last look and that no known object explains.

    Remembers the last look's thumbnail and which cells objects covered since then. When the
    whole picture shifts, both are shifted along. A cell has changed if a channel lies outside
    what it and its neighbours held, so that a fraction of a cell's motion counts for nothing.
    """

    def __init__(self, config: PolicyConfig) -> None:
        self._config = config
        self._look: NDArray[np.uint8] | None = None
        self._covered = np.zeros((THUMB, THUMB), np.bool_)
        self._window = cv2.createHanningWindow((THUMB, THUMB), cv2.CV_32F)

    def reset(self) -> None:
        """Forget the last look."""
        self._look = None

    def looked(self, view: View) -> None:
        """Take a look's picture as what is known."""
        self._look = view.thumb_hw3
        self._covered = np.zeros((THUMB, THUMB), np.bool_)

    def cover(self, crops: Iterable[Crop], size_hw: tuple[int, int]) -> None:
        """Mark where known objects are now, and a cell around them."""
        for crop in crops:
            x0, y0, x1, y1 = crop.box_xyxy
            left, right = _cells(x0, x1, size_hw[1])
            top, bottom = _cells(y0, y1, size_hw[0])
            self._covered[top:bottom, left:right] = True

    def new_region(self, view: View) -> bool:
        """Tell whether something changed where nothing is known to be."""
        if self._look is None:
            return False
        before, known = self._aligned(self._look, view.thumb_hw3)
        above = cv2.subtract(view.thumb_hw3, cv2.dilate(before, _AROUND))
        below = cv2.subtract(cv2.erode(before, _AROUND), view.thumb_hw3)
        changed = (cv2.max(above, below).max(axis=2) > self._config.new_change) & ~known
        if np.count_nonzero(changed) < self._config.new_cells:
            return False
        _, _, stats, _ = cv2.connectedComponentsWithStats(changed.view(np.uint8), connectivity=8)
        return bool((stats[1:, cv2.CC_STAT_AREA] >= self._config.new_cells).any())

    def _aligned(
        self, before: NDArray[np.uint8], now: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the picture before, shifted with the camera, and the cells to leave out."""
        grey, grey_now = (cv2.cvtColor(t, cv2.COLOR_RGB2GRAY) for t in (before, now))
        still = float(cv2.absdiff(grey_now, grey).mean())
        if still < _STILL:
            return before, self._covered
        (dx, dy), _ = cv2.phaseCorrelate(
            grey.astype(np.float32), grey_now.astype(np.float32), self._window
        )
        far = max(abs(dx), abs(dy))
        if not 0.2 < far < THUMB / 4:
            return before, self._covered
        move, size = np.array([[1, 0, dx], [0, 1, dy]], np.float32), (THUMB, THUMB)
        if float(cv2.absdiff(grey_now, cv2.warpAffine(grey, move, size)).mean()) > 0.7 * still:
            return before, self._covered  # things moved, not the camera
        shifted = cv2.warpAffine(before, move, size, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.warpAffine(self._covered.view(np.uint8), move, size, borderValue=1.0)
        return np.asarray(shifted, np.uint8), np.asarray(cv2.dilate(known, _AROUND)) > 0


class Policy:
    """Decides, frame by frame, about looks, measurements and memory.

    Call order per frame: :meth:`before`; after following without a look, :meth:`after`; then
    :meth:`depth_due`; at the end :meth:`finish`. ``timings`` must know the stages
    ``detector``, ``depth`` and ``memory``.
    """

    def __init__(self, config: PolicyConfig, timings: Timings) -> None:
        self.config = config
        self.counts = PolicyCounts()
        self._timings = timings
        self._changes = Changes(config)
        self._since_look = 0
        self._since_depth = 0
        self._scene = True
        self._looked: Reason | None = None
        self._measured = False
        self._share = 1.0
        self._base_ms = 0.0
        self._balance_ms = 0.0
        self._seen_frames = 0

    # ---- intervals, as the budget leaves them

    @property
    def look_interval(self) -> int:
        """Frames between looks at present."""
        return min(self._stretched(self.config.look_every), self.config.max_interval)

    @property
    def depth_interval(self) -> int:
        """Frames between measurements at present."""
        return min(self._stretched(self.config.depth_every), self._depth_floor)

    def memories(self, wanted: int) -> int:
        """Return how many objects' memories may be renewed at this frame, 1 or more."""
        return max(1, int(wanted * self._share))

    # ---- one frame

    def reset(self) -> None:
        """Begin anew, as after a change of picture size."""
        self._changes.reset()
        self._since_look = self._since_depth = 0
        self._scene = True

    def before(self, view: View, *, settling: bool, pending: bool = False) -> Reason | None:
        """Return why to look at this frame, judged by the picture and the clock; None if not.

        ``settling``: the stream has just begun; ``pending``: the tracker wants to see something
        a second time, which is granted once after every other look.
        """
        confirming = self._looked not in (None, "confirm")
        self._looked, self._measured = None, False
        self._scene = view.change > self.config.scene_change
        self._since_look += 1
        self._since_depth += 1
        if settling:
            return self._allow("start")
        if self._scene:
            return self._allow("scene")
        if self._since_look >= self.look_interval:
            return self._allow("interval")
        return self._allow("confirm") if pending and confirming else None

    def after(self, view: View, crops: Iterable[Crop], seen: Followed) -> Reason | None:
        """Return why to look after all, judged by what followed; None if not.

        ``crops`` are the masks of all visible objects.
        """
        if seen.lost:
            return self._allow("lost")
        if self._since_look < self.config.pause:
            return None
        if seen.back:
            return self._allow("back")
        if min(seen.qualities_n, default=1.0) < self.config.min_quality:
            return self._allow("quality")
        self._changes.cover(crops, view.size_hw)
        return self._allow("new") if self._changes.new_region(view) else None

    def depth_due(self) -> bool:
        """Tell whether depth is measured at this frame."""
        first = self.counts.measured == 0
        if not first and not self._scene and self._since_depth < self.depth_interval:
            return False
        floor = first or self._since_depth >= self._depth_floor
        if not floor and self._over(_OWED if self._scene else 0):
            self.counts.skipped_depth += 1
            return False
        self.counts.measured += 1
        self._since_depth, self._measured = 0, True
        return True

    def finish(self, view: View, crops: Iterable[Crop]) -> None:
        """Take note of the frame's end: where known objects are, and what it has cost."""
        self.counts.frames += 1
        if self._looked is not None:
            self._changes.looked(view)
        if self.config.look_every > 1 or self.config.budget_ms is not None:
            self._changes.cover(crops, view.size_hw)
        if self.config.budget_ms is not None:
            self._account(sum(view.spent_ms), self.config.budget_ms)

    def foresees(self) -> tuple[int, int]:
        """Return in how many frames a look and a measurement are due (1 = the next).

        A guess for whoever runs ahead: nothing may depend on its being right.
        """
        look = self.look_interval - self._since_look
        depth = self.depth_interval - self._since_depth
        return max(look, 1), max(depth, 1)

    # ---- the budget

    @property
    def _depth_floor(self) -> int:
        return max(self.config.depth_every, _DEPTH_FLOOR * self.config.max_interval)

    def _stretched(self, every: int) -> int:
        budget = self.config.budget_ms
        if budget is None or self._balance_ms > _SAVED * budget:
            return every
        return math.ceil(every / self._share)

    def _allow(self, reason: Reason) -> Reason | None:
        """Return the reason if there is time for it; count it either way."""
        floor = self._since_look >= self.config.max_interval or self.counts.frames == 0
        floor |= reason == "confirm"  # else a look at the floor would find things in vain
        owed = 0 if reason == "interval" else _OWED
        if not floor and self._over(owed):
            self.counts.skipped[reason] = self.counts.skipped.get(reason, 0) + 1
            return None
        self.counts.looks[reason] = self.counts.looks.get(reason, 0) + 1
        self._looked, self._since_look = reason, 0
        return reason

    def _over(self, owed: int = 0) -> bool:
        budget = self.config.budget_ms
        return budget is not None and self._balance_ms < -owed * budget

    def _account(self, spent_ms: float, budget_ms: float) -> None:
        """Book a frame and share what is left among looks, measurements and memories."""
        carry = _CARRY * budget_ms
        self._balance_ms = float(np.clip(self._balance_ms + budget_ms - spent_ms, -carry, carry))
        look, depth = (self._timings.average_ms(s) for s in ("detector", "depth"))
        base = spent_ms - look * (self._looked is not None) - depth * self._measured
        self._seen_frames = min(self._seen_frames + 1, 16)
        self._base_ms += (max(base, 0.0) - self._base_ms) / self._seen_frames
        wanted = look / self.config.look_every + depth / self.config.depth_every
        spare = budget_ms - self._base_ms
        self._share = float(np.clip(spare / wanted, 0.01, 1.0)) if wanted > 0 else 1.0


def _cells(low: float, high: float, length: int) -> tuple[int, int]:
    """Return the cells that a stretch of pixels touches, and one on each side."""
    first = int(low * THUMB / length) - 1
    last = math.ceil(high * THUMB / length) + 1
    return max(first, 0), min(last, THUMB)
