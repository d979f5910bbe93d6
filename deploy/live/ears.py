"""Moments on their way from perception to the standing questions: bounded, newest kept.

Not covered: order between streams; each is taken in turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ...twin.window import TwinWindow
from .clips import Tape
from .lookback import Lookback
from .moments import Moment

__all__ = ["Ear", "Ears", "StreamLike"]

_MAX_WAITING = 8  # moments of a stream: they hold pictures; older ones are skipped and counted
_FILING_S = 2.0  # how much longer a tape is than a clip, until the clip's turn comes


class StreamLike(Protocol):
    """What standing questions need of a stream: :class:`~.stream.LiveStream` is one."""

    def latest(self) -> Moment | None:
        """The newest moment."""
        ...

    def window(self) -> TwinWindow:
        """The newest twins, the caller's own."""
        ...

    def recent_moments(self, seconds: float) -> Sequence[Moment]:
        """The last moments whose pictures are held, oldest first."""
        ...

    def listen(self, heard: Callable[[Moment], None]) -> Callable[[], None]:
        """Have every moment told; returns what ends it."""
        ...


class Ear:
    """One stream, and what is remembered of it.

    Args:
        stream: who tells.
        window_s, rate_hz: what plans look back on.
        clip_s: of a clip.

    Attributes:
        lookback, tape: of the last seconds; ``taken`` fills them.
        skipped: moments that were too many.
    """

    def __init__(self, stream: StreamLike, window_s: float, rate_hz: float, clip_s: float) -> None:
        self.stream = stream
        self._window_s, self._rate_hz = window_s, rate_hz
        self.lookback = Lookback(window_s, rate_hz)
        self.tape = Tape(clip_s + _FILING_S, round((clip_s + _FILING_S) * rate_hz) + 2)
        self.waiting: deque[Moment] = deque()
        self.skipped = 0
        self.unlisten: Callable[[], None] = lambda: None
        self._run: int | None = None
        self._clip_s = clip_s

    def catch_up(self) -> None:
        """Remember what the stream showed before it was listened to."""
        newest = self.stream.latest()
        if newest is None:
            return
        self._run = newest.run
        for twin in self.stream.window().frames:
            if self.lookback.wants(twin.timestamp_s):
                self.lookback.add(twin)
        next_s = 0.0
        for moment in self.stream.recent_moments(self._clip_s):
            if moment.run == newest.run and moment.twin.timestamp_s >= next_s:
                self.tape.add(moment.frame.image_hw3, moment.twin)
                next_s = moment.twin.timestamp_s + 0.9 / self._rate_hz

    def take(self, moment: Moment) -> tuple[TwinWindow | None, bool]:
        """The window with a new moment (None: too soon after the last one); whether the stream
        broke off before it, so that ids are new ones."""
        broke = self._run is not None and moment.run != self._run
        if broke:
            self.lookback = Lookback(self._window_s, self._rate_hz)
        self._run = moment.run
        if not self.lookback.wants(moment.twin.timestamp_s):
            return None, broke
        self.lookback.add(moment.twin)
        self.tape.add(moment.frame.image_hw3, moment.twin)
        return self.lookback.window(), broke


class Ears:
    """The streams that are heard; every method may be called from any thread."""

    def __init__(self, window_s: float, rate_hz: float, clip_s: float) -> None:
        self._sizes = (window_s, rate_hz, clip_s)
        self._changed = threading.Condition()
        self._ears: dict[str, Ear] = {}
        self._skipped = 0  # of streams that are gone
        self._closed = False

    def hear(self, stream_id: str, stream: StreamLike) -> None:
        """Listen to a stream; to the same one only once, to another of its id instead."""
        with self._changed:
            ear = self._ears.get(stream_id)
            if self._closed or (ear is not None and ear.stream is stream):
                return
        self.unhear(stream_id)
        ear = Ear(stream, *self._sizes)
        ear.catch_up()
        with self._changed:
            self._ears[stream_id] = ear
        ear.unlisten = stream.listen(lambda moment: self._heard(ear, moment))

    def unhear(self, stream_id: str) -> None:
        """Listen no more; unknown ones are fine."""
        with self._changed:
            ear = self._ears.pop(stream_id, None)
            self._skipped += ear.skipped if ear is not None else 0
        if ear is not None:
            ear.unlisten()

    def take(self) -> list[tuple[str, Ear, Moment]] | None:
        """Wait for moments, at most one of each stream; None when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._some())
            if self._closed:
                return None
            return [(i, e, e.waiting.popleft()) for i, e in self._ears.items() if e.waiting]

    def close(self) -> None:
        """Hear nothing more."""
        with self._changed:
            self._closed = True
            ears = list(self._ears)
            self._changed.notify_all()
        for stream_id in ears:
            self.unhear(stream_id)

    @property
    def skipped(self) -> int:
        """Moments that were too many, of all streams so far."""
        with self._changed:
            return self._skipped + sum(ear.skipped for ear in self._ears.values())

    def _some(self) -> bool:
        return any(ear.waiting for ear in self._ears.values())

    def _heard(self, ear: Ear, moment: Moment) -> None:
        """In the perception thread."""
        with self._changed:
            if len(ear.waiting) >= _MAX_WAITING:
                ear.waiting.popleft()
                ear.skipped += 1
            ear.waiting.append(moment)
            self._changed.notify_all()
