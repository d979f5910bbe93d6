"""Is a twin whole? Every record against the schema, time, masks and ids, and the files together.

Nothing is written and nothing in a file is believed: lines and rows are bounded, a store's tables
must be tables, and whatever is wrong becomes a :class:`Fault` with its line or row and what to do.

Not covered: whether what was seen is right; ``masks.json``, pictures and overlays.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from ..twin import mask as rle
from ..twin.errors import EdgeTwinError, InputError, SchemaError, StoreError
from ..twin.schema import FrameTwin, ObjectTwin
from ..twin.store import STORE_VERSION
from .twin_files import (
    MAX_LINE_BYTES,
    READ_ERRORS,
    TwinFile,
    frame_of,
    lines_of,
    open_store,
    twin_kinds,
)

__all__ = ["APPLICATION_ID", "MAX_FAULTS", "Checked", "Fault", "check_twin"]

APPLICATION_ID = 1162105943  # what migration 0001 marks a store with
MAX_FAULTS = 1000  # kept per file; beyond it they are counted
MAX_IDS = 100_000  # whose first sight is remembered: an endless stream has endless ids
_CLOCK_S = 1e-3
_BOX_PX = 1.0
_PAGE_ROWS = 64
_TOLD_DIFFERENCES = 5

# Read in the statement that reads the frame: a writer may be at work.
_SEEN = (
    "(SELECT coalesce(group_concat(held, char(10)), '') FROM (SELECT object_id || ' ' || label "
    "AS held FROM object_seen JOIN labels ON labels.id = label_id "
    "WHERE object_seen.seq = frames.seq ORDER BY object_id))"
)
_RECORD = "write it again with edgetwin track, or leave this frame out"
_NEWER = "read it with the edgetwin that wrote it, or install a newer one"
_CLOCK = "begin a new file where a stream begins anew"
_MASK = "perceive this frame again; its mask must not be used"
_IDS = "start a new twin: one id must be one object"
_STORE = "restore it from a copy, or use twin.jsonl beside it"


class Fault(NamedTuple):
    """One thing that is wrong: in which file, where in it, what, and what to do."""

    file: str
    place: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.what}: {self.advice}"


@dataclass
class Checked:
    """What one file, or the files of one folder together, turned out to be.

    Attributes:
        file: what was checked.
        frames: how many records were whole.
        faults: the first thousand.
        count: how many there are.
    """

    file: str
    frames: int = 0
    faults: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, place: str, what: str, advice: str) -> None:
        """Note one fault."""
        self.count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(self.file, place, what, advice))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**vars(self), "faults": [fault._asdict() for fault in self.faults]}


def check_twin(path: Path | str) -> list[Checked]:
    """Check every file of a twin, and whether JSON lines and store agree.

    Raises:
        InputError: if there is no twin at ``path``, or a file cannot be read at all.
    """
    kinds = twin_kinds(Path(path))
    if not kinds:
        TwinFile(path)  # says what was expected
    found = [
        _check_lines(file) if kind == "jsonl" else _check_store(file)
        for kind, file in kinds.items()
    ]
    if len(found) == 2 and not any(checked.count for checked in found):
        found.append(_check_agreement(Path(path), kinds["jsonl"], kinds["sqlite"]))
    return found


# ---- files


def _check_lines(path: Path) -> Checked:
    checked = Checked(str(path))
    frames = _Frames(checked)
    for line in lines_of(path):
        place = f"line {line.number}"
        if not line.text.strip():
            continue
        try:
            frame = frame_of(line.text)
        except SchemaError as error:
            if not line.whole and len(line.text) < MAX_LINE_BYTES:
                checked.add(
                    place,
                    "the last line is cut off, by a writer that was killed or still writes",
                    "edgetwin twin export --format jsonl writes the whole frames anew",
                )
            else:
                checked.add(place, str(error), _advice(str(error)))
            continue
        checked.frames += 1
        frames.take(place, frame)
    return checked


def _check_store(path: Path) -> Checked:
    checked = Checked(str(path))
    try:
        with open_store(path) as db:
            _check_pages(db, checked)
            if version := _check_layout(db, checked):
                _check_rows(db, checked, indexed=version > 1)
                _check_records(db, "answers", checked)
                if version > 1:
                    _check_records(db, "events", checked)
    except (StoreError, *READ_ERRORS) as error:
        found = " ".join(str(error.__cause__ or error).split())
        checked.add("the file", f"SQLite finds damage: {found}", _STORE)
    return checked


def _check_pages(db: sqlite3.Connection, checked: Checked) -> None:
    try:
        rows = db.execute("PRAGMA integrity_check(20)").fetchall()
    except READ_ERRORS as error:
        rows = [(str(error),)]
    for (text,) in rows:
        if text != "ok":
            checked.add("the file", f"SQLite finds damage: {' '.join(str(text).split())}", _STORE)


def _check_layout(db: sqlite3.Connection, checked: Checked) -> int:
    """The store's version if its tables are an EdgeTwin store's, so that rows can be read; or 0."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        checked.add("the file", "it is another program's database", "name the twin's own file")
        return 0
    sql = "SELECT name, coalesce(sql, '') FROM sqlite_master WHERE type = 'table'"
    tables = {str(name): str(text) for name, text in db.execute(sql)}
    version = 0
    for name in ("schema_version", "frames", "answers", "labels", "object_seen", "events"):
        if name == "labels":  # from here on those of version 2
            version = db.execute("SELECT max(version) FROM schema_version").fetchone()[0]
            if version not in range(1, STORE_VERSION + 1):
                what = f"its layout is version {version}, not {STORE_VERSION}"
                checked.add("the file", what, _NEWER)
                return 0
            if version == 1:
                break
        if not tables.get(name, "").upper().startswith("CREATE TABLE"):
            checked.add("the file", f"it has no table {name}", _STORE)
            return 0
    return int(version)


def _check_rows(db: sqlite3.Connection, checked: Checked, *, indexed: bool) -> None:
    run, frames = 0, _Frames(checked)
    sql = f"SELECT seq, run, source_id, frame_index, timestamp_s, {_SEEN if indexed else 'NULL'}, record FROM frames"
    for seq, row_run, *columns, seen, record in _paged(db, sql, checked):
        place = f"row {seq}"
        if not isinstance(record, str) or not isinstance(row_run, int):
            checked.add(place, "its columns hold other values than text and numbers", _STORE)
            continue
        try:
            frame = frame_of(record)
        except SchemaError as error:
            checked.add(place, str(error), _advice(str(error)))
            continue
        checked.frames += 1
        if columns != [frame.source_id, frame.index, frame.timestamp_s]:
            checked.add(place, f"its columns {columns} are not those of its record", _STORE)
        if indexed and seen != _seen(frame):
            checked.add(place, "its index lists other objects than its record", _STORE)
        if row_run < run:
            checked.add(place, f"run {row_run} comes after run {run}", _STORE)
        if row_run != run:
            run, frames = row_run, _Frames(checked)
        frames.take(place, frame)


def _seen(frame: FrameTwin) -> str:
    """What the index should say of a frame, as ``_SEEN`` reads it."""
    held = sorted((obj.id, obj.semantic_label) for obj in frame.objects.values())
    return "\n".join(f"{object_id} {label}" for object_id, label in held)


def _check_records(db: sqlite3.Connection, table: str, checked: Checked) -> None:
    for seq, record in _paged(db, f"SELECT seq, record FROM {table}", checked):
        try:
            whole = isinstance(json.loads(record), dict)
        except (TypeError, ValueError, RecursionError):
            whole = False
        if not whole:
            checked.add(f"{table[:-1]} {seq}", "it is no JSON object", _STORE)


def _paged(db: sqlite3.Connection, sql: str, checked: Checked) -> Iterator[Any]:
    """Yield the rows of a table by rising ``seq``, as far as they can be read."""
    after = -1
    while True:
        try:
            rows = db.execute(
                f"{sql} WHERE seq > ? ORDER BY seq LIMIT {_PAGE_ROWS}", (after,)
            ).fetchall()
        except READ_ERRORS as error:
            checked.add(f"after row {max(after, 0)}", f"rows cannot be read: {error}", _STORE)
            return
        for row in rows:
            if not isinstance(row[0], int) or row[0] <= after:
                checked.add(f"after row {max(after, 0)}", "rows are out of order", _STORE)
                return
            after = row[0]
            yield row
        if len(rows) < _PAGE_ROWS:
            return


def _check_agreement(folder: Path, lines: Path, store: Path) -> Checked:
    """Compare ``twin.jsonl`` with the newest run of ``twin.sqlite``."""
    checked = Checked(f"{folder}: {lines.name} and {store.name}")
    try:
        for number, (a, b) in enumerate(
            zip_longest(TwinFile(lines).frames(), TwinFile(store).frames()), 1
        ):
            if a is None or b is None:
                fuller = lines if b is None else store
                checked.add(
                    f"frame {number}",
                    f"only {fuller.name} goes on from here",
                    f"use {fuller.name}: the other's writer was killed",
                )
                break
            if not _agree(a, b):
                checked.add(f"frame {number}", "the two differ", "trust the one you did not edit")
                if checked.count >= _TOLD_DIFFERENCES:
                    break
            else:
                checked.frames += 1
    except EdgeTwinError as error:  # written to meanwhile
        checked.add("reading both", str(error), "check again when nothing writes to it")
    return checked


def _agree(line: FrameTwin, row: FrameTwin) -> bool:
    """Whether two records are one frame; the store's may hold what a question refined since."""
    if line == row:
        return True
    refined = {key for key, obj in row.objects.items() if obj.origin is not None}
    update = {"objects": {k: o for k, o in row.objects.items() if k not in refined}}
    stream = {k: o for k, o in line.objects.items() if k not in refined}
    looked = set(row.vocabulary or ()) >= set(line.vocabulary or ())
    plain = row.model_copy(update={**update, "vocabulary": line.vocabulary})
    return bool(refined) and looked and plain == line.model_copy(update={"objects": stream})


def _advice(text: str) -> str:
    return _NEWER if "schema_version" in text else _RECORD


# ---- frames


class _Frames:
    """The frames of one run, each against those before it."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._last: FrameTwin | None = None
        self._first_seen: dict[int, float] = {}  # at most MAX_IDS, the oldest given up

    def take(self, place: str, frame: FrameTwin) -> None:
        def fault(what: str, advice: str) -> None:
            self._checked.add(place, what, advice)

        if self._last is not None:
            _follows(self._last, frame, fault)
        self._last = frame
        for obj in frame.objects.values():
            self._take_id(obj, fault)
            _object_times(obj, frame, fault)
            _object_mask(obj, frame, fault)

    def _take_id(self, obj: ObjectTwin, fault: Callable[[str, str], None]) -> None:
        known = self._first_seen.setdefault(obj.id, obj.first_seen)
        if abs(known - obj.first_seen) > _CLOCK_S:
            fault(
                f"id {obj.id} was first seen at {known:.3f} s before and at "
                f"{obj.first_seen:.3f} s here: another object",
                _IDS,
            )
            self._first_seen[obj.id] = obj.first_seen
        while len(self._first_seen) > MAX_IDS:
            del self._first_seen[next(iter(self._first_seen))]


def _follows(last: FrameTwin, frame: FrameTwin, fault: Callable[[str, str], None]) -> None:
    if frame.index <= last.index:
        fault(f"frame {frame.index} comes after frame {last.index}", _CLOCK)
    if frame.timestamp_s < last.timestamp_s:
        fault(f"time goes back from {last.timestamp_s:.3f} to {frame.timestamp_s:.3f} s", _CLOCK)
    if frame.source_id != last.source_id:
        fault(f"source {frame.source_id!r} comes after {last.source_id!r}", _CLOCK)
    if (frame.width, frame.height) != (last.width, last.height):
        fault(
            f"the frame is {frame.width}x{frame.height} after {last.width}x{last.height}",
            "begin a new twin where the picture's size changes",
        )


def _object_times(obj: ObjectTwin, frame: FrameTwin, fault: Callable[[str, str], None]) -> None:
    late = obj.last_seen - frame.timestamp_s
    if late > _CLOCK_S or (obj.state == "visible" and late < -_CLOCK_S):
        fault(
            f"id {obj.id}, {obj.state} at {frame.timestamp_s:.3f} s, was last seen at "
            f"{obj.last_seen:.3f} s",
            _RECORD,
        )


def _object_mask(obj: ObjectTwin, frame: FrameTwin, fault: Callable[[str, str], None]) -> None:
    if obj.mask is None:
        return
    height, width = obj.mask.size
    if obj.state != "visible":
        fault(f"id {obj.id} is {obj.state} and has a mask", _RECORD)
    if (width, height) != (frame.width, frame.height):
        fault(
            f"id {obj.id} has a mask of {width}x{height} in a frame of "
            f"{frame.width}x{frame.height}",
            _MASK,
        )
        return
    try:
        pixels, box = rle.area(obj.mask), rle.to_box(obj.mask)
    except (SchemaError, InputError) as error:
        fault(f"id {obj.id}: {error}", _MASK)
        return
    if pixels != obj.area:
        fault(f"id {obj.id} has an area of {obj.area} and a mask of {pixels} pixels", _MASK)
    if pixels and max(abs(a - b) for a, b in zip(box, obj.box_xyxy, strict=True)) > _BOX_PX:
        fault(f"id {obj.id} has the box {_px(obj.box_xyxy)} and a mask in {_px(box)}", _MASK)


def _px(box: tuple[float, ...]) -> str:
    return " ".join(f"{value:.0f}" for value in box)
