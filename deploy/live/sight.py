"""One stream's perceiver: made anew where a stream breaks off, ids never given twice.

All streams share one set of networks, which their perceivers are given: a further stream costs
its tracks and thumbnails, not the weights.

Not covered: memories of objects across a break; they get new ids.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from ...perception.perceiver import Perceiver
from ...twin.frame import Frame
from ...twin.schema import FrameTwin
from ..models import Models, Observer

__all__ = ["MakeObserver", "Sight", "observers", "open_lanes"]

MakeObserver = Callable[[Sequence[str] | None], Observer]


def open_lanes() -> dict[str, Executor]:
    """One thread for each network that needs only the picture: they run beside each other."""
    return {
        name: ThreadPoolExecutor(1, f"edgetwin-{name}") for name in ("encoder", "detector", "depth")
    }


def observers(models: Models, lanes: dict[str, Executor] | None = None) -> MakeObserver:
    """What makes perceivers that share the networks of a model set, for one thread.

    Nobody else may use the set's own perceiver meanwhile.
    """
    own, bundle = models.perceiver, models.bundle
    if bundle is None or not isinstance(own, Perceiver):
        return lambda words: own

    def make(words: Sequence[str] | None) -> Observer:
        perceiver = own.another(bundle, words)
        perceiver.lanes = lanes
        return perceiver

    return make


class Sight:
    """Perceives the frames of one stream, in one thread at a time.

    Args:
        make: makes the perceiver.

    Attributes:
        run: counts the stretches of frames that belong together, from 0.
        remade: why perceivers were made anew, by reason: ``size``, ``clock``, ``failed``.
    """

    def __init__(self, make: Callable[[], Observer]) -> None:
        self._make = make
        self._observer = make()
        self._lock = threading.Lock()  # ids may be reserved while the perceiver is made anew
        self._highest = 0
        self._size: tuple[int, ...] = ()
        self._last_s = 0.0
        self.run = 0
        self.remade: Counter[str] = Counter()

    @property
    def observer(self) -> Observer:
        """The perceiver of now."""
        return self._observer

    def observe(self, frame: Frame) -> FrameTwin:
        """Perceive the next frame; one of another size or an earlier time begins a new run.

        Raises:
            Exception: whatever the perceiver raises; the next frame gets a new one.
        """
        size = frame.image_hw3.shape
        if self._size and size != self._size:
            self._renew("size")
            self.run += 1
        elif frame.timestamp_s < self._last_s:
            self._renew("clock")
            self.run += 1
        self._size, self._last_s = size, frame.timestamp_s
        try:
            twin = self._observer.observe(frame)
        except Exception:
            self._renew("failed")  # it may be left in the middle of a frame
            raise
        self._highest = max(self._highest, *twin.objects) if twin.objects else self._highest
        return twin

    def reserve(self, count: int) -> int:
        """Set ids aside for objects that others found; the first of ``count``; from any thread."""
        with self._lock:
            if isinstance(self._observer, Perceiver):
                return self._observer.tracker.reserve(count)
            first = self._highest + 1
            self._highest += count
            return first

    def warnings(self) -> list[str]:
        """What the perceiver has to say, one line each."""
        observer = self._observer
        told = observer.domain_warning if isinstance(observer, Perceiver) else None
        return [told] if told else []

    def _renew(self, reason: str) -> None:
        self.remade[reason] += 1
        new = self._make()
        with self._lock:
            old = self._observer
            if isinstance(old, Perceiver) and isinstance(new, Perceiver):
                new.tracker.reserve(old.tracker.reserve(1) - 1)
            self._observer = new
