"""One stream: its source, its queue, its perceiver, and what was seen lately.

``source → FrameQueue → pool's thread → Moments → listeners and store``. A stream never raises
into the pool's thread: what goes wrong with a frame, a listener or the store is counted and told
in :meth:`LiveStream.status`.

Not covered: pictures of frames that left the ring; they are gone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ...twin.errors import EdgeTwinError
from ...twin.frame import Frame
from ...twin.window import TwinWindow
from ..refine.frames import RecentFrames
from ..stream.records import SourceStatus
from ..stream.spec import Address
from .bounds import StreamLimits
from .listeners import Listeners
from .memory import StreamMemory
from .moments import Moment, Moments, Seen
from .pool import PerceptionPool
from .queue import FrameQueue, Taken
from .records import FrameCounts, StreamSpec, StreamStatus
from .sight import Sight

__all__ = ["LiveStream", "Moment", "SourceLike", "StreamLimits"]

Sink = Callable[[Frame, float], None]
_MAX_ANSWERS = 100  # the newest answers, about 5 kB each
_FIRST_S = 2.0  # a question on a stream without a frame yet waits so long for one
_FRESH_MS = 200.0  # a twin older than this is worth waiting for a newer one
_FRESH_S = 1.0  # but no longer than this
_SLOW_MS = 15.0  # of all listeners: half a frame at 30 frames/s
_SURE_CALLS = 30
_MAX_WARNINGS = 8  # kept of a stream, newest last


class SourceLike(Protocol):
    """Reads one source in a thread of its own; ``deploy.stream.live.LiveSource`` does."""

    ended: threading.Event

    @property
    def damaged(self) -> int:
        """Pieces that could not be decoded, so far."""
        ...

    def start(self) -> None:
        """Begin to read."""

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End; False if the thread did not end in time."""
        ...

    def status(self) -> SourceStatus:
        """How it fares."""
        ...


OpenSource = Callable[[Address, Sink, str], SourceLike]


class LiveStream:
    """A stream of a hub; every method may be called from any thread.

    Args:
        stream_id: its name.
        spec: what it is to be.
        address: of its source.
        sight: perceives its frames.
        pool: the thread that perceives.
        open_source: makes what reads the address.
        limits: what is kept.
        memory: where twins are kept; None: nowhere.

    Attributes:
        id, spec: as given.
        address: its source.
        moments: the newest twins and pictures.
        memory: as given.
        sight: its perceiver.
        answers: the newest records of questions about it, oldest first.
    """

    def __init__(
        self,
        stream_id: str,
        spec: StreamSpec,
        address: Address,
        *,
        sight: Sight,
        pool: PerceptionPool,
        open_source: OpenSource,
        limits: StreamLimits | None = None,
        memory: StreamMemory | None = None,
    ) -> None:
        limits = limits or StreamLimits()
        self.id, self.spec, self.address = stream_id, spec, address
        self.sight, self.memory, self._pool = sight, memory, pool
        self.moments = Moments(limits.twins, limits.frames, limits.frame_bytes)
        self.queue = FrameQueue(
            limits.live_queue if address.live else limits.file_queue,
            "drop_oldest" if address.live else "wait",
            ready=pool.wake,
        )
        self.source = open_source(address, self._take_in, stream_id)
        self.started_at = time.time()
        self.listeners = Listeners()
        self.answers: deque[dict[str, Any]] = deque(maxlen=_MAX_ANSWERS)
        self._seq = 0
        self._skipped = 0
        self._stopped = False
        self._lock = threading.Lock()
        self._warnings: deque[str] = deque(maxlen=_MAX_WARNINGS)

    def start(self) -> None:
        """Begin to read and to perceive."""
        self._pool.join(self.id, self.queue, self._perceive, self._failed)
        self.source.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End source, queue and memory, legal from every state; False if a thread did not end."""
        with self._lock:
            again, self._stopped = self._stopped, True
        if again:
            return True
        self.queue.close()  # a source that waits for room is let go
        ended = self.source.stop(timeout_s)
        ended = self._pool.leave(self.id, timeout_s) and ended
        self.moments.close()
        if self.memory is not None and ended:  # a thread that hangs may still write
            self.memory.close()
        return ended

    # ---- what is seen

    @property
    def recent(self) -> RecentFrames:
        """The newest pictures, by the index of their frame."""
        return self.moments.recent

    def latest(self) -> Moment | None:
        """The newest moment; None before the first."""
        return self.moments.latest()

    def wait(self, after_seq: int, timeout_s: float) -> Moment | None:
        """The newest moment later than ``after_seq``; None if none came in time."""
        return self.moments.wait(after_seq, timeout_s)

    def recent_moments(self, seconds: float) -> list[Moment]:
        """Moments of the last so many seconds whose pictures are still held, oldest first."""
        return self.moments.last(seconds)

    def window(self) -> TwinWindow:
        """The newest twins as a window of the caller's own."""
        return self.moments.window()

    def after(self, seq: int) -> list[Seen]:
        """Twins later than ``seq`` that are still held, oldest first."""
        return self.moments.after(seq)

    def listen(self, heard: Callable[[Moment], None]) -> Callable[[], None]:
        """Have every moment told, in the thread that perceives: be quick; returns the unlisten.

        A listener that raises is told no more, and counted.
        """
        return self.listeners.add(heard)

    def skip(self, count: int = 1) -> None:
        """Count twins that a viewer was too slow for."""
        with self._lock:
            self._skipped += count

    def warn(self, message: str) -> None:
        """Have the status tell a line, the newest eight."""
        message = self.address.scrub(" ".join(message.split()))[:400]
        with self._lock:
            if message in self._warnings:
                self._warnings.remove(message)
            self._warnings.append(message)

    def counts(self) -> FrameCounts:
        """Where all frames are at this moment, those that could not be decoded among them."""
        damaged, counts = self.source.damaged, self.queue.counts()
        if not damaged:
            return counts
        return FrameCounts(
            read=counts.read + damaged,
            processed=counts.processed,
            in_flight=counts.in_flight,
            dropped={**counts.dropped, "damaged": damaged},
        )

    def busy(self) -> bool:
        """Whether a newer twin may be expected soon."""
        return self.queue.counts().in_flight > 0

    def wait_for_new(self, most_s: float) -> None:
        """Wait for what a question is to be about, in the thread of who asks.

        That is the first frame there is; and where perception is slow, the frame at hand: the
        present, while the newest twin is the past.
        """
        moment = self.latest()
        if moment is None:
            if not self.source.ended.is_set():
                self.wait(0, min(_FIRST_S, most_s))
        elif self.address.live and moment.age_ms() > _FRESH_MS and self.busy():
            self.wait(moment.seq, min(_FRESH_S, most_s))

    def status(self) -> StreamStatus:
        """How it fares now."""
        moment, counts = self.latest(), self.counts()
        stored = (0, 0) if self.memory is None else self.memory.counts()
        twin = moment.twin if moment else None
        return StreamStatus(
            id=self.id,
            source=self.source.status(),
            frames=counts,
            fps=round(self.moments.rate(), 2),
            age_ms=round(moment.age_ms(), 1) if moment else None,
            frame_index=twin.index if twin else None,
            timestamp_s=twin.timestamp_s if twin else None,
            width=twin.width if twin else None,
            height=twin.height if twin else None,
            objects=sum(o.state == "visible" for o in twin.objects.values()) if twin else 0,
            started_at=self.started_at,
            skipped=self._skipped,
            stored_frames=stored[0],
            stored_bytes=stored[1],
            warnings=[*self.sight.warnings(), *self._told()],
        )

    # ---- in the source's thread

    def _take_in(self, frame: Frame, captured_at: float) -> None:
        self.queue.put(frame, captured_at)

    # ---- in the pool's thread

    def _perceive(self, taken: Taken) -> None:
        frame = taken.frame
        twin = self.sight.observe(frame)
        at = time.time() - (time.monotonic() - taken.captured_at)
        self._seq += 1
        moment = Moment(self._seq, frame, twin, taken.captured_at, at, self.sight.run)
        if self.memory is not None:
            self.memory.append(twin, at)  # neither waits nor raises
        self.moments.push(moment)
        for message in self.listeners.tell(moment):
            self.warn(message)

    def _failed(self, taken: Taken, error: Exception) -> None:
        count = self.queue.counts().dropped.get("failed", 0)
        told = str(error) if isinstance(error, EdgeTwinError) else f"{type(error).__name__}"
        with self._lock:  # one line, with the newest count
            for line in [w for w in self._warnings if w.startswith("frames that could")]:
                self._warnings.remove(line)
        self.warn(
            f"frames that could not be perceived: {count}, the newest {taken.frame.index}: {told}"
        )

    def _told(self) -> list[str]:
        with self._lock:
            told = list(self._warnings)
        if self.memory is not None:
            told += self.memory.warnings()
        costs = [c["mean_ms"] for c in self.listeners.costs() if c["calls"] >= _SURE_CALLS]
        if sum(costs) > _SLOW_MS:
            told.append(f"viewers and watchers take {sum(costs):.0f} ms of every frame")
        remade = self.sight.remade
        if remade:
            why = ", ".join(f"{reason} {count}" for reason, count in sorted(remade.items()))
            told.append(f"perceived anew after a break: {why}; objects have new ids since")
        return told
