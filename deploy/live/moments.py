"""The newest moments of a stream: a frame, its twin, and when that was.

The perception thread pushes; any thread reads, waits for something newer, or takes a window of
its own. All of it is bounded: twins by number, pictures by number and bytes. A *run* is a stretch
of frames that belong together: a clock that goes back or pictures of another size begin a new one,
and what is asked about never mixes two.

Not covered: history beyond the window (the store of the stream has it).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from ...twin.frame import Frame
from ...twin.schema import FrameTwin
from ...twin.window import DEFAULT_MAX_FRAMES, TwinWindow
from ..refine.frames import RecentFrames

__all__ = ["Moment", "Moments", "Seen"]

_RATE_S = 5.0  # frames per second are counted over this time
_MAX_RATE = 1200  # moments remembered for it: 240 frames/s, the most a stream may have


@dataclass(frozen=True, slots=True)
class Moment:
    """A perceived frame.

    Attributes:
        seq: counts the stream's twins from 1.
        frame: the picture.
        twin: what was seen in it.
        captured_at: when it was taken from its source, ``time.monotonic``'s clock.
        at: the same in Unix seconds.
        run: which stretch of the stream it belongs to.
    """

    seq: int
    frame: Frame
    twin: FrameTwin
    captured_at: float
    at: float
    run: int = 0

    def age_ms(self) -> float:
        """Milliseconds since the frame was taken from its source."""
        return (time.monotonic() - self.captured_at) * 1e3


@dataclass(frozen=True, slots=True)
class Seen:
    """A twin without its picture, as windows take it in."""

    seq: int
    run: int
    twin: FrameTwin
    captured_at: float


class Moments:
    """What is kept of one stream.

    Args:
        max_twins: of the window.
        max_frames, max_bytes: of the ring of pictures.
    """

    def __init__(
        self,
        max_twins: int = DEFAULT_MAX_FRAMES,
        max_frames: int = 300,  # ten seconds at 30 frames/s, for clips
        max_bytes: int = 64 * 2**20,  # of those, what sixteen streams may take on a small board
    ) -> None:
        self.recent = RecentFrames(max_frames, max_bytes)
        self.max_twins = max_twins
        self._changed = threading.Condition()
        self._seen: deque[Seen] = deque(maxlen=max_twins)
        self._ring: deque[Moment] = deque(maxlen=max_frames)
        self._times: deque[float] = deque(maxlen=_MAX_RATE)
        self._closed = False

    def push(self, moment: Moment) -> None:
        """Take the newest moment; one of another run lets go of those before it."""
        self.recent.push(moment.frame)
        with self._changed:
            if self._seen and self._seen[-1].run != moment.run:
                self._seen.clear()
                self._ring.clear()
            self._seen.append(Seen(moment.seq, moment.run, moment.twin, moment.captured_at))
            self._ring.append(moment)
            while len(self._ring) > 1 and not self.recent.held([self._ring[0].frame.index]):
                self._ring.popleft()
            self._times.append(time.monotonic())
            self._changed.notify_all()

    def latest(self) -> Moment | None:
        """The newest moment."""
        with self._changed:
            return self._ring[-1] if self._ring else None

    def wait(self, after_seq: int, timeout_s: float) -> Moment | None:
        """The newest moment later than ``after_seq``; None if none comes in time."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while not self._ring or self._ring[-1].seq <= after_seq:
                left = until - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)
            return self._ring[-1]

    def last(self, seconds: float) -> list[Moment]:
        """Moments whose pictures are held, of the last so many seconds of the stream's clock."""
        with self._changed:
            if not self._ring:
                return []
            since = self._ring[-1].twin.timestamp_s - seconds
            return [moment for moment in self._ring if moment.twin.timestamp_s >= since]

    def after(self, seq: int) -> list[Seen]:
        """Twins later than ``seq`` that are still held, oldest first."""
        with self._changed:
            found: list[Seen] = []
            for seen in reversed(self._seen):
                if seen.seq <= seq:
                    break
                found.append(seen)
        return found[::-1]

    def window(self) -> TwinWindow:
        """A window of the newest run, the caller's own."""
        return TwinWindow((seen.twin for seen in self.after(0)), max_frames=self.max_twins)

    def rate(self) -> float:
        """Twins per second over the last seconds."""
        now = time.monotonic()
        with self._changed:
            while self._times and self._times[0] < now - _RATE_S:
                self._times.popleft()
            if len(self._times) < 2:
                return 0.0
            span = now - self._times[0]
            return (len(self._times) - 1) / span if span > 0 else 0.0

    def close(self) -> None:
        """Let those go who wait; what is held stays."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
