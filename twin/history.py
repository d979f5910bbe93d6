"""Questions to a store about times long gone: where an object was, when it was seen, by wall time.

Every function takes an open connection, which may be a reader's of another process, and finds the
frames by their index; records are read for the rows that are returned, and no others.

Times named ``at`` are Unix seconds. Ids are of one run: a stream that began anew counts from 1
again, so every row says its ``run``.

Not covered: frames without a wall time (of stores of version 1) when a time is asked for.
"""

from __future__ import annotations

import json
import math
import sqlite3
from typing import Any

from .errors import InputError, SchemaError

__all__ = [
    "MAX_ROWS",
    "event_of",
    "events_after",
    "frames_between",
    "newest_answers",
    "object_lives",
    "object_rows",
]

MAX_ROWS = 100_000  # about 30 MB of rows: what one call may hold
_PAGE = 256  # frames whose records are read at a time


def object_rows(
    db: sqlite3.Connection,
    *,
    start_at: float | None = None,
    end_at: float | None = None,
    label: str | None = None,
    object_id: int | None = None,
    run: int | None = None,
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """One row per object and frame, oldest first, both times included.

    Without ``start_at`` the newest rows. With it the oldest ``limit`` from then on, whole moments
    only, so that a caller goes on from ``math.nextafter(rows[-1]["at"], math.inf)``; if one moment
    alone has more objects than ``limit``, its first ones come.

    A row: ``at, timestamp_s, frame_index, run, id, label, state, confidence, box_xyxy, centroid,
    mean_depth, centroid_m``.

    Raises:
        InputError: if a time is no number or ``limit`` not 1 to 100,000.
        SchemaError: if a record is damaged.
        sqlite3.Error: if the store cannot be read.
    """
    where, values = ["1"], list[Any]()
    for sql, value in (("at >= ?", start_at), ("at <= ?", end_at), ("object_id = ?", object_id)):
        if value is not None:
            where.append(f"seen.{sql}")
            values.append(_finite(value))
    if label is not None:
        where.append("seen.label_id = (SELECT id FROM labels WHERE label = ?)")
        values.append(label)
    if run is not None:
        where.append("(SELECT run FROM frames WHERE seq = seen.seq) = ?")
        values.append(run)
    way = "DESC" if start_at is None else "ASC"
    if object_id is None and label is None:  # all objects: by the times of the frames
        source = (
            "(SELECT seq, at FROM frames INDEXED BY frames_by_at) AS f "
            "CROSS JOIN object_seen AS seen ON seen.seq = f.seq"
        )
        where = [text.replace("seen.at", "f.at") for text in where]
        order = f"f.at {way}, f.seq {way}"
    else:
        index = "by_id" if object_id is not None else "by_label"
        source = f"object_seen AS seen INDEXED BY object_seen_{index}"
        order = f"seen.at {way}, seen.seq {way}"
    found = db.execute(
        f"SELECT seen.seq, seen.object_id, seen.at FROM {source} WHERE {' AND '.join(where)} "
        f"ORDER BY {order}, seen.object_id {way} LIMIT ?",
        (*values, _bounded(limit)),
    ).fetchall()
    if start_at is not None and len(found) == limit:
        found = [row for row in found if row[2] < found[-1][2]] or found
    return _rows(db, [row[:2] for row in (found if way == "ASC" else found[::-1])])


def object_lives(db: sqlite3.Connection, limit: int = 1000) -> list[dict[str, Any]]:
    """One row per object of a run, the one seen last first: from its first frame to its newest.

    A row: ``run, id, label, first_at, last_at, first_s, last_s``; a label is the newest one.
    The first frame may have been deleted since.

    Raises:
        As :func:`object_rows`.
    """
    rows = db.execute(
        "SELECT lives.run, object_id, label, first_at, last_at, first_s, last_s "
        "FROM object_lives AS lives JOIN labels ON labels.id = label_id "
        "ORDER BY last_seq DESC, object_id LIMIT ?",
        (_bounded(limit),),
    )
    names = ("run", "id", "label", "first_at", "last_at", "first_s", "last_s")
    return [dict(zip(names, row, strict=True)) for row in rows]


def frames_between(
    db: sqlite3.Connection,
    start_at: float | None = None,
    end_at: float | None = None,
    limit: int = 1000,
) -> list[tuple[float, str]]:
    """(at, record) of frames, oldest first; which ones of many, as :func:`object_rows`.

    Raises:
        As :func:`object_rows`.
    """
    way = "DESC" if start_at is None else "ASC"
    rows = db.execute(
        "SELECT at, record FROM frames INDEXED BY frames_by_at WHERE at >= ? AND at <= ? "
        f"ORDER BY at {way}, seq {way} LIMIT ?",
        (
            -math.inf if start_at is None else _finite(start_at),
            math.inf if end_at is None else _finite(end_at),
            _bounded(limit),
        ),
    ).fetchall()
    return rows if way == "ASC" else rows[::-1]


def events_after(
    db: sqlite3.Connection, after: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Events that came after the one of id ``after``, oldest first; None: the newest ones.

    After an id that is not here come those whose ids sort after it: ids of events begin with
    their time, so one that was deleted since, or is of another store, still says when.

    Raises:
        As :func:`object_rows`.
    """
    if after is None:
        sql = "SELECT record FROM events ORDER BY seq DESC LIMIT ?"
        return [json.loads(row[0]) for row in db.execute(sql, (_bounded(limit),))][::-1]
    known = db.execute("SELECT seq FROM events WHERE id = ?", (after,)).fetchone()
    which, value = ("seq > ? ORDER BY seq", known[0]) if known else ("id > ? ORDER BY id", after)
    sql = f"SELECT record FROM events WHERE {which} LIMIT ?"
    return [json.loads(row[0]) for row in db.execute(sql, (value, _bounded(limit)))]


def newest_answers(db: sqlite3.Connection, limit: int = 100) -> list[dict[str, Any]]:
    """Return the newest answers, oldest first.

    Raises:
        As :func:`object_rows`.
    """
    sql = "SELECT record FROM answers ORDER BY seq DESC LIMIT ?"
    return [json.loads(row[0]) for row in db.execute(sql, (_bounded(limit),))][::-1]


def event_of(db: sqlite3.Connection, event_id: str) -> dict[str, Any] | None:
    """Return the event of an id, None if there is none."""
    row = db.execute("SELECT record FROM events WHERE id = ?", (event_id,)).fetchone()
    return json.loads(row[0]) if row else None


def _rows(db: sqlite3.Connection, found: list[tuple[int, int]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for start in range(0, len(found), _PAGE):
        page = found[start : start + _PAGE]
        seqs = sorted({seq for seq, _ in page})
        marks = ",".join("?" * len(seqs))
        frames = {
            seq: (at, run, _record(seq, record))
            for seq, at, run, record in db.execute(
                f"SELECT seq, at, run, record FROM frames WHERE seq IN ({marks})", seqs
            )
        }
        for seq, object_id in page:
            if seq in frames:  # else deleted meanwhile
                rows.append(_row(*frames[seq], object_id))
    return rows


def _record(seq: int, text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(
            f"expected a frame of the twin as JSON in row {seq}, got: {error}; edgetwin twin check "
            "lists every fault"
        ) from None


def _row(at: float | None, run: int, frame: dict[str, Any], object_id: int) -> dict[str, Any]:
    held = frame["objects"][str(object_id)]
    return {
        "at": at,
        "timestamp_s": frame["timestamp_s"],
        "frame_index": frame["index"],
        "run": run,
        "id": object_id,
        "label": held["semantic_label"],
        "state": held["state"],
        "confidence": held["confidence"],
        "box_xyxy": held["box_xyxy"],
        "centroid": held["centroid"],
        "mean_depth": held.get("mean_depth"),
        "centroid_m": held.get("centroid_m"),
    }


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_ROWS:
        raise InputError(f"expected a limit of 1 to {MAX_ROWS} rows, got {limit}")
    return limit


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"expected a time or id that is a number, got {value}")
    return value
