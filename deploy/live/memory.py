"""What a stream remembers on disk: frames, answers and events, in one SQLite file per stream.

Perception hands a frame over and goes on; a thread of this room's writes what waits, four times a
second, so that a killed process loses a quarter of a second and a slow disk delays no frame. What
could not be stored is counted by reason and said in :meth:`StreamMemory.warnings`::

    appended == stored + waiting + sum(unstored.values())

Not covered: several processes that write one file; frames taken but not yet written are not seen
by the readers here (:meth:`StreamMemory.sync` waits for them).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...twin import history
from ...twin.errors import StoreError
from ...twin.jsonl import frame_from_json
from ...twin.retention import Retention, log_bytes
from ...twin.schema import FrameTwin
from ...twin.store import TwinStore
from ..twin_files import open_store
from .records import Event

__all__ = ["MemoryStatus", "Retention", "StreamMemory"]

_FLUSH_S = 0.25
_QUEUE_FRAMES = 256  # 8 s at 30 frames/s: what a disk may hang without a loss; about 2 MB
_BATCH_FRAMES = 64  # written in one transaction; what the store keeps when it fails
_RETRY_S = 1.0  # between two tries on a disk that fails
_CLOSE_S = 10.0  # a disk that hangs longer when a stream ends is left behind


@dataclass(frozen=True)
class MemoryStatus:
    """What became of the frames since the memory was opened, and what lies on disk.

    ``unstored`` is by reason: ``disk`` (it was full, failed or too slow for too long), ``log``
    (a reader of another program kept the write-ahead log from being emptied), ``record`` (a frame
    that cannot be written as JSON), ``answer`` and ``event`` (those that failed, not frames).
    """

    appended: int
    stored: int
    waiting: int
    unstored: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    bytes: int = 0
    error: str = ""


class StreamMemory:
    """The store of one stream, with its own writing thread; every method may be called from any.

    Args:
        path: the SQLite file; its folder is made.
        retention: how long and how large.

    Raises:
        StoreError: if it cannot be opened.
        OSError: if its folder cannot be made.
    """

    def __init__(self, path: Path, retention: Retention | None = None) -> None:
        self._path = path
        self._retention = retention or Retention()
        path.parent.mkdir(parents=True, exist_ok=True)
        # It never flushes by itself: the thread below does, and knows what became of each frame.
        self._store = TwinStore(
            path, batch_frames=_BATCH_FRAMES + 1, max_age_s=1e9, retention=self._retention
        )
        self._queue: deque[tuple[FrameTwin, float]] = deque()  # at most _QUEUE_FRAMES
        self._changed = threading.Condition()
        self._appended = 0
        self._unstored: Counter[str] = Counter()
        self._error = ""
        self._reason = "disk"
        self._hurry = False
        self._stopping = False
        self._held = (self._store.held, 0)
        self._thread = threading.Thread(
            target=self._run, name=f"edgetwin-memory-{path.parent.name}", daemon=True
        )
        self._thread.start()

    @property
    def path(self) -> Path:
        """Where the store lies."""
        return self._path

    # -- writing --------------------------------------------------------------------------

    def append(self, twin: FrameTwin, at: float) -> bool:
        """Take a frame of wall time ``at``; False if it is dropped, which is counted.

        It never waits for the disk and never raises.
        """
        with self._changed:
            self._appended += 1
            if self._stopping or len(self._queue) >= _QUEUE_FRAMES:
                self._unstored[self._reason] += 1
                return False
            self._queue.append((twin, at))
            if len(self._queue) == _BATCH_FRAMES:
                self._changed.notify_all()
            return True

    def record_answer(self, answer: dict[str, Any]) -> bool:
        """Store an answer now, after the frames before it; False if it could not be (counted).

        Raises:
            SchemaError: if it holds what JSON cannot.
        """
        if not self._error:  # a disk that fails is not waited for
            self.sync(1.0)
        return self._write("answer", lambda: self._store.record_answer(answer))

    def record_event(self, event: Event) -> bool:
        """Store an event now, in place of one of its id; False if it could not be (counted)."""
        record = event.model_dump(mode="json")
        return self._write("event", lambda: self._store.record_event(event.id, event.at, record))

    def sync(self, timeout_s: float = 5.0) -> bool:
        """Wait until all that was appended is on disk, or False."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._waiting():
                self._hurry = True
                self._changed.notify_all()
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._changed.wait(min(left, _FLUSH_S))
        return True

    def close(self) -> None:
        """Write what waits and close the file; frames that it does not take are counted.

        Closing twice does nothing. What is stored can be read afterwards, too.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    # -- reading --------------------------------------------------------------------------

    def frames(
        self, *, start_at: float | None = None, end_at: float | None = None, limit: int = 1000
    ) -> list[tuple[float, FrameTwin]]:
        """(at, frame), oldest first: the oldest from ``start_at`` on, without it the newest.

        Raises:
            StoreError, SchemaError, InputError: as :func:`~edgetwin.twin.history.object_rows`.
        """
        with open_store(self._path) as db:
            rows = history.frames_between(db, start_at, end_at, limit)
        return [(at, frame_from_json(record)) for at, record in rows]

    def history(
        self,
        *,
        start_at: float | None = None,
        end_at: float | None = None,
        label: str | None = None,
        object_id: int | None = None,
        run: int | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """One row per object and frame; see :func:`~edgetwin.twin.history.object_rows`."""
        with open_store(self._path) as db:
            return history.object_rows(
                db,
                start_at=start_at,
                end_at=end_at,
                label=label,
                object_id=object_id,
                run=run,
                limit=limit,
            )

    def objects(self, limit: int = 1000) -> list[dict[str, Any]]:
        """First and last sight per object; see :func:`~edgetwin.twin.history.object_lives`."""
        with open_store(self._path) as db:
            return history.object_lives(db, limit)

    def answers(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest answers, oldest first."""
        with open_store(self._path) as db:
            return history.newest_answers(db, limit)

    def events(self, after: str | None = None, limit: int = 100) -> list[Event]:
        """Events after the one of id ``after``, oldest first; None: the newest ones."""
        with open_store(self._path) as db:
            return [Event.model_validate(row) for row in history.events_after(db, after, limit)]

    def event(self, event_id: str) -> Event | None:
        """Return the event of an id, None if there is none."""
        with open_store(self._path) as db:
            found = history.event_of(db, event_id)
        return None if found is None else Event.model_validate(found)

    def counts(self) -> tuple[int, int]:
        """(frames on disk, bytes of the file and its log); cheap, a quarter of a second old."""
        return self._held[0], self._bytes()

    def status(self) -> MemoryStatus:
        """What became of the frames."""
        size = self._bytes()  # not under the lock that append() takes: a disk may hang
        with self._changed:
            return MemoryStatus(
                appended=self._appended,
                stored=self._held[1],
                waiting=self._waiting(),
                unstored=dict(self._unstored),
                frames=self._held[0],
                bytes=size,
                error=self._error,
            )

    def warnings(self) -> list[str]:
        """What is to be told, one line each: a disk that fails, and what it cost."""
        status = self.status()
        told = [f"not recording: {status.error}"] if status.error else []
        if status.unstored:
            lost = ", ".join(f"{n} by {reason}" for reason, n in sorted(status.unstored.items()))
            told.append(f"not stored since the start: {lost}")
        return told

    # -- inside ---------------------------------------------------------------------------

    def _waiting(self) -> int:
        lost = sum(n for reason, n in self._unstored.items() if reason not in ("answer", "event"))
        return self._appended - self._held[1] - lost

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._due, _FLUSH_S)
                    stopping, self._hurry = self._stopping, False
                written = self._drain()
                if stopping:
                    return
                if not written:
                    with self._changed:
                        self._changed.wait_for(lambda: self._stopping, _RETRY_S)
        finally:
            with self._changed:
                self._stopping = True
                if lost := self._waiting():
                    self._unstored[self._reason] += lost
                self._queue.clear()
                self._changed.notify_all()
            try:
                self._store.close()
            except StoreError as error:
                self._failed("disk", error)

    def _due(self) -> bool:
        return self._stopping or self._hurry or len(self._queue) >= _BATCH_FRAMES

    def _drain(self) -> bool:
        """Write all that waits; False when the disk did not take it, which keeps it waiting."""
        try:
            while self._queue or self._store.pending:
                self._fill()
                if not self._log_fits():
                    return False
                self._store.flush()
                self._note()
        except StoreError as error:
            self._failed("disk", error)
            return False
        return True

    def _fill(self) -> None:
        """Move frames to the store's buffer; only this thread takes from the queue."""
        most = self._retention.log_bytes // 4  # one write fits into the log
        while self._queue and self._store.pending < _BATCH_FRAMES:
            if self._store.pending_bytes > most:
                return
            try:
                self._store.append(*self._queue[0])
            except ValueError:  # pydantic's, for text that is no Unicode
                with self._changed:
                    self._unstored["record"] += 1
            with self._changed:
                self._queue.popleft()

    def _log_fits(self) -> bool:
        if log_bytes(self._path) <= self._retention.log_bytes // 2 or self._store.shorten_log():
            return True
        self._failed(
            "log",
            StoreError(
                f"expected the log of {self._path} to be emptied, got a reader that holds it: "
                "close the program that reads the store"
            ),
        )
        return False

    def _write(self, reason: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except StoreError as error:
            with self._changed:
                self._unstored[reason] += 1
                self._error = str(error)
            return False
        self._note()
        return True

    def _note(self) -> None:
        held = (self._store.held, self._store.stored)  # waits for another thread's write
        with self._changed:
            self._held = max(self._held, held, key=lambda pair: pair[1])  # not an older one
            self._error, self._reason = "", "disk"
            self._changed.notify_all()

    def _failed(self, reason: str, error: StoreError) -> None:
        with self._changed:
            self._error, self._reason = str(error), reason

    def _bytes(self) -> int:
        try:
            return self._path.stat().st_size + log_bytes(self._path)
        except FileNotFoundError:
            return 0
