"""Frames ahead of each other: networks look at the next pictures while one frame is settled.

Threads: one that takes frames and prepares them, one per stateless network (encoder, detector,
depth; an engine never serves two threads at once), and the caller's, which settles and writes
the frames in order. ONNX Runtime, OpenCV and most of numpy let other threads run meanwhile.
What is run ahead is a guess; what is not foreseen runs when it is asked for, so results are
those of frame-by-frame calls exactly.

Not covered: processes, several streams in one batch, frames dropped when time is short (a
source does that).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..twin.errors import EdgeTwinError, InputError
from ..twin.frame import Frame
from .policy import Policy
from .sense import Preparer, Sensed, Senses

__all__ = ["Pipeline", "at_frame"]

T = TypeVar("T")

_LANES = ("encoder", "detector", "depth")
_PATIENCE_S = 1.0  # how long closing waits for a source that gives no frame
_POLL_S = 0.05  # how often a full queue is asked again whether the pipeline was closed


class _End:
    """The source has ended, or failed with ``error``."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Pipeline:
    """Runs the frames of one source; used once.

    ``lookahead`` is how many prepared frames may wait: more than two gain nothing, and hold a
    frame's pictures and features each.

    Raises:
        InputError: if ``lookahead`` is below 1.
    """

    def __init__(
        self,
        prepare: Preparer,
        senses: Senses,
        policy: Policy,
        words: Callable[[], tuple[str, ...] | None],
        lookahead: int = 2,
    ) -> None:
        if lookahead < 1:
            raise InputError(f"expected a lookahead of at least 1 frame, got {lookahead}")
        self._prepare = prepare
        self._senses = senses
        self._policy = policy
        self._words = words
        self._queue: queue.Queue[Sensed | _End] = queue.Queue(maxsize=lookahead)
        self._stop = threading.Event()
        self._lanes = {
            name: ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"edgetwin-{name}")
            for name in _LANES
        }
        self._taken = 0
        self._start = policy.counts.frames
        self._next_look = self._next_depth = 0

    def run(
        self, frames: Iterable[Frame], settle: Callable[[Sensed], T]
    ) -> Generator[T, None, None]:
        """Yield ``settle`` of every frame, in order.

        Closing the generator stops all threads; a source that is waiting for its next frame
        is left to end with it. Errors come in their frame's turn: the source's as they are,
        others with ``frame N:`` before the message.
        """
        feeder = threading.Thread(
            target=self._feed, args=(frames,), name="edgetwin-frames", daemon=True
        )
        feeder.start()
        try:
            while True:
                item = self._queue.get()
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                try:
                    result = settle(item)
                except Exception as error:
                    raise at_frame(error, item.view.frame.index) from error
                yield result
        finally:
            self._close(feeder)

    def _feed(self, frames: Iterable[Frame]) -> None:
        """Prepare frames and start their networks, until the end or a stop."""
        try:
            for frame in frames:
                if self._stop.is_set():
                    return
                if not self._put(self._begun(frame)):
                    return
            self._put(_End())
        except BaseException as error:
            self._put(_End(error))

    def _begun(self, frame: Frame) -> Sensed:
        try:
            view = self._prepare(frame)
        except Exception as error:
            raise at_frame(error, frame.index) from error
        sensed = Sensed(view, self._senses, dict(self._lanes))
        sensed.begin_encoder()
        number, self._taken = self._taken, self._taken + 1
        scene = view.change > self._policy.config.scene_change
        # In how many frames something is due, counted from the frame settled last.
        look, depth = self._policy.foresees()
        settled = self._policy.counts.frames - self._start
        if scene or number >= max(self._next_look, settled + look - 1):
            sensed.begin_detector(self._words())
            self._next_look = number + self._policy.look_interval
        if scene or number >= max(self._next_depth, settled + depth - 1):
            sensed.begin_depth()
            self._next_depth = number + self._policy.depth_interval
        return sensed

    def _put(self, item: Sensed | _End) -> bool:
        """Wait for room; False if the pipeline was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def _close(self, feeder: threading.Thread) -> None:
        self._stop.set()
        for lane in self._lanes.values():
            lane.shutdown(wait=False, cancel_futures=True)
        feeder.join(_PATIENCE_S)
        for lane in self._lanes.values():
            lane.shutdown(wait=True)


def at_frame(error: Exception, index: int) -> Exception:
    """Return an error of the same kind that names the frame."""
    if isinstance(error, EdgeTwinError):
        try:
            return type(error)(f"frame {index}: {error}")
        except TypeError:  # an error with arguments of its own
            pass
    error.add_note(f"at frame {index}")
    return error
