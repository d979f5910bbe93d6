"""A short queue of frames between a source and perception, and where every frame went.

One lock guards frames and counts, so that ``read == processed + dropped + in flight`` holds
whenever :meth:`FrameQueue.counts` is asked, from any thread. Files wait for room. Live sources
drop the oldest waiting frame; and where that happened since the last frame was taken, perception
is too slow for all of them and is given the newest: what waits would only be older. So a burst
is kept and a constant excess costs no age.

Not covered: several takers that finish out of order are counted right, but not told apart.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from ...twin.errors import InputError
from ...twin.frame import Frame
from .records import FrameCounts

__all__ = ["FrameQueue", "Policy", "Taken"]

Policy = Literal["drop_oldest", "wait"]


class Taken(NamedTuple):
    """A frame and when it was taken from its source, on ``time.monotonic``'s clock."""

    frame: Frame
    captured_at: float


class FrameQueue:
    """Frames of one stream, oldest first.

    Args:
        capacity: frames that wait at most; one more is being worked on.
        policy: what :meth:`put` does when it is full.
        ready: called after every frame that came in, outside the lock.

    Raises:
        InputError: if ``capacity`` is not positive or ``policy`` is unknown.
    """

    def __init__(
        self, capacity: int, policy: Policy, *, ready: Callable[[], object] = bool
    ) -> None:
        if capacity < 1 or policy not in ("drop_oldest", "wait"):
            raise InputError(
                f"expected a capacity of at least 1 and a policy of drop_oldest or wait, got "
                f"{capacity} and {policy!r}"
            )
        self.capacity, self.policy = capacity, policy
        self._ready = ready
        self._changed = threading.Condition()
        self._waiting: deque[Taken] = deque()  # bounded by put(): at most ``capacity``
        self._overflowed = False  # since the last frame was taken
        self._taken = 0
        self._read = 0
        self._processed = 0
        self._dropped: Counter[str] = Counter()  # by reason: a handful of names
        self._closed = False

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nothing is taken in any more."""
        return self._closed

    def put(self, frame: Frame, captured_at: float) -> bool:
        """Take a frame in; False if the queue is (or was meanwhile) closed, which drops it.

        With ``wait`` it returns when there was room.
        """
        with self._changed:
            while self.policy == "wait" and len(self._waiting) >= self.capacity:
                if self._closed:
                    break
                self._changed.wait()
            self._read += 1
            if self._closed:
                self._dropped["stopped"] += 1
                return False
            if len(self._waiting) >= self.capacity:
                self._drop_oldest()
                self._overflowed = True
            self._waiting.append(Taken(frame, captured_at))
            self._changed.notify_all()
        self._ready()
        return True

    def get(self, timeout_s: float = 0.0) -> Taken | None:
        """Take the next frame; None if none came in time. :meth:`done` must follow."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while not self._waiting:
                left = until - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)
            while self._overflowed and len(self._waiting) > 1:
                self._drop_oldest()
            self._overflowed = False
            self._taken += 1
            self._changed.notify_all()
            return self._waiting.popleft()

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self._dropped["queue"] += 1

    def done(self, dropped: str = "") -> None:
        """A frame that was taken is processed, or dropped for a reason.

        Raises:
            InputError: if no frame is out.
        """
        with self._changed:
            if self._taken < 1:
                raise InputError("expected a frame that was taken, got none: call get() first")
            self._taken -= 1
            if dropped:
                self._dropped[dropped] += 1
            else:
                self._processed += 1

    def lose(self, reason: str, count: int = 1) -> None:
        """Count frames that the source had and could not give, such as damaged ones."""
        with self._changed:
            self._read += count
            self._dropped[reason] += count

    def close(self) -> None:
        """Drop what waits and refuse what comes; whoever waits returns. A second time is legal."""
        with self._changed:
            self._closed = True
            if self._waiting:
                self._dropped["stopped"] += len(self._waiting)
                self._waiting.clear()
            self._changed.notify_all()
        self._ready()

    def counts(self) -> FrameCounts:
        """Where all frames are at this moment."""
        with self._changed:
            return FrameCounts(
                read=self._read,
                processed=self._processed,
                in_flight=len(self._waiting) + self._taken,
                dropped=dict(self._dropped),
            )
