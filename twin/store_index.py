"""What a store knows of its frames without reading their records: objects, labels, lives.

Every function works within the caller's transaction, so index and frames are one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .schema import FrameTwin

__all__ = ["StoredFrame", "add_frames", "forget", "reindex", "seen_in"]

_INSERT = (
    "INSERT INTO frames (seq, run, source_id, frame_index, timestamp_s, record, at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SEEN = "INSERT INTO object_seen (seq, object_id, label_id, at) VALUES (?, ?, ?, ?)"
# ``excluded`` may be of an earlier frame, amended later: the ends move outwards only.
_LIVE = """
INSERT INTO object_lives (run, object_id, label_id, first_at, first_s, last_at, last_s, last_seq)
VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?5, ?6)
ON CONFLICT (run, object_id) DO UPDATE SET
    first_at = CASE WHEN excluded.first_s < first_s THEN excluded.first_at ELSE first_at END,
    first_s = min(first_s, excluded.first_s),
    label_id = CASE WHEN excluded.last_seq >= last_seq THEN excluded.label_id ELSE label_id END,
    last_at = CASE WHEN excluded.last_seq >= last_seq THEN excluded.last_at ELSE last_at END,
    last_s = CASE WHEN excluded.last_seq >= last_seq THEN excluded.last_s ELSE last_s END,
    last_seq = max(last_seq, excluded.last_seq)
"""


class StoredFrame(NamedTuple):
    """A row to be written: ``at`` is Unix seconds, ``seen`` is (id, label) per object."""

    run: int
    source_id: str
    frame_index: int
    timestamp_s: float
    record: str
    at: float
    seen: tuple[tuple[int, str], ...]


def seen_in(frame: FrameTwin) -> tuple[tuple[int, str], ...]:
    """(id, label) of every object that a frame holds."""
    return tuple((obj.id, obj.semantic_label) for obj in frame.objects.values())


def add_frames(db: sqlite3.Connection, frames: Sequence[StoredFrame]) -> None:
    """Write frames with the next numbers, and what they hold."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'frames'").fetchone()
    first = 1 + (row[0] if row else 0)
    labels = _Labels(db)
    rows, seen = [], []
    lives: dict[tuple[int, int], list[tuple[int, StoredFrame, str]]] = {}
    for seq, frame in enumerate(frames, first):
        rows.append((seq, *frame[:6]))
        for object_id, label in frame.seen:
            seen.append((seq, object_id, labels.id(label), frame.at))
            ends = lives.setdefault((frame.run, object_id), [])
            ends[1:] = [(seq, frame, label)]  # the first and the newest frame of a life
    db.executemany(_INSERT, rows)
    db.executemany(_SEEN, seen)
    db.executemany(
        _LIVE,
        [
            (run, object_id, labels.id(label), frame.at, frame.timestamp_s, seq)
            for (run, object_id), ends in lives.items()
            for seq, frame, label in ends
        ],
    )


def reindex(db: sqlite3.Connection, seq: int, frame: FrameTwin) -> None:
    """Note anew what the frame of number ``seq`` holds, after its record was replaced."""
    run, at = db.execute("SELECT run, at FROM frames WHERE seq = ?", (seq,)).fetchone()
    labels = _Labels(db)
    db.execute("DELETE FROM object_seen WHERE seq = ?", (seq,))
    held = [(object_id, labels.id(label)) for object_id, label in seen_in(frame)]
    db.executemany(_SEEN, [(seq, object_id, label, at) for object_id, label in held])
    values = [(run, object_id, label, at, frame.timestamp_s, seq) for object_id, label in held]
    db.executemany(_LIVE, values)


def forget(db: sqlite3.Connection, seqs: Iterable[int]) -> int:
    """Delete frames and what is noted of them; return how many there were."""
    keys = [(seq,) for seq in seqs]
    db.executemany("DELETE FROM object_seen WHERE seq = ?", keys)
    gone = db.executemany("DELETE FROM frames WHERE seq = ?", keys).rowcount
    db.execute(
        "DELETE FROM object_lives WHERE last_seq < coalesce((SELECT min(seq) FROM frames), 0)"
    )
    return max(0, gone)


class _Labels:
    """Numbers of labels, looked up once per transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._ids: dict[str, int] = {}  # as many as the frames at hand have labels

    def id(self, label: str) -> int:
        if label not in self._ids:
            self._db.execute("INSERT OR IGNORE INTO labels (label) VALUES (?)", (label,))
            row = self._db.execute("SELECT id FROM labels WHERE label = ?", (label,)).fetchone()
            self._ids[label] = row[0]
        return self._ids[label]
