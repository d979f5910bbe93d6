"""The twin on disk: SQLite in WAL mode, safe against being killed at any moment.

Frames are buffered and written in transactions, one row per frame, so a killed process loses at
most the unflushed tail and never leaves half a frame. A *run* is one unbroken recording of one
source: a new one begins when a store is opened, and when a source's clock goes back. What each
frame holds is written with it (:mod:`~edgetwin.twin.store_index`), so that
:mod:`~edgetwin.twin.history` finds objects without reading every record.

Not covered: several writers at once (the second one waits 5 s, then gets a :class:`StoreError`).
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from .errors import InputError, SchemaError, StoreError
from .retention import Retention, give_back, prune, shorten_log
from .schema import FrameTwin
from .store_index import StoredFrame, add_frames, forget, reindex, seen_in
from .store_layout import STORE_VERSION, migrations, open_database, transaction
from .window import DEFAULT_MAX_FRAMES, TwinWindow

__all__ = ["STORE_VERSION", "TwinStore", "migrations"]

_BUSY_TIMEOUT_S = 5.0
_PAGE_FRAMES = 128  # rows read at a time
_WAL_LIMIT_BYTES = 16 * 2**20  # what a checkpoint leaves of the write-ahead log
_EXCESS = "SELECT seq FROM frames WHERE seq <= (SELECT max(seq) FROM frames) - ?"
_FIND = (
    "SELECT max(seq) FROM frames WHERE "
    "run = (SELECT run FROM frames WHERE source_id = ? ORDER BY seq DESC LIMIT 1) "
    "AND source_id = ? AND frame_index = ? AND timestamp_s = ?"
)


class TwinStore:
    """Frames and answers in one SQLite file, created and migrated when opened.

    ``batch_frames`` frames or ``max_age_s`` seconds, whichever comes first, are written together;
    the buffer never holds more than ``batch_frames``. With ``keep_frames`` only the newest ones
    stay on disk; ``retention`` bounds them by age and size. One object may be used from several
    threads.

    Raises:
        InputError: if a bound is not positive.
        StoreError: if the file cannot be opened, is no EdgeTwin store or of a newer version.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        batch_frames: int = 32,
        max_age_s: float = 1.0,
        keep_frames: int | None = None,
        retention: Retention | None = None,
    ) -> None:
        if batch_frames < 1 or not max_age_s > 0 or (keep_frames is not None and keep_frames < 1):
            raise InputError(
                "expected positive batch_frames, max_age_s and keep_frames, got "
                f"{batch_frames}, {max_age_s} and {keep_frames}"
            )
        self._path = Path(path)
        self._batch_frames = batch_frames
        self._max_age_s = max_age_s
        self._keep_frames = keep_frames
        self._retention = retention
        self._lock = threading.RLock()
        self._buffer: list[StoredFrame] = []
        self._oldest_at = 0.0
        self._stored = 0
        self._held: int | None = None  # frames on disk, once counted
        self._runs: dict[str, tuple[int, float]] = {}  # per source: run and its last time
        self._db: sqlite3.Connection | None = None
        log_bytes = _WAL_LIMIT_BYTES if retention is None else retention.log_bytes
        with self._guard("open"):
            self._db = open_database(self._path, _BUSY_TIMEOUT_S, log_bytes)

    @property
    def path(self) -> Path:
        """Where the store lies."""
        return self._path

    @property
    def pending_bytes(self) -> int:
        """Characters of the records that wait in the buffer."""
        with self._lock:
            return sum(len(row.record) for row in self._buffer)

    @property
    def stored(self) -> int:
        """Frames that this object wrote, those deleted since too."""
        return self._stored

    @property
    def held(self) -> int:
        """Frames on disk; counted once, then kept count of."""
        with self._lock:
            if self._held is None:
                self._held = int(self._rows("SELECT count(*) FROM frames", ())[0][0])
            return self._held

    @property
    def pending(self) -> int:
        """Frames that wait in the buffer."""
        return len(self._buffer)

    def append(self, frame: FrameTwin, at: float | None = None) -> None:
        """Take one frame, of wall time ``at`` (None: now); it is on disk after the next flush.

        Raises:
            StoreError: if a due flush fails. The frame stays in the buffer if there was room,
                else it is refused.
        """
        with self._lock:
            self._connection()
            if len(self._buffer) >= self._batch_frames:
                self.flush()  # a failed flush left it full: nothing more is taken until it works
            if not self._buffer:
                self._oldest_at = time.monotonic()
            run = self._run_of(frame)
            record = frame.model_dump_json()
            at = time.time() if at is None else at
            self._buffer.append(
                StoredFrame(
                    run, frame.source_id, frame.index, frame.timestamp_s, record, at, seen_in(frame)
                )
            )
            due = time.monotonic() - self._oldest_at >= self._max_age_s
            if due or len(self._buffer) >= self._batch_frames:
                self.flush()

    def flush(self) -> None:
        """Write all buffered frames in one transaction.

        Raises:
            StoreError: if they cannot be written; they stay in the buffer.
        """
        with self._lock, self._guard("write"):
            if self._buffer:
                with self._transaction() as db:
                    gone = 0
                    if self._retention is not None:  # first, so that its pages are used again
                        gone += prune(db, self._retention, time.time(), self.pending_bytes)
                    add_frames(db, self._buffer)
                    if self._keep_frames is not None:
                        rows = db.execute(_EXCESS, (self._keep_frames,))
                        gone += forget(db, [row[0] for row in rows])
                self._stored += len(self._buffer)
                if self._held is not None:
                    self._held += len(self._buffer) - gone
                self._buffer.clear()
                if self._retention is not None:
                    give_back(db, self._retention)

    def amend(self, frames: Iterable[FrameTwin]) -> int:
        """Replace stored frames by what is known of them now; they keep their place.

        A frame is the one of its source's newest run with its index and time. One that is not
        stored (``keep_frames`` dropped it) is left out.

        Returns:
            How many frames were replaced.

        Raises:
            StoreError: if they cannot be written; none of them is then.
        """
        with self._lock:
            self.flush()
            amended = 0
            with self._guard("write"), self._transaction() as db:
                for frame in frames:
                    key = (frame.source_id, frame.source_id, frame.index, frame.timestamp_s)
                    seq = db.execute(_FIND, key).fetchone()[0]
                    if seq is not None:
                        record = frame.model_dump_json()
                        db.execute("UPDATE frames SET record = ? WHERE seq = ?", (record, seq))
                        reindex(db, seq, frame)
                        amended += 1
            return amended

    def frames(
        self, start_s: float | None = None, end_s: float | None = None, run: int | None = None
    ) -> Iterator[FrameTwin]:
        """Stored and buffered frames in the order of appending, those within the times given.

        Raises:
            StoreError: if the file cannot be read.
            SchemaError: if a stored record is of another schema version.
        """
        self.flush()
        after = 0
        where = "seq > ? AND timestamp_s >= ? AND timestamp_s <= ? AND run = coalesce(?, run)"
        low = float("-inf") if start_s is None else start_s
        high = float("inf") if end_s is None else end_s
        while True:
            rows = self._rows(
                f"SELECT seq, record FROM frames WHERE {where} ORDER BY seq LIMIT {_PAGE_FRAMES}",
                (after, low, high, run),
            )
            for seq, record in rows:
                after = seq
                yield self._frame(seq, record)
            if len(rows) < _PAGE_FRAMES:
                return

    def window(self, max_frames: int = DEFAULT_MAX_FRAMES) -> TwinWindow:
        """The newest frames of the newest run."""
        self.flush()
        rows = self._rows(
            "SELECT seq, record FROM frames "
            "WHERE run = (SELECT run FROM frames ORDER BY seq DESC LIMIT 1) "
            "ORDER BY seq DESC LIMIT ?",
            (max_frames,),
        )
        return TwinWindow((self._frame(seq, record) for seq, record in reversed(rows)), max_frames)

    def runs(self) -> list[int]:
        """Numbers of the stored runs, ascending."""
        self.flush()
        return [row[0] for row in self._rows("SELECT DISTINCT run FROM frames ORDER BY run", ())]

    def record_answer(self, answer: dict[str, Any]) -> None:
        """Write an answer at once, together with all buffered frames.

        Raises:
            SchemaError: if the answer holds what JSON cannot.
            StoreError: if it cannot be written.
        """
        record = _json(answer, "an answer")
        with self._lock:
            self.flush()
            with self._guard("write"), self._transaction() as db:
                db.execute(
                    "INSERT INTO answers (frame_seq, record) "
                    "VALUES ((SELECT max(seq) FROM frames), ?)",
                    (record,),
                )

    def answers(self) -> list[dict[str, Any]]:
        """All recorded answers, oldest first.

        Raises:
            StoreError: if the file cannot be read.
        """
        rows = self._rows("SELECT record FROM answers ORDER BY seq", ())
        return [json.loads(row[0]) for row in rows]

    def record_event(self, event_id: str, at: float, event: dict[str, Any]) -> None:
        """Write an event at once; one of the same id is replaced and keeps its place.

        Raises:
            SchemaError: if the event holds what JSON cannot.
            StoreError: if it cannot be written.
        """
        record = _json(event, "an event")
        with self._lock, self._guard("write"), self._transaction() as db:
            db.execute(
                "INSERT INTO events (id, at, record) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET at = excluded.at, record = excluded.record",
                (event_id, at, record),
            )

    def shorten_log(self) -> bool:
        """Bring the whole write-ahead log into the file; False while a reader needs it."""
        with self._lock, self._guard("write"):
            return shorten_log(self._connection(), _BUSY_TIMEOUT_S)

    def count(self) -> int:
        """How many frames there are, on disk and in the buffer."""
        with self._lock:
            return int(self._rows("SELECT count(*) FROM frames", ())[0][0]) + len(self._buffer)

    def close(self) -> None:
        """Flush and close; closing twice does nothing.

        Raises:
            StoreError: if the last frames cannot be written; the file is closed all the same.
        """
        with self._lock:
            if self._db is None:
                return
            try:
                self.flush()
            finally:
                db, self._db = self._db, None
                with self._guard("close"):
                    db.close()

    def __enter__(self) -> TwinStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except StoreError:
            if error is None:
                raise

    # -- inside ---------------------------------------------------------------------------

    def _run_of(self, frame: FrameTwin) -> int:
        run, last_s = self._runs.get(frame.source_id, (0, 0.0))
        if run == 0 or frame.timestamp_s < last_s:
            stored = self._rows("SELECT coalesce(max(run), 0) FROM frames", ())[0][0]
            run = 1 + max([stored, *(r for r, _ in self._runs.values())])
        self._runs[frame.source_id] = (run, frame.timestamp_s)
        return run

    def _frame(self, seq: int, record: str) -> FrameTwin:
        try:
            return FrameTwin.model_validate_json(record)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise SchemaError(
                f"expected a frame of this schema version in {self._path}, got row {seq} with "
                f"{problem['loc']}: {problem['msg']}"
            ) from None

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, self._guard("read"):
            return self._connection().execute(sql, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(f"expected an open store, got {self._path} after close()")
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with transaction(self._connection()) as db:
            yield db

    @contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"expected to {doing} the store {self._path}, got: {error}; {self._stored} frames "
                f"of this session are stored, {len(self._buffer)} wait in memory. {_advice(error)}"
            ) from error


def _json(value: dict[str, Any], what: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(f"expected {what} of plain JSON values, got: {error}") from error
    return text


def _advice(error: Exception) -> str:
    text = str(error)
    if "full" in text or "I/O" in text:
        return "Free space on the disk, then flush() again"
    if "locked" in text:
        return "Close the other program that writes it"
    if "not a database" in text or "malformed" in text:
        return "Choose another path, or restore this file from a copy"
    return "Check the path and its permissions"
