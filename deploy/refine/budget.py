"""What looking again may cost, and what it did cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...twin.errors import InputError, ToolError

__all__ = ["Allowance", "Meter", "RefineBudget", "RefineCounts"]


@dataclass(frozen=True, slots=True)
class RefineBudget:
    """How much one call and one answer may look at.

    Attributes:
        frames: of the window that one call runs networks on; evenly spread where there are more.
        seconds: of wall-clock time that one call may take; it ends between frames.
        answer_frames: frames of all calls of one answer together.
        answer_seconds: seconds of all calls of one answer together.

    Raises:
        InputError: if a bound is not positive.
    """

    frames: int = 64  # eight seconds of TwinBench, 1.6 s of work for the embedded set
    seconds: float = 6.0
    answer_frames: int = 192
    answer_seconds: float = 12.0

    def __post_init__(self) -> None:
        bounds = (self.frames, self.seconds, self.answer_frames, self.answer_seconds)
        if not all(bound > 0 for bound in bounds):
            raise InputError(f"expected positive frames and seconds, got {bounds}")


@dataclass(slots=True)
class RefineCounts:
    """What refinement did since it was made.

    ``calls`` by tool, of which ``cached`` needed no look; ``frames`` that networks ran on,
    ``frames_gone`` of the window that could no longer be had; ``added`` objects, ``changed`` ones
    (name, mask or depth), ``doubles`` that were known under another name; ``cut`` calls that a
    budget ended; ``ms`` of all calls.
    """

    calls: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    frames: int = 0
    frames_gone: int = 0
    added: int = 0
    changed: int = 0
    doubles: int = 0
    cut: int = 0
    ms: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        names = ("cached", "frames", "frames_gone", "added", "changed", "doubles", "cut")
        return {
            "calls": dict(sorted(self.calls.items())),
            **{name: getattr(self, name) for name in names},
            "ms": round(self.ms, 1),
        }


class Allowance:
    """What one call has left; asked before every frame."""

    def __init__(self, frames: int, until_s: float, clock: Callable[[], float]) -> None:
        self.frames = frames
        self.used = 0
        self._until_s = until_s
        self._clock = clock

    @property
    def left_s(self) -> float:
        """Seconds that are left, not below 0."""
        return max(self._until_s - self._clock(), 0.0)

    def take(self) -> bool:
        """Count one frame; False, and nothing counted, when there is nothing left."""
        if self.used >= self.frames or self.left_s <= 0:
            return False
        self.used += 1
        return True


class Meter:
    """Keeps the budget of one answer at a time and counts what was done."""

    def __init__(self, budget: RefineBudget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.counts = RefineCounts()
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Begin an answer: its budget is whole again."""
        self._frames = self.budget.answer_frames
        self._seconds = self.budget.answer_seconds

    @contextmanager
    def call(self, deadline_s: float | None) -> Iterator[Allowance]:
        """Give one call what it may use and charge the answer with what it did use.

        Raises:
            ToolError: if the answer has nothing left.
        """
        began = self._clock()
        seconds = min(self.budget.seconds, self._seconds)
        if deadline_s is not None:
            seconds = min(seconds, deadline_s - began)
        if self._frames <= 0 or seconds <= 0:
            self.counts.cut += 1
            raise ToolError(
                f"expected frames and time left to look again, got none: one answer may look at "
                f"{self.budget.answer_frames} frames for {self.budget.answer_seconds:g} s; ask "
                "for less, or allow more"
            )
        allowance = Allowance(min(self.budget.frames, self._frames), began + seconds, self._clock)
        try:
            yield allowance
        finally:
            spent = self._clock() - began
            self._frames -= allowance.used
            self._seconds -= spent
            self.counts.frames += allowance.used
            self.counts.ms += 1000 * spent
