"""The store as a memory: what is kept, for how long and how large, and what is found again."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgetwin.twin import history
from edgetwin.twin.errors import InputError, SchemaError, StoreError
from edgetwin.twin.retention import MIN_BYTES, Retention, log_bytes
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.store import TwinStore, migrations

from .build import frame, obj

NOON = 4_000_000_000.0  # Unix seconds that never get too old


def scene(index: int, *labels: str, source: str = "cam") -> FrameTwin:
    """A frame with an object 1, 2, … per label."""
    objects = [obj(n, label, x=10.0 * n + index % 7) for n, label in enumerate(labels, 1)]
    return frame(index, objects, source_id=source)


def large(index: int) -> FrameTwin:
    """A frame of about 8 KB, as 8 objects with masks make it."""
    return frame(index, [obj(n, "mug", attributes={"note": "x" * 800}) for n in range(1, 9)])


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as db:
        yield db


def first_version(path: Path, frames: list[FrameTwin], runs: list[int]) -> None:
    """A store as version 1 wrote it."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(migrations()[0][1])
        db.execute("INSERT INTO schema_version (version) VALUES (1)")
        db.executemany(
            "INSERT INTO frames (run, source_id, frame_index, timestamp_s, record) VALUES (?, ?, ?, ?, ?)",
            [
                (run, f.source_id, f.index, f.timestamp_s, f.model_dump_json())
                for run, f in zip(runs, frames, strict=True)
            ],
        )
        db.execute("INSERT INTO answers (frame_seq, record) VALUES (1, '{\"ids\":[1]}')")
        db.commit()


# ---- migration


def test_a_store_of_version_1_is_migrated_with_what_its_frames_hold(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    frames = [scene(0, "mug"), scene(1, "mug", "bowl"), scene(2, "cup", "bowl"), scene(0, "ball")]
    first_version(path, frames, [1, 1, 1, 2])
    with TwinStore(path) as store:
        assert list(store.frames()) == frames
        assert store.answers() == [{"ids": [1]}]
        store.append(scene(1, "ball"), at=NOON)
        assert store.runs() == [1, 2, 3]
    with reading(path) as db:
        rows = history.object_rows(db, object_id=1)
        assert [(r["run"], r["frame_index"], r["label"], r["at"]) for r in rows] == [
            (1, 0, "mug", None), (1, 1, "mug", None), (1, 2, "cup", None), (2, 0, "ball", None),
            (3, 1, "ball", NOON),
        ]  # fmt: skip
        assert [r["frame_index"] for r in history.object_rows(db, label="bowl")] == [1, 2]
        lives = {(r["run"], r["id"]): r for r in history.object_lives(db)}
        assert lives[1, 1] == {
            "run": 1, "id": 1, "label": "cup", "first_at": None, "last_at": None,
            "first_s": 0.0, "last_s": 0.25,
        }  # fmt: skip
        assert (lives[1, 2]["first_s"], lives[1, 2]["last_s"]) == (0.125, 0.25)
        assert set(lives) == {(1, 1), (1, 2), (2, 1), (3, 1)}


def test_a_damaged_record_does_not_stop_the_migration(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    first_version(path, [scene(0, "mug"), scene(1, "mug")], [1, 1])
    with closing(sqlite3.connect(path)) as db:
        db.execute('UPDATE frames SET record = \'{"objects":{"1":\' WHERE seq = 1')
        db.commit()
    with TwinStore(path):
        pass
    with reading(path) as db:
        assert [r["frame_index"] for r in history.object_rows(db)] == [1]


# ---- found again


def test_objects_are_found_by_label_id_run_and_time(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        for i in range(40):
            store.append(scene(i, "mug", *(["bowl"] if 10 <= i < 20 else [])), at=NOON + i)
        for i in range(5):  # the clock of the source went back: run 2 counts ids from 1 again
            store.append(scene(i, "box"), at=NOON + 100 + i)
    with reading(path) as db:
        bowls = history.object_rows(db, label="bowl")
        assert [r["at"] for r in bowls] == [NOON + i for i in range(10, 20)]
        assert bowls[0] == {
            "at": NOON + 10, "timestamp_s": 1.25, "frame_index": 10, "run": 1, "id": 2,
            "label": "bowl", "state": "visible", "confidence": 0.9,
            "box_xyxy": [13.0, 40.0, 33.0, 60.0], "centroid": [23.0, 50.0], "mean_depth": None,
            "centroid_m": None,
        }  # fmt: skip
        assert [r["label"] for r in history.object_rows(db, object_id=1, run=2)] == ["box"] * 5
        between = history.object_rows(db, start_at=NOON + 18, end_at=NOON + 21)
        assert [(r["at"] - NOON, r["id"]) for r in between] == [
            (18, 1), (18, 2), (19, 1), (19, 2), (20, 1), (21, 1),
        ]  # fmt: skip
        assert [r["at"] for r in history.object_rows(db, object_id=1, limit=2)] == [
            NOON + 103, NOON + 104,
        ]  # fmt: skip
        assert history.object_rows(db, label="never seen") == []
        assert history.object_rows(db, object_id=99, label="mug") == []
        assert [(r["run"], r["id"], r["label"]) for r in history.object_lives(db)] == [
            (2, 1, "box"), (1, 1, "mug"), (1, 2, "bowl"),
        ]  # fmt: skip
        assert [at for at, _ in history.frames_between(db, NOON + 3, NOON + 5)] == [
            NOON + 3, NOON + 4, NOON + 5,
        ]  # fmt: skip
        assert [at for at, _ in history.frames_between(db, limit=1)] == [NOON + 104]


def test_a_long_history_is_read_in_whole_moments_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        for i in range(50):
            store.append(scene(i, "mug", "bowl", "box"), at=NOON + i / 30)
    with reading(path) as db:
        whole = history.object_rows(db, start_at=NOON)
        assert len(whole) == 150
        rows: list[dict[str, Any]] = []
        start = NOON
        while page := history.object_rows(db, start_at=start, limit=20):
            assert len(page) % 3 == 0
            rows += page
            start = math.nextafter(page[-1]["at"], math.inf)
        assert rows == whole
        assert len(history.object_rows(db, start_at=NOON, limit=2)) == 2


def test_queries_use_the_index(tmp_path: Path) -> None:
    """SQLite says how it would search: no table is scanned, nothing is sorted but the rows asked for."""
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        store.append(scene(0, "mug"), at=NOON)
    asked: list[dict[str, Any]] = [
        {"label": "mug"}, {"object_id": 1}, {"start_at": NOON}, {"label": "mug", "end_at": NOON}, {},
    ]  # fmt: skip
    for question in asked:
        with reading(path) as db:
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            assert len(history.object_rows(db, **question)) == 1
            db.set_trace_callback(None)
            plan = " | ".join(
                str(row[3]) for row in db.execute("EXPLAIN QUERY PLAN " + statements[0])
            )
            assert "INDEX frames_by_at" in plan or "INDEX object_seen_by_" in plan, plan
            assert "SCAN object_seen" not in plan, plan
            if question:
                assert "SEARCH" in plan.split("|")[0], plan


def test_refined_frames_are_found_by_what_they_hold_now(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        for i in range(3):
            store.append(scene(i, "mug"), at=NOON + i)
        store.amend([scene(1, "mug", "lamp"), scene(2, "cup")])
    with reading(path) as db:
        assert [r["frame_index"] for r in history.object_rows(db, label="lamp")] == [1]
        assert [r["frame_index"] for r in history.object_rows(db, label="mug")] == [0, 1]
        lives = {r["id"]: r for r in history.object_lives(db)}
        assert (lives[1]["label"], lives[1]["first_at"], lives[1]["last_at"]) == (
            "cup", NOON, NOON + 2,
        )  # fmt: skip
        assert (lives[2]["first_at"], lives[2]["last_at"]) == (NOON + 1, NOON + 1)


def test_wrong_questions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        store.append(scene(0, "mug"), at=NOON)
    with reading(path) as db:
        for limit in (0, -1, history.MAX_ROWS + 1):
            with pytest.raises(InputError, match="expected a limit of 1 to"):
                history.object_rows(db, limit=limit)
        with pytest.raises(InputError, match="that is a number"):
            history.object_rows(db, start_at=math.nan)
        db.execute("UPDATE frames SET record = '{'")
        with pytest.raises(SchemaError, match=r"row 1.*twin check"):
            history.object_rows(db)


# ---- events


def test_events_are_kept_in_order_and_replaced_in_place(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        for n in range(5):
            store.record_event(f"ev{n}", NOON + n, {"id": f"ev{n}", "delivered": "waiting"})
        store.record_event("ev1", NOON + 1, {"id": "ev1", "delivered": "yes"})
        with pytest.raises(SchemaError, match="an event of plain JSON"):
            store.record_event("ev9", NOON, {"x": math.inf})
    with reading(path) as db:
        assert history.event_of(db, "ev1") == {"id": "ev1", "delivered": "yes"}
        assert history.event_of(db, "none") is None
        assert [e["id"] for e in history.events_after(db, limit=2)] == ["ev3", "ev4"]
        assert [e["id"] for e in history.events_after(db, "ev0", limit=3)] == ["ev1", "ev2", "ev3"]
        assert history.events_after(db, "ev4") == []
        assert len(history.events_after(db, "deleted long ago")) == 5
        assert [e["id"] for e in history.events_after(db, "ev2-of-another-store")] == ["ev3", "ev4"]


# ---- kept for how long, and how large


def test_what_is_too_old_goes_by_its_own_wall_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "twin.db"
    now = NOON
    monkeypatch.setattr("edgetwin.twin.store.time.time", lambda: now)
    with TwinStore(path, batch_frames=10, retention=Retention(max_age_s=60)) as store:
        for i in range(100):
            now = NOON + i
            # a board without a clock of its own began in 1970 for four frames
            store.append(scene(i, "mug", "bowl"), at=5.0 + i if 50 <= i < 54 else now)
        store.record_event("ev", NOON - 100, {})
        kept = [f.index for f in store.frames()]
        assert store.held == len(kept)
    # the last write, at 99, looked back to 39; the wrong ones are gone, and nothing else
    assert kept == [i for i in range(39, 100) if not 50 <= i < 54]
    with TwinStore(path, retention=Retention(max_age_s=60)) as store, reading(path) as db:
        assert db.execute("SELECT count(*) FROM object_seen").fetchone()[0] == 2 * len(kept)
        store.record_answer({"ids": [1]})  # dated by the real clock, long before NOON
        assert len(store.answers()) == 1
        store.append(scene(0, "mug"), at=now)
        store.flush()
        assert store.held == len(kept) + 1
        assert store.answers() == []
        assert db.execute("SELECT count(*) FROM events").fetchone()[0] == 0


def test_the_file_and_its_log_never_outgrow_their_bound(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    retention = Retention(max_bytes=MIN_BYTES)
    sizes = []
    with TwinStore(path, batch_frames=16, retention=retention) as store:
        for i in range(2000):  # 16 MB of records through 4 MiB
            store.append(large(i), at=NOON + i)
            sizes.append(path.stat().st_size + log_bytes(path))
        kept = [f.index for f in store.frames()]
    assert max(sizes) <= MIN_BYTES
    assert sizes[-1] > MIN_BYTES // 2  # it is used, too
    assert kept == list(range(kept[0], 2000))
    assert len(kept) > 200
    with reading(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("SELECT count(*) FROM object_seen").fetchone()[0] == 8 * len(kept)


def test_a_bound_that_was_lowered_cuts_the_file(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        for i in range(1500):
            store.append(large(i), at=NOON + i)
    before = path.stat().st_size
    assert before > 2.5 * MIN_BYTES
    with TwinStore(path, batch_frames=1, retention=Retention(max_bytes=MIN_BYTES)) as store:
        for i in range(20):  # a step at each write
            store.append(large(i), at=NOON + i)
        assert [f.index for f in store.frames()][-20:] == list(range(20))
    assert path.stat().st_size <= MIN_BYTES


def test_a_large_store_of_version_1_is_cut_as_well(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    first_version(path, [large(i) for i in range(1000)], [1] * 1000)
    assert path.stat().st_size > 1.5 * MIN_BYTES
    with TwinStore(path, batch_frames=1, retention=Retention(max_bytes=MIN_BYTES)) as store:
        for i in range(20):
            store.append(large(i), at=NOON + i)
    assert path.stat().st_size <= MIN_BYTES


def test_events_and_answers_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path, batch_frames=1, retention=Retention(max_rows=5)) as store:
        for n in range(12):
            store.record_event(f"ev{n}", NOON + 1e9 + n, {"n": n})
            store.record_answer({"n": n})
            store.append(scene(n, "mug"), at=NOON + 1e9 + n)
        assert [a["n"] for a in store.answers()] == [7, 8, 9, 10, 11]
    with reading(path) as db:
        assert [e["n"] for e in history.events_after(db)] == [7, 8, 9, 10, 11]


def test_a_log_that_a_reader_holds_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path, batch_frames=1) as store:
        store.append(scene(0, "mug"))
        with reading(path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM frames").fetchone()
            store.append(scene(1, "mug"))
            assert not store.shorten_log()
            assert log_bytes(path) > 0
            reader.execute("COMMIT")
        assert store.shorten_log()
        assert log_bytes(path) == 0
        assert store.count() == 2


@pytest.mark.parametrize(
    "bounds", [{"max_age_s": 0.0}, {"max_age_s": math.nan}, {"max_bytes": 100}, {"max_rows": 0}]
)
def test_bounds_that_cannot_be_kept_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Retention(**bounds)


def test_an_older_reader_refuses_this_store(tmp_path: Path) -> None:
    """What version 1 does on opening: it compares the number and says what to do."""
    path = tmp_path / "twin.db"
    TwinStore(path).close()
    with reading(path) as db:
        assert db.execute("SELECT max(version) FROM schema_version").fetchone()[0] == 2
        db.execute("INSERT INTO schema_version (version) VALUES (3)")
        db.commit()
    with pytest.raises(StoreError, match="got version 3: install a newer edgetwin"):
        TwinStore(path)
