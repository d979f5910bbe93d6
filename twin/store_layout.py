"""The layout of a store: its file opened, its owner checked, its numbered migrations applied.

A new file keeps SQLite's page map (``auto_vacuum = INCREMENTAL``), so that pages can be given back
to the disk without writing the whole file anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from .errors import StoreError

__all__ = ["APPLICATION_ID", "STORE_VERSION", "migrations", "open_database", "transaction"]

APPLICATION_ID = 1162105943  # marks a SQLite file as an EdgeTwin store
STORE_VERSION = 2  # the last migration's number; a test holds the two together


def migrations() -> list[tuple[int, str]]:
    """(version, SQL) of every numbered migration that ships with the package, in order."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name[:4]), f.read_text(encoding="utf-8")) for f in files]


def open_database(path: Path, timeout_s: float, log_bytes: int) -> sqlite3.Connection:
    """Open a store for writing, creating and migrating it.

    ``log_bytes`` is what a checkpoint leaves of the write-ahead log.

    Raises:
        StoreError: if it is no store, a newer one, or cannot have a write-ahead log.
        sqlite3.Error: if the file cannot be opened or written.
    """
    if not path.parent.is_dir():
        raise StoreError(f"expected a folder for the store at {path.parent}, got none: create it")
    db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        if _is_new(db, path):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(
                f"expected {path} on a file system that can hold a write-ahead log, got "
                f"journal mode {mode}: choose a local disk"
            )
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = FAST")  # ON, some builds' default, doubles the log
        db.execute(f"PRAGMA journal_size_limit = {log_bytes}")
        page = int(db.execute("PRAGMA page_size").fetchone()[0])
        db.execute(f"PRAGMA wal_autocheckpoint = {max(16, min(1000, log_bytes // 4 // page))}")
        _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is written within is stored, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself rolls back when the disk is full
            db.execute("ROLLBACK")
        raise


def _is_new(db: sqlite3.Connection, path: Path) -> bool:
    owner = db.execute("PRAGMA application_id").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise StoreError(
            f"expected an EdgeTwin store at {path}, got another program's database: "
            "choose another path"
        )
    return not tables


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db)
    if version > STORE_VERSION:
        raise StoreError(
            f"expected a store of version {STORE_VERSION} or older at {path}, got "
            f"version {version}: install a newer edgetwin"
        )
    for number, sql in migrations():
        if number > version:
            with transaction(db):
                if _version(db) < number:  # another process may have been first
                    for statement in _statements(sql):
                        db.execute(statement)
                    db.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))


def _version(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
    row = db.execute("SELECT max(version) FROM schema_version").fetchone() if found else None
    return int(row[0] or 0) if row else 0


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one, so that they can share a transaction."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
