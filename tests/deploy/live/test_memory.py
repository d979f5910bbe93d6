"""A stream's memory: it never delays a frame, loses little, says what it lost, and is read meanwhile."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetwin.deploy.live.memory import Retention, StreamMemory
from edgetwin.deploy.twin_check import check_twin
from edgetwin.deploy.twin_files import TwinFile, open_store
from edgetwin.twin import retention as retention_module
from edgetwin.twin.errors import StoreError

from .kill_store import FPS, RETENTION, event_of, frame_of, trial

SCRIPT = Path(__file__).with_name("kill_store.py")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[StreamMemory]:
    made = StreamMemory(tmp_path / "cam" / "twin.sqlite", RETENTION)
    yield made
    made.close()


def fill(memory: StreamMemory, count: int, begin: float, first: int = 0) -> None:
    for i in range(first, first + count):
        assert memory.append(frame_of(1, i), begin + i / FPS)
        if i % 200 == 199:
            assert memory.sync()
    assert memory.sync()


def balanced(memory: StreamMemory) -> bool:
    status = memory.status()
    lost = sum(n for reason, n in status.unstored.items() if reason not in ("answer", "event"))
    return status.appended == status.stored + status.waiting + lost


def test_what_was_appended_is_found_again(memory: StreamMemory) -> None:
    begin = time.time()
    fill(memory, 60, begin)
    assert [frame for _, frame in memory.frames()] == [frame_of(1, i) for i in range(60)]
    rows = memory.history(label="mug", start_at=begin + 1, end_at=begin + 1.5)
    assert {r["id"] for r in rows} == {4, 8}
    assert [r["frame_index"] for r in rows if r["id"] == 4] == list(range(30, 46))
    assert rows[0]["box_xyxy"] == list(frame_of(1, 30).objects[4].box_xyxy)
    assert [r["frame_index"] for r in memory.history(object_id=3, limit=2)] == [58, 59]
    assert {(r["id"], r["last_s"]) for r in memory.objects()} == {
        (n, 59 / FPS) for n in range(1, 9)
    }
    assert memory.counts()[0] == 60
    assert memory.counts()[1] >= memory.path.stat().st_size > 0
    assert memory.warnings() == []
    assert balanced(memory)
    memory.close()
    assert len(memory.frames()) == 60  # read after the end, too


def test_frames_are_written_within_a_second_without_being_asked(memory: StreamMemory) -> None:
    memory.append(frame_of(1, 0), time.time())
    deadline = time.monotonic() + 1.0
    while memory.status().waiting and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(memory.frames()) == 1


def test_answers_and_events(memory: StreamMemory) -> None:
    memory.append(frame_of(1, 0), time.time())
    assert memory.record_answer({"query": "where?", "ids": [1]})
    assert len(memory.frames()) == 1  # what an answer speaks of is there with it
    events = [event_of(1, n) for n in range(5)]
    assert all(memory.record_event(event) for event in events)
    delivered = events[2].model_copy(update={"delivered": "yes"})
    assert memory.record_event(delivered)
    assert memory.answers() == [{"query": "where?", "ids": [1]}]
    assert memory.events(limit=2) == events[3:]
    assert memory.events(events[0].id, 2) == [events[1], delivered]
    assert memory.event(events[2].id) == delivered
    assert memory.event("none") is None


def test_after_the_end_frames_are_refused_and_counted(memory: StreamMemory) -> None:
    fill(memory, 3, time.time())
    memory.close()
    memory.close()
    assert not memory.append(frame_of(1, 3), time.time())
    assert not memory.record_event(event_of(1, 1))
    assert memory.status().unstored == {"disk": 1, "event": 1}
    assert balanced(memory)


def test_a_new_opening_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "twin.sqlite"
    for n in range(2):
        memory = StreamMemory(path, RETENTION)
        fill(memory, 5, time.time() + n)
        memory.close()
    assert [r["run"] for r in memory.history(object_id=1)] == [1] * 5 + [2] * 5
    assert memory.counts()[0] == 10


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twin.sqlite").write_bytes(b"no database, but long enough" * 100)
    with pytest.raises(StoreError, match="not a database"):
        StreamMemory(tmp_path / "twin.sqlite")


def test_a_full_disk_stops_recording_only_and_is_told() -> None:
    """The limit of a file's size stands for a full disk: the write fails in the same place."""
    script = """
import json, resource, sys, tempfile, time
from pathlib import Path
from edgetwin.deploy.live.memory import StreamMemory
sys.path.insert(0, sys.argv[1])
from kill_store import frame_of
memory = StreamMemory(Path(tempfile.mkdtemp()) / "twin.sqlite")
frames = [frame_of(1, i) for i in range(900)]
def put(some):
    slowest = 0.0
    for frame in some:
        begin = time.perf_counter()
        memory.append(frame, time.time())
        slowest = max(slowest, time.perf_counter() - begin)
    return slowest
put(frames[:50]); assert memory.sync()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (memory.path.stat().st_size + 4096, hard))
slowest = put(frames[50:850])
assert not memory.sync(1.5)
full, warnings = memory.status(), memory.warnings()
event = memory.record_answer({"ids": [1]})
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert memory.sync(10.0), memory.status()
put(frames[850:]); assert memory.sync(10.0)
after = memory.status()
kept = [f.index for _, f in memory.frames(limit=900)]
later = memory.warnings()
memory.close()
print(json.dumps([vars(full), vars(after), warnings, later, kept, slowest, event]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(SCRIPT.parent)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    full, after, warnings, later, kept, slowest, answered = json.loads(done.stdout)
    assert full["unstored"]["disk"] > 0
    assert "Free space on the disk" in full["error"]
    assert warnings[0].startswith("not recording: expected to write the store")
    assert slowest < 0.5  # a frame never waited for the disk
    assert not answered
    lost = full["unstored"]["disk"]
    assert after["unstored"] == {"disk": lost, "answer": 1}
    assert after["appended"] == 900 == after["stored"] + lost
    assert after["error"] == ""
    assert later == [f"not stored since the start: 1 by answer, {lost} by disk"]
    assert len(kept) == after["stored"]
    assert kept[:50] == list(range(50))
    assert kept[-50:] == list(range(850, 900))
    assert kept == sorted(set(kept))


def test_a_disk_that_hangs_delays_no_frame(memory: StreamMemory) -> None:
    """Another program's write holds the store, and with it the writing thread."""
    fill(memory, 5, time.time() - 1)
    other = sqlite3.connect(memory.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    slowest, begin = 0.0, time.monotonic()
    for i in range(5, 65):
        before = time.perf_counter()
        assert memory.append(frame_of(1, i), time.time())
        memory.counts(), memory.status(), memory.warnings()
        slowest = max(slowest, time.perf_counter() - before)
        time.sleep(0.02)
    assert memory.status().waiting == 60
    assert memory.status().stored == 5
    other.execute("ROLLBACK")
    other.close()
    assert slowest < 0.5  # the writer waits 5 s for its turn
    assert time.monotonic() - begin < 5
    assert memory.sync(10.0)
    assert [frame for _, frame in memory.frames()] == [frame_of(1, i) for i in range(65)]


def test_a_reader_that_holds_the_log_stops_recording_before_the_bound(tmp_path: Path) -> None:
    memory = StreamMemory(tmp_path / "twin.sqlite", RETENTION)
    fill(memory, 10, time.time())
    with open_store(memory.path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM frames").fetchone()
        for i in range(10, 4000):
            memory.append(frame_of(1, i), time.time())
            if i % 100 == 0:
                memory.sync(0.3)
            if memory.status().unstored:
                break
        told = memory.warnings()
        assert memory.counts()[1] <= retention_module.MIN_BYTES
        reader.execute("COMMIT")
    assert any("close the program that reads the store" in line for line in told), told
    assert memory.sync(10.0)
    assert memory.status().error == ""
    assert memory.status().unstored["log"] > 0
    assert balanced(memory)
    memory.close()


def test_killed_recorders_leave_stores_that_open_and_hold_what_was_written(tmp_path: Path) -> None:
    """The short version of ``kill_store.py --trials 200``."""
    store = tmp_path / "cam" / "twin.sqlite"
    for n, after_s in enumerate((0.02, 0.4, 0.9)):
        found = trial(store, n, after_s)
        assert found.faults == []
        assert found.appended > 0
    assert found.stored > 0


def test_a_store_is_shown_checked_and_followed_while_it_is_written(tmp_path: Path) -> None:
    store = tmp_path / "cam" / "twin.sqlite"
    command = [sys.executable, str(SCRIPT), "--store", str(store), "--record", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        drain = threading.Thread(target=recorder.stdout.read)
        recorder.stdout.readline()
        drain.start()
        try:
            deadline = time.monotonic() + 20
            while not (store.is_file() and list(TwinFile(store).frames())):
                assert time.monotonic() < deadline
            for words in (["show", "--json"], ["check", "--json"]):
                done = subprocess.run(
                    [sys.executable, "-m", "edgetwin.cli", "twin", words[0], str(store), words[1]],
                    capture_output=True, text=True, timeout=60, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stdout + done.stderr
                told = json.loads(done.stdout)
                frames = told["frames"] if words[0] == "show" else told[0]["frames"]
                assert frames > 0
            file = TwinFile(store)
            seen = list(file.frames())
            while len(seen) < 60 or seen[-1].index < 60:
                seen += file.more()
                assert time.monotonic() < deadline + 20
            assert [c.faults for c in check_twin(store)] == [[]]
        finally:
            recorder.kill()
            drain.join()
    assert seen == [frame_of(5, i) for i in range(len(seen))]


def test_recording_costs_less_than_a_tenth_of_a_core(tmp_path: Path) -> None:
    """30 frames/s of 8 objects, with deletion for size at work; measured as processor time."""
    some = [frame_of(1, i) for i in range(40)]
    frames = [
        some[i % 40].model_copy(update={"index": i, "timestamp_s": i / FPS}) for i in range(1800)
    ]
    memory = StreamMemory(tmp_path / "twin.sqlite", Retention(max_bytes=4 * 2**20))
    begin = time.process_time()
    for i, frame in enumerate(frames):
        assert memory.append(frame, 4e9 + i / FPS)
        if i % 15 == 14:  # twice a second of the stream, as the writing thread does by itself
            assert memory.sync()
    used_s = time.process_time() - begin
    assert used_s / (len(frames) / FPS) < 0.1
    assert memory.counts()[0] < len(frames)  # some were deleted meanwhile
    begin = time.process_time()
    rows = memory.history(label="mug")
    assert len(rows) == 1000
    assert time.process_time() - begin < 1.0
    memory.close()
