"""A tiny hub and streams of twins for tests of standing questions: no pixels, no language."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgetwin.deploy.live.errors import UnknownError
from edgetwin.deploy.live.moments import Moment
from edgetwin.deploy.live.records import Event
from edgetwin.twin import mask as rle
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin, ObjectTwin, State
from edgetwin.twin.window import TwinWindow

SIDE = 100


def thing(
    key: int,
    x: float = 50,
    y: float = 50,
    label: str = "mug",
    *,
    color: str = "red",
    state: State = "visible",
    size: float = 10,
) -> ObjectTwin:
    """A square object around (x, y)."""
    box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[max(int(box[1]), 0) : int(box[3]), max(int(box[0]), 0) : int(box[2])] = True
    return ObjectTwin(
        id=key,
        semantic_label=label,
        attributes={"color": color},
        confidence=0.9,
        state=state,
        mask=rle.encode(mask) if state == "visible" else None,
        box_xyxy=box,
        centroid=(x, y),
        area=int(size * size),
        first_seen=0.0,
        last_seen=0.0,
    )


def twin(at: float, *things: ObjectTwin, vocabulary: tuple[str, ...] | None = None) -> FrameTwin:
    """A frame of 100 x 100 pixels at ten frames a second."""
    return FrameTwin(
        index=round(at * 10),
        timestamp_s=at,
        width=SIDE,
        height=SIDE,
        vocabulary=vocabulary,
        objects={one.id: one for one in things},
    )


class Memory:
    """Keeps events like a stream's memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Event] = {}

    def record_event(self, event: Event) -> bool:
        self.kept[event.id] = event
        return True

    def event(self, event_id: str) -> Event | None:
        return self.kept.get(event_id)

    def events(self, after: str | None = None, limit: int = 100) -> list[Event]:
        return [e for key, e in sorted(self.kept.items()) if after is None or key > after][:limit]


class Stream:
    """Tells moments that a test shows it."""

    def __init__(self, stream_id: str) -> None:
        self.id = stream_id
        self.memory = Memory()
        self.run = 0
        self.listeners: list[Callable[[Moment], None]] = []
        self._moments: list[Moment] = []

    def show(self, frame: FrameTwin) -> None:
        picture = np.full((frame.height, frame.width, 3), 90, np.uint8)
        moment = Moment(
            len(self._moments) + 1,
            Frame(frame.index, frame.timestamp_s, picture),
            frame,
            time.monotonic(),
            time.time(),
            self.run,
        )
        self._moments.append(moment)
        for heard in list(self.listeners):
            heard(moment)

    def latest(self) -> Moment | None:
        return self._moments[-1] if self._moments else None

    def recent_moments(self, seconds: float) -> list[Moment]:
        last = self._moments[-1].twin.timestamp_s if self._moments else 0.0
        return [m for m in self._moments if m.twin.timestamp_s >= last - seconds]

    def window(self) -> TwinWindow:
        return TwinWindow(m.twin for m in self._moments if m.run == self.run)

    def listen(self, heard: Callable[[Moment], None]) -> Callable[[], None]:
        self.listeners.append(heard)
        return lambda: self.listeners.remove(heard) if heard in self.listeners else None


class Hub:
    """Streams, and plans from a table of what is asked."""

    def __init__(self, *names: str) -> None:
        self._streams = {name: Stream(name) for name in names or ("table",)}
        self.plans: dict[str, Any] = {}
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def stream(self, stream_id: str) -> Stream:
        if stream_id not in self._streams:
            raise UnknownError(f"expected a stream, got {stream_id!r}")
        return self._streams[stream_id]

    def streams(self) -> Sequence[Stream]:
        return list(self._streams.values())

    def remove(self, stream_id: str) -> None:
        del self._streams[stream_id]

    def plan(self, stream_id: str, question: str) -> dict[str, Any]:
        self.gate.wait(10)
        self.asked.append(question)
        found = self.plans[question]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, str):
            return {"status": "error", "ids": [], "message": found}
        return {"status": "ok", "plan": found, "transcript": "", "message": ""}


MOVED = [{"tool": "find", "words": ["mug"]}, {"tool": "moved", "ids": "$1"}]
MUG = [{"tool": "find", "words": ["mug"]}]


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something another thread does."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)
