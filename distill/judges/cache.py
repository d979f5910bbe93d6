"""Scores on disk: what was judged once is not asked again, and what was spent is remembered.

One SQLite file (WAL, so that the processes of a run can share it), opened for each use, so that
nothing is held over a fork. A key is the hash of everything that the score depends on: the
model, the rubric with its version, the message and the temperature. The reply stays with it, for
whoever wants to read what the judge said.

Not covered: replies of failures and those without a score; they are asked again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ...twin.errors import StoreError
from .limits import Spending

__all__ = ["Entry", "ScoreCache", "key_of"]

_VERSION = 1
_MAX_ROWS = 2_000_000  # about 1 GB of replies; the oldest go first
_MAX_REPLY = 2_000  # characters of a reply that are kept
_CHUNK = 500  # keys of one query; SQLite takes 999
_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    key TEXT PRIMARY KEY, score REAL NOT NULL, reply TEXT NOT NULL, model TEXT NOT NULL,
    rubric TEXT NOT NULL, rubric_sha256 TEXT NOT NULL, temperature REAL NOT NULL,
    made_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS spent (one INTEGER PRIMARY KEY CHECK (one = 1),
    requests INTEGER NOT NULL, tokens INTEGER NOT NULL);
INSERT OR IGNORE INTO spent VALUES (1, 0, 0);
"""
Entry = tuple[str, float, str]  # key, score, reply


def key_of(**parts: Any) -> str:
    """Hash of everything that a score depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class ScoreCache:
    """Scores and spending in one file.

    Args:
        path: the SQLite file; made if it is not there.
        model: the judge's name.
        rubric: version and hash of the rubric.
        temperature: that it judges with.
        max_rows: scores kept; the oldest go first.

    Raises:
        StoreError: if the file is no cache of this version, or cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        model: str,
        rubric: tuple[str, str],
        temperature: float,
        max_rows: int = _MAX_ROWS,
    ) -> None:
        self.path = path
        self._about = (model, *rubric, temperature)
        self._max_rows = max_rows
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"expected a folder for {path}, got: {error}") from error
        with self._open() as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise StoreError(
                    f"expected a judge's cache of version {_VERSION} in {path}, got {found}: "
                    "use another file"
                )
            db.executescript(f"PRAGMA journal_mode=WAL;{_SCHEMA}PRAGMA user_version={_VERSION};")

    def get(self, keys: Sequence[str]) -> dict[str, float]:
        """The known scores of some keys."""
        known: dict[str, float] = {}
        with self._open() as db:
            for start in range(0, len(keys), _CHUNK):
                part = list(keys[start : start + _CHUNK])
                marks = ",".join("?" * len(part))
                rows = db.execute(f"SELECT key, score FROM scores WHERE key IN ({marks})", part)
                known |= {key: float(score) for key, score in rows if 0.0 <= score <= 1.0}
        return known

    def put(self, entries: Sequence[Entry], spent: Spending) -> None:
        """Keep scores, and add what they cost."""
        with self._open() as db:
            db.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(key, s, reply[:_MAX_REPLY], *self._about, time.time()) for key, s, reply in entries],
            )  # fmt: skip
            db.execute(
                "UPDATE spent SET requests = requests + ?, tokens = tokens + ?",
                (spent.requests, spent.tokens),
            )
            db.execute(
                "DELETE FROM scores WHERE rowid <= (SELECT MAX(rowid) - ? FROM scores)",
                (self._max_rows,),
            )

    def spent(self) -> Spending:
        """What every run with this file has spent."""
        with self._open() as db:
            requests, tokens = db.execute("SELECT requests, tokens FROM spent").fetchone()
        return Spending(int(requests), int(tokens))

    def entries(self) -> list[dict[str, Any]]:
        """Every row, oldest first, for reading what was judged."""
        with self._open() as db:
            rows = db.execute("SELECT * FROM scores ORDER BY rowid")
            names = [each[0] for each in rows.description]
            return [dict(zip(names, row, strict=True)) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30.0)) as db, db:
                yield db
        except (sqlite3.Error, TypeError) as error:
            raise StoreError(
                f"expected a judge's cache in {self.path}, got: {error}; delete the file if it is "
                "damaged, or use another"
            ) from error
