"""The twin on disk: SQLite in WAL mode, safe against being killed at any moment.

Frames are buffered and written in transactions, one row per frame, so a killed process loses at
most the unflushed tail and never leaves half a frame. A *run* is one unbroken recording of one
source: a new one begins when a store is opened, and when a source's clock goes back.

Not covered: several writers at once (the second one waits 5 s, then gets a :class:`StoreError`).
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from .errors import InputError, SchemaError, StoreError
from .schema import FrameTwin
from .window import DEFAULT_MAX_FRAMES, TwinWindow

__all__ = ["STORE_VERSION", "TwinStore", "migrations"]

_APPLICATION_ID = 1162105943  # marks a SQLite file as an EdgeTwin store
_BUSY_TIMEOUT_S = 5.0
_PAGE_FRAMES = 128  # rows read at a time
_WAL_LIMIT_BYTES = 16 * 2**20  # what a checkpoint leaves of the write-ahead log
_INSERT = (
    "INSERT INTO frames (run, source_id, frame_index, timestamp_s, record) VALUES (?, ?, ?, ?, ?)"
)
_AMEND = (
    "UPDATE frames SET record = ? WHERE seq = (SELECT max(seq) FROM frames WHERE "
    "run = (SELECT run FROM frames WHERE source_id = ? ORDER BY seq DESC LIMIT 1) "
    "AND source_id = ? AND frame_index = ? AND timestamp_s = ?)"
)


def migrations() -> list[tuple[int, str]]:
    """(version, SQL) of every numbered migration that ships with the package, in order."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name[:4]), f.read_text(encoding="utf-8")) for f in files]


STORE_VERSION = 1  # the last migration's number; a test holds the two together


class TwinStore:
    """Frames and answers in one SQLite file, created and migrated when opened.

    ``batch_frames`` frames or ``max_age_s`` seconds, whichever comes first, are written together;
    the buffer never holds more than ``batch_frames``. With ``keep_frames`` only the newest ones
    stay on disk. One object may be used from several threads.

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
        self._lock = threading.RLock()
        self._buffer: list[tuple[int, str, int, float, str]] = []
        self._oldest_at = 0.0
        self._stored = 0
        self._runs: dict[str, tuple[int, float]] = {}  # per source: run and its last time
        self._db: sqlite3.Connection | None = None
        with self._guard("open"):
            self._open()

    @property
    def path(self) -> Path:
        """Where the store lies."""
        return self._path

    @property
    def pending(self) -> int:
        """Frames that wait in the buffer."""
        return len(self._buffer)

    def append(self, frame: FrameTwin) -> None:
        """Take one frame; it is on disk after the next flush.

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
            self._buffer.append(
                (run, frame.source_id, frame.index, frame.timestamp_s, frame.model_dump_json())
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
                    db.executemany(_INSERT, self._buffer)
                    if self._keep_frames is not None:
                        db.execute(
                            "DELETE FROM frames WHERE seq <= (SELECT max(seq) FROM frames) - ?",
                            (self._keep_frames,),
                        )
                self._stored += len(self._buffer)
                self._buffer.clear()

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
                    amended += db.execute(_AMEND, (frame.model_dump_json(), *key)).rowcount
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
        try:
            record = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            record.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SchemaError(f"expected an answer of plain JSON values, got: {error}") from error
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

    def _open(self) -> None:
        if not self._path.parent.is_dir():
            raise StoreError(
                f"expected a folder for the store at {self._path.parent}, got none: create it"
            )
        db = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._db = db
        try:
            self._check_owner(db)
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(
                    f"expected {self._path} on a file system that can hold a write-ahead log, got "
                    f"journal mode {mode}: choose a local disk"
                )
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
            self._migrate()
        except BaseException:
            self._db = None
            db.close()
            raise

    def _check_owner(self, db: sqlite3.Connection) -> None:
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and owner != _APPLICATION_ID:
            raise StoreError(
                f"expected an EdgeTwin store at {self._path}, got another program's database: "
                "choose another path"
            )

    def _migrate(self) -> None:
        version = self._version()
        if version > STORE_VERSION:
            raise StoreError(
                f"expected a store of version {STORE_VERSION} or older at {self._path}, got "
                f"version {version}: install a newer edgetwin"
            )
        for number, sql in migrations():
            if number > version:
                with self._transaction() as db:
                    if self._version() < number:  # another process may have been first
                        for statement in _statements(sql):
                            db.execute(statement)
                        db.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))

    def _version(self) -> int:
        found = self._rows("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'", ())
        rows = self._rows("SELECT max(version) FROM schema_version", ()) if found else []
        return int(rows[0][0] or 0) if rows else 0

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
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself rolls back when the disk is full
                db.execute("ROLLBACK")
            raise

    @contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"expected to {doing} the store {self._path}, got: {error}; {self._stored} frames "
                f"of this session are stored, {len(self._buffer)} wait in memory. {_advice(error)}"
            ) from error


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one, so that they can share a transaction."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _advice(error: Exception) -> str:
    text = str(error)
    if "full" in text or "I/O" in text:
        return "Free space on the disk, then flush() again"
    if "locked" in text:
        return "Close the other program that writes it"
    if "not a database" in text or "malformed" in text:
        return "Choose another path, or restore this file from a copy"
    return "Check the path and its permissions"
