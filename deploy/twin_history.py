"""What a store remembers, for people: when was what seen where, found by time, label and id.

The store may be written meanwhile. Not covered: ``twin.jsonl``, which notes no wall time, and
stores of version 1, whose frames have none either.
"""

from __future__ import annotations

import math
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ..twin import history
from ..twin.errors import InputError
from .twin_files import TwinFile, open_store

__all__ = [
    "LIFE_COLUMNS",
    "ROW_COLUMNS",
    "lives_of",
    "rows_of_life",
    "rows_of_rows",
    "seen",
    "when",
]

ROW_COLUMNS = ("time", "run", "frame", "id", "label", "state", "x", "y", "depth")
LIFE_COLUMNS = ("run", "id", "label", "first seen", "last seen")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def when(text: str, now: float | None = None) -> float:
    """Return Unix seconds of ``10m`` (ago; s, m, h, d), ``2026-01-31T12:00`` (local) or a number.

    Raises:
        InputError: if it is none of these.
    """
    if found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", text):
        return (time.time() if now is None else now) - float(found[1]) * _UNITS[found[2]]
    try:
        at = (
            float(text)
            if re.fullmatch(r"[\d.]+", text)
            else datetime.fromisoformat(text).timestamp()
        )
    except (ValueError, OverflowError, OSError):
        at = math.nan
    if not math.isfinite(at):
        raise InputError(
            f"expected a time such as 10m, 2h, 2026-01-31T12:00 or Unix seconds, got {text[:40]!r}"
        )
    return at


def seen(path: Path, **wanted: Any) -> list[dict[str, Any]]:
    """One row per object and frame; see :func:`~edgetwin.twin.history.object_rows`.

    Raises:
        InputError: if ``path`` is no store, or one of version 1.
        StoreError, SchemaError: if it cannot be read.
    """
    with open_store(_store(path)) as db:
        return history.object_rows(db, **wanted)


def lives_of(
    path: Path, label: str | None, object_id: int | None, limit: int
) -> list[dict[str, Any]]:
    """One row per object; see :func:`~edgetwin.twin.history.object_lives`.

    Raises:
        As :func:`seen`.
    """
    with open_store(_store(path)) as db:
        rows = history.object_lives(db, limit)
    return [r for r in rows if label in (None, r["label"]) and object_id in (None, r["id"])]


def rows_of_rows(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of :func:`seen` as text under ``ROW_COLUMNS``."""
    return [
        (
            _time(row["at"]),
            str(row["run"]),
            str(row["frame_index"]),
            str(row["id"]),
            row["label"],
            row["state"],
            *(f"{value:.0f}" for value in row["centroid"]),
            "" if row["mean_depth"] is None else f"{row['mean_depth']:.2f}",
        )
        for row in rows
    ]


def rows_of_life(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of :func:`lives_of` as text under ``LIFE_COLUMNS``."""
    return [
        (str(r["run"]), str(r["id"]), r["label"], _time(r["first_at"]), _time(r["last_at"]))
        for r in rows
    ]


def _time(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at).isoformat(" ", "milliseconds")


def _store(path: Path) -> Path:
    twin = TwinFile(path)
    if twin.kind != "sqlite":
        raise InputError(
            f"expected a twin.sqlite at {path}, got JSON lines: edgetwin twin show reads them"
        )
    with open_store(twin.path) as db:
        sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'object_seen'"
        if not db.execute(sql).fetchone()[0]:
            raise InputError(
                f"expected a store with wall times at {twin.path}, got one of layout version 1: "
                "edgetwin twin show reads it"
            )
    return twin.path
