"""Milliseconds per stage, over a bounded recent history."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["StageTime", "Timings"]

_HISTORY = 256  # at 30 frames/s the last eight seconds: recent enough, steady enough
_AVERAGED = 16  # runs that the running average of a stage looks back on


@dataclass(frozen=True, slots=True)
class StageTime:
    """Recent cost of one stage in milliseconds, and how often it ran since the start."""

    mean_ms: float
    p95_ms: float
    runs: int


class Timings:
    """Records how long named stages take; the names are fixed at construction.

    ``clock`` gives seconds and may be replaced (tests do). Stages may run in several threads
    as long as no stage runs in two at once. ``heard``, where set, is told of every run (stage,
    milliseconds) by the thread that ran it.
    """

    def __init__(self, *stages: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.heard: Callable[[str, float], None] | None = None
        self._recent: dict[str, deque[float]] = {s: deque(maxlen=_HISTORY) for s in stages}
        self._runs = dict.fromkeys(stages, 0)
        self._average: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, spent_ms: list[float] | None = None) -> Iterator[None]:
        """Time the body of a ``with`` statement; a body that raises is not recorded.

        ``spent_ms``, if given, gets the milliseconds appended as well.
        """
        start = self.clock()
        yield
        took = (self.clock() - start) * 1000.0
        self.add(name, took)
        if spent_ms is not None:
            spent_ms.append(took)

    def add(self, name: str, ms: float) -> None:
        """Record one run of a stage that was timed elsewhere."""
        self._recent[name].append(ms)
        self._runs[name] += 1
        if self.heard is not None:
            self.heard(name, ms)
        # The plain mean of the first runs, then an exponential one.
        gain = 1.0 / min(self._runs[name], _AVERAGED)
        self._average[name] = (1.0 - gain) * self._average.get(name, 0.0) + gain * ms

    def average_ms(self, name: str) -> float:
        """Return the running average of a stage, 0 before its first run."""
        return self._average.get(name, 0.0)

    def summary(self) -> dict[str, StageTime]:
        """Return the stages that ran, in the order of construction."""
        result = {}
        for name, values in self._recent.items():
            if values:
                ordered = sorted(values)
                p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
                mean = sum(ordered) / len(ordered)
                result[name] = StageTime(mean, p95, self._runs[name])
        return result
