"""The store: bounded, migrated, and never half a frame whatever kills the writer."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgetwin.twin import store as store_module
from edgetwin.twin.errors import InputError, SchemaError, StoreError
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.store import STORE_VERSION, TwinStore, migrations

from .build import frame, obj

WRITER = """
import sys
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.store import TwinStore
template = FrameTwin.model_validate_json(sys.argv[2])
store = TwinStore(sys.argv[1], batch_frames=16)
index = 0
while True:
    store.append(template.model_copy(update={"index": index, "timestamp_s": index / 30}))
    index += 1
    if store.pending == 0:
        print(index, flush=True)
"""


def some(index: int, source: str = "cam") -> FrameTwin:
    return frame(index, [obj(1, x=index % 200), obj(7, "bowl")], source_id=source)


def integrity(path: Path) -> str:
    db = sqlite3.connect(path)
    try:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        db.close()


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    frames = [some(i) for i in range(10)]
    with TwinStore(tmp_path / "twin.db", batch_frames=4) as store:
        for item in frames:
            store.append(item)
        assert store.pending == 2
        assert store.count() == 10
        assert list(store.frames()) == frames
    with TwinStore(tmp_path / "twin.db") as store:
        assert list(store.frames(start_s=0.25, end_s=0.5)) == frames[2:5]
        window = store.window(max_frames=3)
        assert window.frames == tuple(frames[-3:])
        assert window.max_frames == 3


def test_reading_pages_through_more_rows_than_one_page(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "twin.db") as store:
        for i in range(300):
            store.append(some(i))
        assert [f.index for f in store.frames()] == list(range(300))


def test_the_buffer_is_bounded_in_frames_and_in_time(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "a.db", batch_frames=3) as store:
        seen = []
        for i in range(7):
            store.append(some(i))
            seen.append(store.pending)
        assert seen == [1, 2, 0, 1, 2, 0, 1]
    with TwinStore(tmp_path / "b.db", batch_frames=1000, max_age_s=0.02) as store:
        store.append(some(0))
        time.sleep(0.03)
        store.append(some(1))
        assert store.pending == 0


def test_a_run_begins_with_an_opening_and_with_a_clock_that_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        for i in (0, 1, 2, 0, 1):
            store.append(some(i))
        assert store.runs() == [1, 2]
    with TwinStore(path) as store:
        for i in (5, 6):
            store.append(some(i))
            store.append(some(i, "other"))
        assert store.runs() == [1, 2, 3, 4]
        assert [f.index for f in store.frames(run=2)] == [0, 1]
        assert [f.source_id for f in store.window().frames] == ["other", "other"]


def test_old_frames_go_when_told(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "twin.db", batch_frames=2, keep_frames=5) as store:
        for i in range(20):
            store.append(some(i))
        assert [f.index for f in store.frames()] == [15, 16, 17, 18, 19]


def test_answers(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "twin.db") as store:
        store.append(some(0))
        store.record_answer({"query": "é?", "ids": [1], "intervals": [[0.5, 1.2]]})
        assert store.pending == 0  # the frames an answer speaks of are on disk with it
        store.record_answer({"status": "none"})
        with pytest.raises(SchemaError, match="plain JSON values"):
            store.record_answer({"x": float("nan")})
        with pytest.raises(SchemaError, match="plain JSON values"):
            store.record_answer({"x": object()})
    with TwinStore(tmp_path / "twin.db") as store:
        assert store.answers() == [
            {"query": "é?", "ids": [1], "intervals": [[0.5, 1.2]]},
            {"status": "none"},
        ]


def test_the_view_for_a_sql_shell(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "twin.db") as store:
        store.append(some(3))
    db = sqlite3.connect(tmp_path / "twin.db")
    rows = db.execute("SELECT id, semantic_label, state, x FROM objects ORDER BY id").fetchall()
    db.close()
    assert rows == [(1, "mug", "visible", 3.0), (7, "bowl", "visible", 50.0)]


def test_killed_writers_leave_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    template = some(0).model_dump_json()
    before = 0
    for delay_s in (0.0, 0.05, 0.13, 0.31):
        command = [sys.executable, "-c", WRITER, str(path), template]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()  # the writer is at speed now
            time.sleep(delay_s)
            writer.send_signal(signal.SIGKILL)
            reported = int([first, *writer.stdout.read().split()][-1])
        assert writer.returncode == -signal.SIGKILL
        assert integrity(path) == "ok"
        with TwinStore(path) as store:
            run = store.runs()[-1]
            indices = [f.index for f in store.frames(run=run)]
            assert indices == list(range(len(indices)))  # no gap, no partial frame
            # all that was flushed is there, and whole batches only
            assert len(indices) >= reported
            assert len(indices) % 16 == 0
            assert store.count() == before + len(indices)
            before = store.count()


def test_a_full_disk_is_told_and_keeps_what_was_written(tmp_path: Path) -> None:
    script = """
import resource, sys
from edgetwin.twin.errors import StoreError
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.store import TwinStore
template = FrameTwin.model_validate_json(sys.argv[2])
store = TwinStore(sys.argv[1], batch_frames=8)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
index = 0
try:
    while True:
        store.append(template.model_copy(update={"index": index, "timestamp_s": index / 30}))
        index += 1
except StoreError as error:
    print(index + 1 - store.pending, store.pending, error)
for _ in range(20):
    try:
        store.append(template)
    except StoreError:
        pass
assert store.pending == 8, store.pending
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
store.flush()
print(store.count())
store.close()
"""
    path = tmp_path / "twin.db"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), some(0).model_dump_json()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    stored, pending, message = first.split(" ", 2)
    assert int(pending) == 8
    assert f"{stored} frames of this session are stored, 8 wait in memory" in message
    assert "Free space on the disk" in message
    assert int(last) == int(stored) + 8  # with room again the buffer is written
    assert integrity(path) == "ok"
    with TwinStore(path) as store:
        assert [f.index for f in store.frames()] == list(range(int(stored) + 8))


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    TwinStore(path).close()
    db = sqlite3.connect(path)
    db.execute("INSERT INTO schema_version (version) VALUES (?)", (STORE_VERSION + 6,))
    db.commit()
    db.close()
    with pytest.raises(StoreError, match=r"got version 8: install a newer edgetwin"):
        TwinStore(path)


def test_a_newer_record_is_a_schema_error(tmp_path: Path) -> None:
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        store.append(some(0))
    db = sqlite3.connect(path)
    db.execute("UPDATE frames SET record = json_set(record, '$.schema_version', 4)")
    db.commit()
    db.close()
    with TwinStore(path) as store, pytest.raises(SchemaError, match=r"row 1 with .*schema_version"):
        list(store.frames())


def test_foreign_and_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, but long enough to look at" * 50)
    with pytest.raises(StoreError, match=r"not a database.*another path"):
        TwinStore(tmp_path / "text.db")
    db = sqlite3.connect(tmp_path / "foreign.db")
    db.execute("CREATE TABLE accounts (id)")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="another program's database"):
        TwinStore(tmp_path / "foreign.db")
    with pytest.raises(StoreError, match="create it"):
        TwinStore(tmp_path / "absent" / "twin.db")
    with pytest.raises(StoreError, match="expected to open the store"):
        TwinStore(tmp_path)


def test_a_second_writer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "twin.db"
    with TwinStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.append(some(0))
        with pytest.raises(StoreError, match="Close the other program"):
            store.flush()
        other.execute("ROLLBACK")
        other.close()
        store.flush()
        assert store.count() == 1


def test_after_close(tmp_path: Path) -> None:
    store = TwinStore(tmp_path / "twin.db")
    store.append(some(0))
    store.close()
    store.close()
    with pytest.raises(StoreError, match=r"after close\(\)"):
        list(store.frames())
    with pytest.raises(StoreError, match=r"after close\(\)"):
        store.append(some(1))


def test_bounds_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="positive batch_frames"):
        TwinStore(tmp_path / "twin.db", batch_frames=0)


def test_threads_share_a_store(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "twin.db", batch_frames=5) as store:

        def write(source: str) -> None:
            for i in range(50):
                store.append(some(i, source))

        threads = [threading.Thread(target=write, args=(f"cam{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.count() == 150
        assert [[f.index for f in store.frames(run=r)] for r in store.runs()] == [
            list(range(50))
        ] * 3


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in migrations()] == list(range(1, STORE_VERSION + 1))


def test_amended_frames_keep_their_place(tmp_path: Path) -> None:
    with TwinStore(tmp_path / "twin.db", keep_frames=4, batch_frames=2) as store:
        for index in (0, 1, 2):
            store.append(some(index))
        for index in (0, 1, 2):  # the clock went back: a run of its own
            store.append(some(index))
        before = list(store.frames())
        lamp = {7: obj(7, "lamp", origin="detect(lamp)")}
        new = before[-2].model_copy(update={"objects": lamp})
        absent = some(50)
        assert store.amend([new, absent]) == 1
        assert list(store.frames()) == [*before[:-2], new, before[-1]]
        assert store.window().frames[1] == new
        assert store.amend([]) == 0
