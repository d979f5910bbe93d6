"""Pictures and clips of events: a tape of the last seconds, and a thread that writes.

A :class:`Tape` keeps small pictures of a stream (JPEG, at most 640 pixels), so that a clip of the
seconds before an event costs a few megabytes a stream whatever its size; a :class:`Scribe` draws
and encodes in a thread of its own; a :class:`Shelf` keeps their folder bounded.

Not covered: sound; the stream's full resolution and rate (a clip has about ten pictures a second).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import EdgeTwinError, OutputError
from ...twin.schema import FrameTwin
from ..stream.draw import Canvas, Caption
from ..stream.sinks import OverlaySink, writing

__all__ = ["Scribe", "Shelf", "Tape", "Taped", "write_clip", "write_picture"]

_LONG_SIDE = 640  # of a tape's pictures: a 640 x 360 JPEG has about 40 kB
_QUALITY = 85
_LAST_JOB_S = 1.5  # what a clip takes on a small board
_log = logging.getLogger(__name__)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Taped:
    """One moment on a tape: the picture as JPEG, possibly smaller than its twin says."""

    jpeg: bytes
    twin: FrameTwin

    def picture(self) -> Image:
        """The picture, (H, W, 3) RGB."""
        found = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert found is not None  # it was written here
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), dtype=np.uint8)


class Tape:
    """The last ``seconds`` of a stream, at most ``most`` pictures; safe from any thread.

    :meth:`follow` keeps a span that is not over yet, however fast the stream goes on.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._followed: dict[int, tuple[float, list[Taped]]] = {}  # by who made clips: bounded
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._taped: deque[Taped] = deque(maxlen=most)

    def add(self, image_hw3: Image, twin: FrameTwin) -> None:
        """Take a picture with its twin."""
        height, width = image_hw3.shape[:2]
        scale = min(1.0, _LONG_SIDE / max(height, width))
        if scale < 1.0:
            size = max(2, round(width * scale)), max(2, round(height * scale))
            image_hw3 = np.asarray(
                cv2.resize(image_hw3, size, interpolation=cv2.INTER_AREA), dtype=np.uint8
            )
        taped = Taped(_jpeg(image_hw3), twin)
        with self._lock:
            if self._taped and twin.timestamp_s < self._taped[-1].twin.timestamp_s:
                self._taped.clear()
                self._followed.clear()  # their spans end here; who waits for them has the lists
            for end_s, span in self._followed.values():
                if twin.timestamp_s <= end_s and len(span) < self._most:
                    span.append(taped)
            self._taped.append(taped)
            while self._taped[0].twin.timestamp_s < twin.timestamp_s - self._seconds:
                self._taped.popleft()

    def between(self, start_s: float, end_s: float) -> list[Taped]:
        """What was taken in a span of the stream's seconds, oldest first."""
        with self._lock:
            return [t for t in self._taped if start_s <= t.twin.timestamp_s <= end_s]

    def follow(self, start_s: float, end_s: float) -> Callable[[], list[Taped]]:
        """Keep a span of the stream's seconds; what is returned ends that and gives the span."""
        with self._lock:
            number = next(self._numbers)
            span = [t for t in self._taped if start_s <= t.twin.timestamp_s <= end_s]
            self._followed[number] = (end_s, span)

        def give() -> list[Taped]:
            with self._lock:
                self._followed.pop(number, None)
            return span

        return give

    def __len__(self) -> int:
        return len(self._taped)


def _jpeg(image_hw3: Image) -> bytes:
    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image_hw3, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not ok:
        raise OutputError(f"expected a picture that JPEG can hold, got shape {image_hw3.shape}")
    return data.tobytes()


def _canvas(taped: Taped, caption: Caption) -> Canvas:
    height, width = taped.picture().shape[:2]
    return Canvas(width, height, [caption])


def write_picture(path: Path, taped: Taped, caption: Caption) -> None:
    """Write the moment as a JPEG with the event's objects drawn on it.

    Raises:
        OutputError: if it cannot be written.
    """
    drawn = _canvas(taped, caption).draw(taped.picture(), taped.twin)
    beside = path.with_name(path.name + ".part")
    with writing(path):
        beside.write_bytes(_jpeg(drawn))
        beside.replace(path)


def write_clip(path: Path, taped: Sequence[Taped], caption: Caption) -> None:
    """Write the moments as an H.264 MP4 that begins at 0 s, the event's objects drawn.

    Raises:
        OutputError: if there is no moment, or it cannot be written.
    """
    if not taped:
        raise OutputError(f"expected pictures for {path.name}, got none: they are gone already")
    beside = path.with_name(f".{path.name}")
    start_s = taped[0].twin.timestamp_s
    span_s = taped[-1].twin.timestamp_s - start_s
    fps = min(max((len(taped) - 1) / span_s, 1.0), 60.0) if span_s > 0 else 10.0
    sink = OverlaySink(beside, _canvas(taped[0], caption), fps)
    try:
        for one in taped:
            # A clip's own clock: the twin is drawn, not written.
            twin = one.twin.model_copy(update={"timestamp_s": one.twin.timestamp_s - start_s})
            sink.write(one.picture(), twin)
    finally:
        sink.close()
    with writing(path):
        beside.replace(path)


class Shelf:
    """The folder of events' files; the oldest are removed beyond a number and bytes.

    Args:
        folder: made when the first file is written.
        max_files, max_bytes: what may lie there.
    """

    def __init__(self, folder: Path, max_files: int = 1000, max_bytes: int = 512 * 2**20) -> None:
        self.folder = folder
        self._max_files, self._max_bytes = max_files, max_bytes
        self.removed = 0

    def path(self, name: str) -> Path:
        """Where a file of that name is, or will be."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def tidy(self) -> None:
        """Remove the oldest files until the rest is within the bounds; what others put there stays."""
        files: list[tuple[float, int, Path]] = []
        with writing(self.folder):
            for entry in os.scandir(self.folder):
                own = entry.name.endswith((".mp4", ".jpg", ".part"))
                if entry.is_file(follow_symlinks=False) and own:
                    stat = entry.stat(follow_symlinks=False)
                    files.append((stat.st_mtime, stat.st_size, Path(entry.path)))
            files.sort()
            total = sum(size for _, size, _ in files)
            while files and (len(files) > self._max_files or total > self._max_bytes):
                _, size, path = files.pop(0)
                path.unlink(missing_ok=True)
                total -= size
                self.removed += 1


class Scribe:
    """A thread that does small jobs at their time, at most ``most`` waiting.

    Attributes:
        dropped: jobs that found no room.
        failed: jobs that raised, such as on a full disk.
        error: the newest failure's message.
    """

    def __init__(self, most: int = 64, name: str = "edgetwin-scribe") -> None:
        self._most, self._name = most, name
        self._wake = threading.Condition()
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._until = math.inf  # when closing: no job begins after it
        self.dropped = 0
        self.failed = 0
        self.error = ""

    def put(self, job: Callable[[], None], due_s: float = 0.0) -> bool:
        """Do a job at ``due_s`` (monotonic clock) or later; False if there is no room."""
        with self._wake:
            if self._closing or len(self._jobs) >= self._most:
                self.dropped += 1
                return False
            heapq.heappush(self._jobs, (due_s, next(self._order), job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._wake.notify_all()
            return True

    def close(self, timeout_s: float = 5.0, *, drop: bool = True) -> bool:
        """Do what waits, at once, and end; False if the thread did not end in time.

        What would take longer is dropped (counted); with ``drop`` False it is done all the same.
        """
        with self._wake:
            self._closing = True
            if drop:  # the job at work gets the last of the time
                self._until = time.monotonic() + max(timeout_s - _LAST_JOB_S, 0.0)
            self._wake.notify_all()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except EdgeTwinError as error:
                self._tell(str(error))
            except Exception as error:  # encoders raise what they like; the thread goes on
                _log.exception("an event's file could not be written")
                self._tell(f"{type(error).__name__}: {error}")

    def _tell(self, message: str) -> None:
        self.failed += 1
        self.error = message[:400]

    def _next(self) -> Callable[[], None] | None:
        with self._wake:
            while True:
                if self._jobs and time.monotonic() >= self._until:
                    self.dropped += len(self._jobs)
                    self._jobs.clear()
                if self._jobs:
                    wait_s = self._jobs[0][0] - time.monotonic()
                    if wait_s <= 0 or self._closing:
                        return heapq.heappop(self._jobs)[2]
                    self._wake.wait(wait_s)
                elif self._closing:
                    return None
                else:
                    self._wake.wait()
