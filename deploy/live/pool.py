"""One thread that perceives for all streams: the one that was served least comes next.

Networks are loaded once and belong to one thread; streams take turns frame by frame. Served is
counted in seconds of work, not in frames, so that a stream of large pictures does not take the
others' time. A stream that comes in, or was silent, starts at the present of the others: it has
no claim on time it did not use. Streams without frames cost nothing.

Not covered: priorities, batches over streams, several threads; a network that never comes back
holds all streams, which :attr:`PerceptionPool.busy_s` tells.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...twin.errors import InputError
from .queue import FrameQueue, Taken

__all__ = ["PerceptionPool"]

Work = Callable[[Taken], object]
Failed = Callable[[Taken, Exception], object]


@dataclass(slots=True)
class _Member:
    queue: FrameQueue
    work: Work
    failed: Failed
    served_s: float = 0.0  # seconds of work, moved up to the others' when it was silent
    worked_s: float = 0.0  # seconds of work, all told
    idle: bool = True


class PerceptionPool:
    """Streams that share one thread; every method may be called from any thread.

    Work must call nothing here that waits for itself: :meth:`leave` and :meth:`close` from the
    pool's own thread return without waiting.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._members: dict[str, _Member] = {}
        self._changed = threading.Condition()
        self._now_s = 0.0  # what the member last served had been served before
        self._at_hand: _Member | None = None
        self._since: float | None = None
        self._closing = False
        self.untold = 0  # failures whose ``failed`` raised itself
        self._thread = threading.Thread(target=self._run, name="edgetwin-perception", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def busy_s(self) -> float:
        """Seconds that the frame at hand has been worked on; 0 between frames."""
        since = self._since
        return 0.0 if since is None else max(self._clock() - since, 0.0)

    def worked(self) -> dict[str, float]:
        """Seconds of work by member since it joined."""
        with self._changed:
            return {key: member.worked_s for key, member in self._members.items()}

    def wake(self) -> None:
        """Look for frames: a queue calls it when one came in."""
        with self._changed:
            self._changed.notify_all()

    def join(self, key: str, queue: FrameQueue, work: Work, failed: Failed) -> None:
        """Have a queue's frames worked on.

        Work that raises drops its frame as ``failed`` and is told to ``failed``; the pool goes on.

        Raises:
            InputError: if the key is in use or the pool closed.
        """
        with self._changed:
            if self._closing or key in self._members:
                state = "a closed pool" if self._closing else f"{key!r} twice"
                raise InputError(f"expected an open pool and a key of its own, got {state}")
            self._members[key] = _Member(queue, work, failed)
            self._changed.notify_all()

    def leave(self, key: str, timeout_s: float = 2.0) -> bool:
        """Work no more for a key; False if its frame at hand did not end in time."""
        with self._changed:
            member = self._members.pop(key, None)
            if member is None or threading.current_thread() is self._thread:
                return True
            return self._changed.wait_for(lambda: self._at_hand is not member, timeout_s)

    def close(self, timeout_s: float = 2.0) -> bool:
        """End the thread after the frame at hand; False if that did not end in time."""
        with self._changed:
            self._closing = True
            self._members.clear()
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ---- the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while (member := self._next()) is None and not self._closing:
                    self._changed.wait()
                if member is None:
                    return
                self._at_hand = member
            try:
                self._serve(member)
            finally:
                with self._changed:
                    self._at_hand, self._since = None, None
                    self._changed.notify_all()

    def _next(self) -> _Member | None:
        """The waiting member that was served least."""
        best: _Member | None = None
        for member in self._members.values():
            if not len(member.queue):
                member.idle = True
                continue
            if member.idle:
                member.idle = False
                member.served_s = max(member.served_s, self._now_s)
            if best is None or member.served_s < best.served_s:
                best = member
        return best

    def _serve(self, member: _Member) -> None:
        taken = member.queue.get()
        if taken is None:  # closed meanwhile
            return
        self._now_s = member.served_s
        began = self._since = self._clock()
        try:
            member.work(taken)
        except Exception as error:
            member.queue.done("failed")
            self._tell(member, taken, error)
        else:
            member.queue.done()
        spent = self._clock() - began
        member.served_s += spent
        member.worked_s += spent

    def _tell(self, member: _Member, taken: Taken, error: Exception) -> None:
        try:
            member.failed(taken, error)
        except Exception:  # the others' frames must go on
            self.untold += 1
