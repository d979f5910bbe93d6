"""``edgetwin twin history``: what a stream saw, looked up by time, label and id."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import datetime
from pathlib import Path

import pytest

from edgetwin.deploy.twin_history import when
from edgetwin.twin.errors import InputError
from edgetwin.twin.store import TwinStore, migrations

from ..test_cli import assert_refused, edgetwin
from ..twin.build import frame, obj

BEGIN = datetime(2026, 1, 31, 12).timestamp()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cam")
    with TwinStore(folder / "twin.sqlite") as store:
        for i in range(20):
            objects = [obj(1, "mug", x=10.0 + i)] + ([obj(2, "bowl", z=0.5)] if i >= 15 else [])
            store.append(frame(i, objects), at=BEGIN + i)
    return folder


def test_objects_are_listed_with_the_one_seen_last_first(store: Path) -> None:
    got = edgetwin("twin", "history", store)
    assert got.returncode == 0, got.stderr
    columns, *rows = got.stdout.splitlines()
    assert columns.split() == ["run", "id", "label", "first", "seen", "last", "seen"]
    assert [" ".join(row.split()) for row in rows] == [
        "1 1 mug 2026-01-31 12:00:00.000 2026-01-31 12:00:19.000",
        "1 2 bowl 2026-01-31 12:00:15.000 2026-01-31 12:00:19.000",
    ]
    found = json.loads(edgetwin("twin", "history", store, "--label", "bowl", "--json").stdout)
    assert [(row["id"], row["first_at"]) for row in found] == [(2, BEGIN + 15)]


def test_rows_are_found_by_time_label_and_id(store: Path) -> None:
    window = ("--since", "2026-01-31T12:00:14", "--until", str(BEGIN + 16))
    got = edgetwin("twin", "history", store, *window)
    assert got.returncode == 0, got.stderr
    columns, *rows = got.stdout.splitlines()
    assert columns.split() == ["time", "run", "frame", "id", "label", "state", "x", "y", "depth"]
    assert [row.split()[3:5] for row in rows] == [
        ["14", "1"], ["15", "1"], ["15", "2"], ["16", "1"], ["16", "2"],
    ]  # fmt: skip
    assert rows[2].split() == [
        "2026-01-31", "12:00:15.000", "1", "15", "2", "bowl", "visible", "50", "50", "0.50",
    ]  # fmt: skip
    one = edgetwin("twin", "history", store, "--each", "--id", 1, "--limit", 2, "--json")
    assert [row["frame_index"] for row in json.loads(one.stdout)] == [18, 19]


def test_times_are_read_as_people_write_them() -> None:
    for text, at in (("90s", 910.0), ("10m", 400.0), ("0.5h", -800.0), ("1000", 1000.0)):
        assert when(text, now=1000.0) == at
    assert when("2026-01-31T12:00") == BEGIN
    assert (
        when("2026-01-31T12:00:00+00:00") == datetime.fromisoformat("2026-01-31T12:00Z").timestamp()
    )
    assert abs(when("1d") - (time.time() - 86400)) < 5
    for text in ("", "soon", "10y", "-5m", "nan", "1e999", "9" * 400, "2026-99-01"):
        with pytest.raises(InputError, match="expected a time such as 10m"):
            when(text)


def test_what_has_no_history_is_refused_with_the_way_out(store: Path, tmp_path: Path) -> None:
    assert_refused(edgetwin("twin", "history", tmp_path), "expected a twin at", "edgetwin track")
    (tmp_path / "twin.jsonl").write_text(frame(0, [obj(1)]).model_dump_json() + "\n")
    assert_refused(edgetwin("twin", "history", tmp_path), "got JSON lines", "edgetwin twin show")
    old = tmp_path / "old.sqlite"
    db = sqlite3.connect(old)
    db.executescript(migrations()[0][1])
    db.execute("INSERT INTO schema_version (version) VALUES (1)")
    db.commit()
    db.close()
    assert_refused(edgetwin("twin", "history", old), "version 1", "edgetwin twin show")
    assert_refused(edgetwin("twin", "history", store, "--since", "soon"), "a time such as", "10m")
