"""Milliseconds per stage, over a bounded recent history."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["StageTime", "Timings"]

_HISTORY = 256  # at 30 frames/s the last eight seconds: recent enough, steady enough


@dataclass(frozen=True, slots=True)
class StageTime:
    """Recent cost of one stage in milliseconds, and how often it ran since the start."""

    mean_ms: float
    p95_ms: float
    runs: int


class Timings:
    """Records how long named stages take; the names are fixed at construction."""

    def __init__(self, *stages: str) -> None:
        self._recent: dict[str, deque[float]] = {s: deque(maxlen=_HISTORY) for s in stages}
        self._runs = dict.fromkeys(stages, 0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement; a body that raises is not recorded."""
        start = time.perf_counter()
        yield
        self._recent[name].append((time.perf_counter() - start) * 1000.0)
        self._runs[name] += 1

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
