"""Who is told of every moment: one that raises is told no more, a slow one is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .moments import Moment

__all__ = ["Listeners"]

Heard = Callable[[Moment], None]


@dataclass(slots=True)
class _Listener:
    heard: Heard
    name: str
    calls: int = 0
    spent_s: float = 0.0
    slowest_s: float = 0.0


class Listeners:
    """Told one after the other, in the thread that perceives.

    Attributes:
        failed: listeners that raised, since the start.
    """

    def __init__(self) -> None:
        self.failed = 0
        self._lock = threading.Lock()
        self._all: dict[int, _Listener] = {}
        self._next = 0

    def add(self, heard: Heard) -> Callable[[], None]:
        """Tell one more; returns what ends it, which may be called more than once."""
        name = getattr(heard, "__qualname__", type(heard).__name__)
        with self._lock:
            self._next += 1
            key = self._next
            self._all[key] = _Listener(heard, str(name))
        return lambda: self._drop(key)

    def tell(self, moment: Moment) -> list[str]:
        """Tell all; what went wrong, one line for each that will not be told again."""
        with self._lock:
            everyone = list(self._all.items())
        wrong = []
        for key, listener in everyone:
            began = time.perf_counter()
            try:
                listener.heard(moment)
            except Exception as error:  # another's mistake must not stop the stream
                self._drop(key)
                self.failed += 1
                wrong.append(
                    f"a viewer or watcher broke and is told no more: {type(error).__name__} in "
                    f"{listener.name}"
                )
            spent = time.perf_counter() - began
            listener.calls += 1
            listener.spent_s += spent
            listener.slowest_s = max(listener.slowest_s, spent)
        return wrong

    def costs(self) -> list[dict[str, Any]]:
        """Name, calls, mean and greatest milliseconds of every listener."""
        with self._lock:
            everyone = list(self._all.values())
        return [
            {
                "name": one.name,
                "calls": one.calls,
                "mean_ms": round(1e3 * one.spent_s / max(one.calls, 1), 3),
                "max_ms": round(1e3 * one.slowest_s, 3),
            }
            for one in everyone
        ]

    def _drop(self, key: int) -> None:
        with self._lock:
            self._all.pop(key, None)
