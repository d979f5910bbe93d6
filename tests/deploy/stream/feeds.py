"""Scripted feeds and a sink that counts, for tests of sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetwin.deploy.stream.live import LiveSource, Retry
from edgetwin.deploy.stream.records import SourceKind
from edgetwin.deploy.stream.spec import Address
from edgetwin.twin.frame import Frame

QUICK = Retry(first_s=0.05, most_s=0.1, stall_s=0.4, open_s=0.6)

Step = tuple[float | None, int] | float | str | Exception
"""(seconds, width) gives a picture, a float waits, "hang" blocks until closed, "deaf" ignores it."""


class Script:
    """A feed that follows a list of steps; the thread that made it may be blocked in it."""

    def __init__(self, steps: list[Step], exact: bool = False, release: Any = None) -> None:
        self.fps, self.exact, self.damaged = 30.0, exact, 0
        self._steps, self._closed = steps, threading.Event()
        self._release = release or threading.Event()

    def frames(self) -> Iterator[tuple[float | None, NDArray[np.uint8]]]:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, tuple):
                yield step[0], np.zeros((8, step[1], 3), np.uint8)
            elif step == "hang":
                self._closed.wait(20)
            elif step == "deaf":
                self._release.wait(20)
            elif isinstance(step, float):
                self._closed.wait(step)
            if self._closed.is_set() and step != "deaf":
                return

    def close(self) -> None:
        self._closed.set()


def scripted(
    *openings: Callable[[], Script], kind: SourceKind = "camera", live: bool = True
) -> Address:
    """An address whose openings go as scripted; the last one is repeated."""
    left = list(openings)

    def make() -> Script:
        return (left.pop(0) if len(left) > 1 else left[0])()

    return Address(kind, "scripted", live, make)


class Sink:
    """Keeps what came, and lets a test wait for it."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.arrived: list[float] = []
        self.running = self.most = 0
        self._changed = threading.Condition()

    def __call__(self, frame: Frame, arrived_s: float) -> None:
        with self._changed:
            self.frames.append(frame)
            self.arrived.append(arrived_s)
            self._changed.notify_all()

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.frames) >= count, timeout_s)


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Look until something holds; for states that nothing announces."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def reaches(source: LiveSource, state: str, timeout_s: float = 10.0) -> bool:
    """Wait for a state of a source."""
    return until(lambda: source.status().state == state, timeout_s)


def source_threads(stream_id: str) -> list[str]:
    """Names of the threads that a source has now."""
    return [t.name for t in threading.enumerate() if t.name.startswith(f"source-{stream_id}")]
