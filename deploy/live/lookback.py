"""The last seconds of a stream as plans read them, at a bounded rate.

Plans were made for short clips; a stream goes on. Two things are therefore put right before the
tools see the frames: what is hidden when the seconds begin does not "appear" when it comes out,
and what was gone and comes back does, although the tracker gives it its old id.

Not covered: an object whose id the tracker lost and gave anew; it is another object.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...twin.motion import hidden_behind
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow

__all__ = ["Lookback"]

_EPSILON_S = 1e-6
_GONE_S = 0.5  # out of sight for less is a miss of perception
_LONG_GONE_S = 3.0  # out of sight for longer is gone, wherever it comes back
_ELSEWHERE = 0.5  # of its box's diagonal: what comes back this far away is not where it was missed
_EDGE_PX = 2.0
_MAX_SEEN = 256  # objects remembered; beyond it those not seen for a minute are forgotten
_FORGET_S = 60.0


@dataclass(slots=True)
class _Seen:
    """When an object was last visible, its record then, and whether it was told to have left."""

    at_s: float
    obj: ObjectTwin
    left: bool = False


class Lookback:
    """The last ``seconds`` of a stream's twins, at most ``rate_hz`` of them a second.

    Seconds are the stream's own. A frame whose clock went back begins anew.

    Attributes:
        came_back: objects that the newest frame shows again after they were gone.
    """

    def __init__(self, seconds: float, rate_hz: float) -> None:
        self._seconds, self._step = seconds, 1.0 / rate_hz
        # Two more than fit: bounded whatever the timestamps are.
        self._frames: deque[FrameTwin] = deque(maxlen=math.ceil(seconds * rate_hz) + 2)
        self._next = -math.inf
        self._seen: dict[int, _Seen] = {}  # of objects seen lately: bounded by _FORGET_S
        self._back_s: dict[int, float] = {}  # when objects came back, while the window shows it
        self.came_back: frozenset[int] = frozenset()

    def wants(self, timestamp_s: float) -> bool:
        """Whether a frame of that moment is far enough from the one before."""
        last = self._frames[-1].timestamp_s if self._frames else -math.inf
        return timestamp_s < last or timestamp_s >= self._next - self._step / 4

    def add(self, frame: FrameTwin) -> None:
        """Take the newest frame and drop those that are too old."""
        if self._frames and frame.timestamp_s < self._frames[-1].timestamp_s:
            self._frames.clear()
            self._seen.clear()
            self._back_s.clear()
            self._next = -math.inf
        self.came_back = frozenset(self._comers(frame))
        self._frames.append(frame)
        # On a grid, so that 25 frames/s give ten a second, not eight.
        self._next = max(self._next + self._step, frame.timestamp_s + self._step / 2)
        while self._frames[0].timestamp_s < frame.timestamp_s - self._seconds - _EPSILON_S:
            self._frames.popleft()
        self._back_s |= dict.fromkeys(self.came_back, frame.timestamp_s)
        oldest_s = self._frames[0].timestamp_s
        self._back_s = {key: at for key, at in self._back_s.items() if at >= oldest_s}

    def window(self, before_s: float = math.inf) -> TwinWindow:
        """The frames before a moment as tools read them.

        What is hidden when they begin counts as last seen then, and so does not "appear" when it
        comes out. What was gone and came back begins when it came back, and so does.
        """
        back_s = {key: at for key, at in self._back_s.items() if at < before_s}
        frames = [_without(f, back_s) for f in self._frames if f.timestamp_s < before_s]
        if frames:
            frames[0] = _remembering(frames[0])
        return TwinWindow(frames, max_frames=max(len(frames), 1))

    def _comers(self, frame: FrameTwin) -> Iterator[int]:
        """Objects of the frame that were gone, not only hidden or missed by perception."""
        now_s = frame.timestamp_s
        for key, obj in frame.objects.items():
            seen = self._seen.get(key)
            if obj.state == "left" and seen is not None:
                seen.left = True
            if obj.state != "visible":
                continue
            if seen is not None and self._was_gone(seen, obj, frame):
                yield key
            self._seen[key] = _Seen(now_s, obj)
        if len(self._seen) > _MAX_SEEN:
            self._seen = {k: s for k, s in self._seen.items() if s.at_s > now_s - _FORGET_S}

    def _was_gone(self, seen: _Seen, obj: ObjectTwin, frame: FrameTwin) -> bool:
        away_s = frame.timestamp_s - seen.at_s
        if seen.left and away_s > self._step:
            return True
        if away_s < _GONE_S:
            return False
        window = TwinWindow([*self._frames, frame], max_frames=len(self._frames) + 1)
        others = [i for i in window.ids() if i != obj.id]
        if obj.id in window and hidden_behind(window, obj.id, others):
            return False
        return away_s >= _LONG_GONE_S or _elsewhere(seen.obj, obj, frame)


def _elsewhere(old: ObjectTwin, new: ObjectTwin, frame: FrameTwin) -> bool:
    """Whether it is at another place, or at the picture's edge where it was not before."""
    x0, y0, x1, y1 = old.box_xyxy
    if math.dist(old.centroid, new.centroid) > _ELSEWHERE * math.hypot(x1 - x0, y1 - y0):
        return True
    return _touches_edge(new, frame) and not _touches_edge(old, frame)


def _touches_edge(obj: ObjectTwin, frame: FrameTwin) -> bool:
    x0, y0, x1, y1 = obj.box_xyxy
    return min(x0, y0, frame.width - x1, frame.height - y1) <= _EDGE_PX


def _without(frame: FrameTwin, back_s: Mapping[int, float]) -> FrameTwin:
    """The frame without objects that only came back later."""
    gone = [k for k, at in back_s.items() if k in frame.objects and frame.timestamp_s < at]
    if not gone:
        return frame
    left = {key: obj for key, obj in frame.objects.items() if key not in gone}
    return frame.model_copy(update={"objects": left})


def _remembering(frame: FrameTwin) -> FrameTwin:
    hidden = {k: o for k, o in frame.objects.items() if o.state == "occluded"}
    if not hidden:
        return frame
    seen = {k: o.model_copy(update={"state": "visible"}) for k, o in hidden.items()}
    return frame.model_copy(update={"objects": {**frame.objects, **seen}})
