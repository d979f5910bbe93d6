"""A source that keeps running: opened, watched, and opened again when it fails.

::

    opening ──first frame──▶ running ◀──frame── stalled
       │                        │ silent           │ silent for longer
       └─────── failed ─────────┴──▶ backoff ◀─────┘
    stop(), a file's end, no attempts left: stopped

One owner thread per source decides; a reader thread per opening waits in FFmpeg, a pipe or the
sink. A read that does not come back after its feed was closed is abandoned: counted, at most
``MAX_ABANDONED`` at a time, and what it still brings is not delivered.

Not covered: the time a picture spent in the camera and on the network before it arrived.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import EdgeTwinError, InputError
from ...twin.frame import Frame
from .feed import Feed
from .records import SourceState, SourceStatus
from .spec import Address
from .timeline import Timeline

__all__ = ["MAX_ABANDONED", "LiveSource", "Retry"]

MAX_ABANDONED = 2  # a blocked native read holds a thread and a decoder, about 20 MB
_CLOSE_S = 1.2  # for a closed feed's reader to come back; below the 2 s that stop() has
_LOOK_S = 0.25  # how often the owner looks whether frames still come
_SETTLED_S = 2.0  # an opening that ran this long was good: the next retry begins anew
_QUICK_S = 2.0  # no first frame is given up sooner than this, unless open_s says so
_MAX_ERROR = 300  # characters of an error that a status holds

Sink = Callable[[Frame, float], None]


@dataclass(frozen=True)
class Retry:
    """When a source is tried again: ``first_s * factor ** n``, at most ``most_s``, ± ``jitter``.

    The time counts from the beginning of the opening that failed, with ``first_s`` after its end
    at least. ``stall_s`` without a frame end an opening (at half of it the state is "stalled"),
    ``open_s`` without a first one do so too; where openings were quicker before, every other one
    waits less. After ``attempts`` failures in a row it is stopped; None: never.

    Raises:
        InputError: for values that make no sense.
    """

    first_s: float = 0.5
    most_s: float = 10.0
    factor: float = 2.0
    jitter: float = 0.2
    stall_s: float = 5.0
    open_s: float = 10.0
    attempts: int | None = None

    def __post_init__(self) -> None:
        positive = min(self.first_s, self.stall_s, self.open_s) > 0 and self.factor >= 1
        if not positive or self.most_s < self.first_s or not 0 <= self.jitter < 1:
            raise InputError(f"expected positive times, factor >= 1, jitter in [0, 1), got {self}")

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the ``failures``-th failure in a row, jittered."""
        exponent = min(failures - 1, 64)  # beyond it a float would overflow
        plain = min(self.most_s, self.first_s * self.factor**exponent)
        return plain * (1.0 + self.jitter * random.uniform(-1.0, 1.0))


@dataclass(eq=False)
class _Opening:
    """One opening of the source and its reader."""

    feed: Feed
    opened_s: float
    open_s: float  # the longest wait for its first frame
    heard_s: float  # when the last frame came, or when it was opened
    frames: int = 0
    delivering: bool = False
    over: bool = False  # the reader came back
    error: str = ""
    thread: threading.Thread | None = field(default=None, repr=False)


class LiveSource:
    """Brings the frames of one address to a sink until it is stopped.

    Args:
        address: from :func:`~edgetwin.deploy.stream.spec.parse_address`.
        sink: gets each frame and when it arrived on ``clock``, in the reader's thread, one at a
            time; may block for sources that are not live, and must come back when they are to
            stop. What it raises counts as a failure of the source.
        stream_id: names frames (``source_id``) and threads.
        retry: when to try again.
        clock: monotonic seconds.

    Attributes:
        ended: set when no frame will come any more though nobody stopped it: a file that is
            over or cannot be read, or no attempts left.
        damaged: pieces that could not be decoded, over all openings.
        abandoned: reads that did not come back in time, over all openings.
    """

    def __init__(
        self,
        address: Address,
        sink: Sink,
        *,
        stream_id: str,
        retry: Retry | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.ended = threading.Event()
        self.abandoned = 0
        self._sink, self._id = sink, stream_id
        self._retry = retry or Retry()
        self._clock = clock
        self._timeline = Timeline()
        self._changed = threading.Condition()  # guards what follows
        self._delivery = threading.Lock()  # one frame at a time reaches the sink
        self._state: SourceState = "stopped"
        self._since_s = clock()
        self._stopping = False
        self._owner: threading.Thread | None = None
        self._now: _Opening | None = None
        self._left: list[threading.Thread] = []  # abandoned readers, at most MAX_ABANDONED
        self._index = 0
        self._attempts = self._good = self._failures = self._damaged = 0
        self._error = ""
        self._tried_s = 0.0  # when the last opening began
        self._took_s: float | None = None  # from opening to first frame, the last time it came

    @property
    def damaged(self) -> int:
        """Pieces that could not be decoded, over all openings."""
        with self._changed:
            return self._damaged + (self._now.feed.damaged if self._now else 0)

    def start(self) -> None:
        """Begin; does nothing when it was started before.

        Raises:
            InputError: if it was stopped already.
        """
        with self._changed:
            if self._stopping:
                raise InputError("expected a source that was not stopped: make a new LiveSource")
            if self._owner is None:
                self._owner = threading.Thread(
                    target=self._own, name=f"source-{self._id}", daemon=True
                )
                self._enter("opening")
                self._owner.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End it, from any state; return whether nothing is left behind after ``timeout_s``.

        Legal again and again, and before :meth:`start`; not from within the sink.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            threads = [t for t in (self._owner,) if t is not None]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(t.is_alive() for t in (*threads, *self._left))

    def status(self) -> SourceStatus:
        """How it fares now, without credentials."""
        with self._changed:
            return SourceStatus(
                uri=self.address.uri,
                kind=self.address.kind,
                live=self.address.live,
                state=self._state,
                state_since_s=max(0.0, self._clock() - self._since_s),
                attempts=self._attempts,
                reconnects=max(0, self._good - 1),
                error=self._error,
            )

    def _enter(self, state: SourceState) -> None:
        if state != self._state:
            self._state, self._since_s = state, self._clock()

    # The owner.

    def _own(self) -> None:
        goes_on = True
        while goes_on and not self._stopping:
            goes_on = self._attempt() and self._back_off()
        with self._changed:
            self._enter("stopped")
            if not self._stopping:
                self.ended.set()

    def _attempt(self) -> bool:
        """Open once and watch it to its end; return whether to try again."""
        with self._changed:
            self._enter("opening")
            self._attempts += 1
            self._tried_s = self._clock()
        try:
            opening = self._opened()
        except Exception as error:  # whatever an opener raises, or no thread left
            self._failed(self._said(error))
            return self.address.lasting
        why = self._watch(opening)
        opening.feed.close()
        self._let_go(opening)
        if self._stopping:
            return False
        if opening.frames and self._clock() - opening.opened_s >= _SETTLED_S:
            self._failures = 0
        why = why or opening.error
        if not why and not self.address.lasting:
            return False
        self._failed(why or "the source ended")
        return self.address.lasting

    def _opened(self) -> _Opening:
        """A new feed with its reader running."""
        feed, now = self.address.open(), self._clock()
        opening = _Opening(feed, now, self._patience_s(), now)
        opening.thread = threading.Thread(
            target=self._read, args=(opening,), name=f"source-{self._id}-read", daemon=True
        )
        with self._changed:
            self._now = opening
            self._timeline.reopened()
        opening.thread.start()
        return opening

    def _patience_s(self) -> float:
        """The longest wait for a first frame: full each other time, else what was usual."""
        most = self._retry.open_s
        if self._took_s is None or self._failures % 2 == 0:
            return most
        return min(most, max(_QUICK_S, 4 * self._took_s))

    def _stall_s(self, fps: float) -> float:
        """Silence that ends an opening: a slow camera is not a silent one, if it says the truth."""
        least = self._retry.stall_s
        return min(max(least, 3.0 / max(fps, 0.01)), 6 * least)

    def _watch(self, opening: _Opening) -> str:
        """Wait until the reader is back, too silent or to be stopped; return what was wrong."""
        with self._changed:
            while not opening.over and not self._stopping:
                self._changed.wait(_LOOK_S)
                silent = 0.0 if opening.delivering else self._clock() - opening.heard_s
                stall_s = self._stall_s(opening.feed.fps)
                if not opening.frames:
                    if silent >= opening.open_s:
                        return f"no picture within {opening.open_s:.3g} s"
                elif silent >= stall_s:
                    return f"no picture for {stall_s:g} s"
                elif silent >= stall_s / 2 and not opening.over:
                    self._enter("stalled")
        return ""

    def _let_go(self, opening: _Opening) -> None:
        """Wait for the reader of a closed feed, a bounded time."""
        assert opening.thread is not None
        opening.thread.join(_CLOSE_S)
        with self._changed:
            self._now = None
            self._damaged += opening.feed.damaged
            if opening.thread.is_alive():
                self.abandoned += 1
                self._left = [t for t in self._left if t.is_alive()] + [opening.thread]

    def _failed(self, why: str) -> None:
        with self._changed:
            self._failures += 1
            self._error = self.address.scrub(why)[:_MAX_ERROR]

    def _back_off(self) -> bool:
        """Wait before the next attempt; return whether there is to be one."""
        most = self._retry.attempts
        if most is not None and self._failures >= most:
            return False
        delay_s = self._retry.delay_s(self._failures) - (self._clock() - self._tried_s)
        until = time.monotonic() + max(delay_s, self._retry.delay_s(1))
        with self._changed:
            self._enter("backoff")
            while not self._stopping:
                self._left = [t for t in self._left if t.is_alive()]
                rest = until - time.monotonic()
                if rest <= 0 and len(self._left) < MAX_ABANDONED:
                    return True
                self._changed.wait(rest if rest > 0 else _LOOK_S)
        return False

    # The reader.

    def _read(self, opening: _Opening) -> None:
        try:
            for seconds, image in opening.feed.frames():
                if not self._deliver(opening, seconds, image):
                    break
        except Exception as error:  # whatever a decoder or sink raises: said in the status
            opening.error = self._said(error)
        with self._changed:
            opening.over = True
            self._changed.notify_all()

    def _deliver(self, opening: _Opening, seconds: float | None, image: NDArray[np.uint8]) -> bool:
        """Give one picture to the sink; False when this opening no longer counts."""
        arrived = self._clock()
        with self._delivery:
            with self._changed:
                if self._now is not opening or self._stopping:
                    return False
                at = self._timeline.place(seconds, arrived, opening.feed.exact)
                frame = Frame(self._index, at, image, self._id)
                self._index += 1
                if not opening.frames:
                    self._good += 1
                    self._took_s = arrived - opening.opened_s
                opening.frames += 1
                opening.heard_s, opening.delivering = arrived, True
                self._enter("running")
                self._error = ""
            try:
                self._sink(frame, arrived)
            finally:
                with self._changed:
                    opening.delivering, opening.heard_s = False, self._clock()
        return True

    def _said(self, error: BaseException) -> str:
        if isinstance(error, EdgeTwinError):
            return self.address.scrub(str(error))
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return self.address.scrub(f"{type(error).__name__}: {text}")
