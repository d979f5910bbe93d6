"""How long and how large a store may be, kept in small steps with every write.

Size is bounded by page reuse: before the file would outgrow its bound, the oldest frames are
deleted and their pages written anew; the write-ahead log is bounded by its checkpoints. A file
that is larger than its bound (which was lowered) is cut by SQLite's incremental vacuum. What is
too old is deleted by the wall time of each frame, so a clock that was wrong for a while costs only
the frames that it dated wrongly.

Not covered: frames without a wall time (of stores of version 1) never get too old; they are the
first to go for size. A reader of another program that keeps one transaction open for long keeps
the log from being checkpointed; it then grows until the reader is done: :func:`log_bytes`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .store_index import forget

__all__ = ["MIN_BYTES", "Retention", "give_back", "log_bytes", "prune", "shorten_log", "used_bytes"]

MIN_BYTES = 4 * 2**20  # below it, the log of one write alone would take too large a part
_LOG_MOST = 64 * 2**20  # a reader that takes a minute is waited for
_OVERHEAD = 1.3  # bytes of file per byte of record: index and half-filled pages
_STEP_FRAMES = 256  # deleted at most per write: 8 times what a write adds, so that it catches up
_STEP_PAGES = 512  # given back to the disk at most per write (2 MB)
_STEP_ROWS = 100  # of events and answers, looked at or deleted per write
_DATED = {
    "events": "at < ?",
    "answers": "created_at < strftime('%Y-%m-%dT%H:%M:%fZ', ?, 'unixepoch')",
}


@dataclass(frozen=True)
class Retention:
    """What is kept: the newest frames, as far as both bounds allow; None: no bound.

    Attributes:
        max_age_s: seconds of wall time; events and answers follow it, too.
        max_bytes: of the file and its write-ahead log together, at least 4 MiB.
        max_rows: of events, and of answers.

    Raises:
        InputError: if a bound is not positive or below its least.
    """

    max_age_s: float | None = 24 * 3600.0
    max_bytes: int | None = 2 * 2**30
    max_rows: int = 10_000

    def __post_init__(self) -> None:
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise InputError(f"expected a max_age_s above 0, got {self.max_age_s}")
        if self.max_bytes is not None and self.max_bytes < MIN_BYTES:
            raise InputError(f"expected max_bytes of at least {MIN_BYTES}, got {self.max_bytes}")
        if self.max_rows < 1:
            raise InputError(f"expected max_rows of at least 1, got {self.max_rows}")

    @property
    def log_bytes(self) -> int:
        """What of ``max_bytes`` the write-ahead log may take."""
        return _LOG_MOST if self.max_bytes is None else min(_LOG_MOST, self.max_bytes // 4)

    @property
    def file_bytes(self) -> int:
        """What of ``max_bytes`` the file itself may take; without a bound, all there is."""
        return 2**62 if self.max_bytes is None else self.max_bytes - self.log_bytes


def log_bytes(path: Path) -> int:
    """Bytes of the write-ahead log beside a store, 0 without one."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of a store's pages that hold something; free ones are written next."""
    return (_number(db, "page_count") - _number(db, "freelist_count")) * _number(db, "page_size")


def prune(db: sqlite3.Connection, retention: Retention, now: float, adding: int = 0) -> int:
    """Delete, within the caller's transaction, what is too old or too much; return the frames.

    ``adding`` is what the caller adds then, in bytes of records. One call deletes a few hundred
    frames at most, so that no write waits for long.
    """
    gone = 0
    if retention.max_age_s is not None:
        oldest = now - retention.max_age_s
        sql = "SELECT seq FROM frames WHERE at < ? ORDER BY at LIMIT ?"
        gone += forget(db, [row[0] for row in db.execute(sql, (oldest, _STEP_FRAMES))])
        for table, dated in _DATED.items():
            db.execute(
                f"DELETE FROM {table} WHERE seq IN "
                f"(SELECT seq FROM {table} ORDER BY seq LIMIT {_STEP_ROWS}) AND {dated}",
                (oldest,),
            )
    for table in _DATED:
        db.execute(
            f"DELETE FROM {table} WHERE seq <= (SELECT max(seq) FROM {table}) - ?",
            (retention.max_rows,),
        )
    if retention.max_bytes is not None:
        gone += _shrink(db, retention.file_bytes - int(adding * _OVERHEAD))
    return gone


def _shrink(db: sqlite3.Connection, most: int) -> int:
    gone = 0
    while gone < _STEP_FRAMES and (excess := used_bytes(db) - most) > 0:
        frames = db.execute("SELECT min(seq), max(seq) FROM frames").fetchone()
        if frames[0] is None:
            _shrink_rows(db)
            return gone
        each = used_bytes(db) / (frames[1] - frames[0] + 1)
        count = min(_STEP_FRAMES - gone, 1 + int(excess / each))
        sql = "SELECT seq FROM frames ORDER BY seq LIMIT ?"
        gone += forget(db, [row[0] for row in db.execute(sql, (count,)).fetchall()])
    return gone


def _shrink_rows(db: sqlite3.Connection) -> None:
    """Events and answers alone are too much: the oldest go."""
    for table in _DATED:
        db.execute(
            f"DELETE FROM {table} WHERE seq IN "
            f"(SELECT seq FROM {table} ORDER BY seq LIMIT {_STEP_ROWS})"
        )


def give_back(db: sqlite3.Connection, retention: Retention) -> None:
    """Cut a file that is larger than its bound, a few pages at a time; not in a transaction."""
    if retention.max_bytes is None:
        return
    pages = _number(db, "page_count")
    most = retention.file_bytes // _number(db, "page_size")
    free = _number(db, "freelist_count")
    if pages <= most or not free:
        return
    if _number(db, "auto_vacuum") == 2:
        # Not execute(): it steps once, and every step gives back one page.
        db.executescript(f"PRAGMA incremental_vacuum({min(free, pages - most, _STEP_PAGES)})")
    elif free > pages // 2:  # a store of version 1 has no page map: written anew, once
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("VACUUM")


def shorten_log(db: sqlite3.Connection, timeout_s: float) -> bool:
    """Empty the write-ahead log at once; False while a reader needs it. ``timeout_s`` is kept."""
    db.execute("PRAGMA busy_timeout = 50")  # a long reader is not waited for
    try:
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        db.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")
    return not busy


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
