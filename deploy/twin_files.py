"""A twin on disk as frames: a results folder, ``twin.jsonl`` or ``twin.sqlite``, never written to.

A results folder is read from its ``twin.sqlite``, which also holds what questions refined, and
from ``twin.jsonl`` when the store is empty or damaged. Of a store with several runs the newest is
read. What a writer is still adding comes with :meth:`TwinFile.more`, so that a running
``edgetwin track`` can be asked.

Not covered: ``masks.json``, twins that several sources share, files over the network.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from urllib.parse import quote

from ..twin.errors import InputError, SchemaError, StoreError
from ..twin.jsonl import frame_from_json
from ..twin.schema import FrameTwin

__all__ = [
    "MAX_LINE_BYTES",
    "READ_ERRORS",
    "Line",
    "TwinFile",
    "frame_of",
    "is_twin",
    "lines_of",
    "open_store",
    "twin_kinds",
]

MAX_LINE_BYTES = 64 * 2**20  # a frame of 1000 objects is about 1 MB; a hostile line must end
Kind = Literal["jsonl", "sqlite"]
_NAMES: dict[Kind, str] = {"jsonl": "twin.jsonl", "sqlite": "twin.sqlite"}
_SQLITE = b"SQLite format 3\0"
_PAGE_ROWS = 128
_BUSY_S = 5.0
# What reading a damaged store raises; its own messages may be no text, too.
READ_ERRORS = (sqlite3.Error, UnicodeDecodeError, OverflowError)


class Line(NamedTuple):
    """A line of a file: its number from 1, where the next begins, its text, whether it ended."""

    number: int
    end: int
    text: str
    whole: bool


def twin_kinds(path: Path) -> dict[Kind, Path]:
    """Return the twin's files at ``path``: a results folder may have both, a file is one.

    Empty when ``path`` is nothing like a twin, a video for instance.
    """
    if path.is_dir():
        return {kind: path / name for kind, name in _NAMES.items() if (path / name).is_file()}
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return {}
    if head.startswith(_SQLITE) or path.suffix in (".sqlite", ".sqlite3", ".db"):
        return {"sqlite": path}
    return {"jsonl": path} if path.suffix == ".jsonl" or head.lstrip()[:1] == b"{" else {}


def is_twin(path: Path) -> bool:
    """Whether there is a twin at ``path``, rather than a video, a picture or nothing."""
    return bool(twin_kinds(path))


class TwinFile:
    """One twin on disk, read and never written.

    Attributes:
        path: the file that is read.
        kind: ``"jsonl"`` or ``"sqlite"``.
        run: number of the store's run that is read; 0 for JSON lines.

    Raises:
        InputError: if there is no twin at ``path``.
    """

    def __init__(self, path: Path | str) -> None:
        found = twin_kinds(Path(path))
        if not found:
            what = "nothing there" if not Path(path).exists() else "something else"
            raise InputError(
                f"expected a twin at {path}: a results folder of run or track, a twin.jsonl or a "
                f"twin.sqlite, got {what}: make one with edgetwin track VIDEO -o FOLDER"
            )
        self.kind: Kind = "sqlite" if "sqlite" in found else "jsonl"
        if len(found) == 2 and not _has_frames(found["sqlite"]):
            self.kind = "jsonl"
        self.path = found[self.kind]
        self.run = 0
        self._cursor = 0  # bytes read, or the last row's number
        self._lines = 0

    def frames(self, newest: int | None = None) -> Iterator[FrameTwin]:
        """Yield the frames in order, only the ``newest`` so many if given, from the start again.

        A last line that is cut off, or still being written, is left for :meth:`more`.

        Raises:
            InputError: if the file cannot be read.
            SchemaError: for a frame that breaks the schema, with its line or row.
            StoreError: for a store that is damaged or none of ours.
        """
        self._cursor, self._lines = 0, 0
        if self.kind == "jsonl":
            if newest is not None:
                self._cursor, self._lines = _start_of_newest(self.path, newest)
            yield from self._from_lines()
        else:
            yield from self._from_rows(newest)

    def more(self) -> Iterator[FrameTwin]:
        """Yield the frames that were written since the last read.

        Raises:
            As :meth:`frames`.
        """
        yield from self._from_lines() if self.kind == "jsonl" else self._from_rows(None)

    def _from_lines(self) -> Iterator[FrameTwin]:
        for line in lines_of(self.path, self._cursor, self._lines):
            if not line.whole and len(line.text) < MAX_LINE_BYTES:
                return
            if line.text.strip():
                try:
                    frame = frame_of(line.text)
                except SchemaError as error:
                    raise SchemaError(
                        f"{self.path}, line {line.number}: {error}; "
                        f"edgetwin twin check {self.path} lists every fault"
                    ) from None
                yield frame
            self._cursor, self._lines = line.end, line.number

    def _from_rows(self, newest: int | None) -> Iterator[FrameTwin]:
        with open_store(self.path) as db, _reading(self.path):
            _require_table(db)
            row = db.execute("SELECT run FROM frames ORDER BY seq DESC LIMIT 1").fetchone()
            self.run = row[0] if row else 0
            if newest is not None:
                first = db.execute(
                    "SELECT seq FROM frames WHERE run = ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
                    (self.run, newest),
                ).fetchone()
                self._cursor = first[0] if first else 0
            while rows := db.execute(
                f"SELECT seq, record FROM frames WHERE run = ? AND seq > ? ORDER BY seq LIMIT {_PAGE_ROWS}",
                (self.run, self._cursor),
            ).fetchall():
                for seq, record in rows:
                    if not isinstance(seq, int) or seq <= self._cursor:
                        raise sqlite3.DatabaseError("rows are out of order")
                    try:
                        frame = frame_of(str(record))
                    except SchemaError as error:
                        raise SchemaError(
                            f"{self.path}, row {seq}: {error}; "
                            f"edgetwin twin check {self.path} lists every fault"
                        ) from None
                    yield frame
                    self._cursor = seq


def frame_of(text: str) -> FrameTwin:
    """A frame from JSON text that anyone may have written.

    Raises:
        SchemaError: as :func:`~edgetwin.twin.jsonl.frame_from_json`, and for text that is no
            Unicode, which could never be written again.
    """
    frame = frame_from_json(text)
    if not text.isascii() or "\\u" in text:
        try:
            frame.model_dump_json()
        except ValueError:  # pydantic's error of lone surrogates is one
            raise SchemaError("expected a frame of Unicode text, got other bytes") from None
    return frame


def _has_frames(path: Path) -> bool:
    try:
        with open_store(path) as db, _reading(path):
            _require_table(db)
            return db.execute("SELECT 1 FROM frames LIMIT 1").fetchone() is not None
    except StoreError:
        return False


def _require_table(db: sqlite3.Connection) -> None:
    """A view named ``frames`` in a hostile file could count for ever."""
    sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'frames'"
    if db.execute(sql).fetchone()[0] != 1:
        raise sqlite3.DatabaseError("it has no table frames")


def lines_of(path: Path, start: int = 0, number: int = 0) -> Iterator[Line]:
    """Yield the lines of a file from byte ``start`` on, the first being ``number`` + 1.

    A line longer than 64 MB comes in pieces that are not ``whole``.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            while data := file.readline(MAX_LINE_BYTES):
                number += 1
                text = data.decode("utf-8", errors="surrogateescape")
                yield Line(number, file.tell(), text, data.endswith(b"\n"))
    except OSError as error:
        raise InputError(f"expected a file of frames at {path}, got: {error}") from error


@contextmanager
def open_store(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file for reading alone; nothing beside it is written either.

    Raises:
        StoreError: if it cannot be opened or is no SQLite file.
    """
    with _reading(path):
        written, before = _written(path), path.stat()
        db = _connect(path, written)
    with closing(db):
        yield db
    if not written:
        after = path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise StoreError(
                f"expected the store {path} to lie still, got a writer that began meanwhile: "
                "read it again"
            )


def _written(path: Path) -> bool:
    """Whether a writer has the store open, or was killed: its log lies beside it."""
    return path.with_name(path.name + "-wal").is_file()


def _connect(path: Path, written: bool) -> sqlite3.Connection:
    """A read-only connection; without a writer's log beside it, the file is taken as it lies."""
    how = "mode=ro" if written else "mode=ro&immutable=1"  # mode=ro alone leaves files behind
    name = quote(str(path.absolute()))
    db = sqlite3.connect(f"file:{name}?{how}", uri=True, timeout=_BUSY_S, check_same_thread=False)
    try:
        db.text_factory = _lenient
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LINE_BYTES)
        db.execute("PRAGMA trusted_schema = OFF")  # the file may come from anyone
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _lenient(data: bytes) -> str:
    """Text that may be no UTF-8; what is not becomes a fault of the record, not of the read."""
    return data.decode("utf-8", errors="surrogateescape")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (*READ_ERRORS, OSError) as error:
        raise StoreError(
            f"expected a twin's store at {path}, got: {error}; edgetwin twin check {path} lists "
            "every fault, and twin.jsonl beside it may be whole"
        ) from error


def _start_of_newest(path: Path, newest: int) -> tuple[int, int]:
    """(byte, number of lines before it) at which the newest lines of a file begin."""
    starts: deque[int] = deque([0], maxlen=newest + 1)  # one more: what follows the last end
    lines = 0
    try:
        with path.open("rb") as file:
            for end in _line_ends(file):
                starts.append(end)
                lines += 1
    except OSError as error:
        raise InputError(f"expected a file of frames at {path}, got: {error}") from error
    return starts[0], max(0, lines - newest)


def _line_ends(file: BinaryIO) -> Iterator[int]:
    """Yield where the lines of a file end, without reading it into memory."""
    offset = 0
    while block := file.read(1 << 20):
        place = block.find(b"\n")
        while place >= 0:
            yield offset + place + 1
            place = block.find(b"\n", place + 1)
        offset += len(block)
