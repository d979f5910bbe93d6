"""Kill a recorder with SIGKILL while it writes 30 frames/s, again and again, and look at what lies there.

    python tests/deploy/live/kill_store.py --trials 200 [--store FOLDER/twin.sqlite]

Every trial records to the same store, which is bounded at 4 MiB, so that old frames are being
deleted while the recorder dies. After each: the store opens; SQLite and ``edgetwin twin check``
find nothing; every frame equals what was written, in one piece up to its tail; the lost tail is
younger than a second; every event that was acknowledged is there. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgetwin.deploy.live.memory import Retention, StreamMemory
from edgetwin.deploy.live.records import Event
from edgetwin.deploy.twin_check import check_twin
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.store import TwinStore

FPS = 30.0
OBJECTS = 8
RETENTION = Retention(max_bytes=4 * 2**20)
MOST_LOST_S = 1.0
_HEIGHT, _WIDTH = 96, 128
_LABELS = ("mug", "bowl", "ball", "box")


class Trial(NamedTuple):
    """One killed recorder: what it had appended, what of it lies in the store, what is wrong."""

    appended: int
    stored: int
    lost_s: float
    events: int
    faults: list[str]


def frame_of(seed: int, index: int) -> FrameTwin:
    """The frame that the recorder of this seed writes at ``index``: no two are alike."""
    rows, columns = np.ogrid[:_HEIGHT, :_WIDTH]
    objects = {}
    for key in range(1, OBJECTS + 1):
        x, y = 12 + (seed * 7 + index + 13 * key) % 100, 12 + (seed + 3 * index + 9 * key) % 70
        pixels_hw = (columns - x) ** 2 + (rows - y) ** 2 < (4 + key % 5) ** 2
        mask = rle.encode(pixels_hw)
        objects[key] = ObjectTwin(
            id=key,
            semantic_label=_LABELS[key % len(_LABELS)],
            attributes={"color": "red"},
            confidence=0.5 + key / 100,
            mask=mask,
            box_xyxy=rle.to_box(mask),
            centroid=(float(x), float(y)),
            area=rle.area(mask),
            mean_depth=0.5 + index / 1e4,
            first_seen=0.0,
            last_seen=index / FPS,
        )
    return FrameTwin(
        source_id=f"cam{seed}",
        index=index,
        timestamp_s=index / FPS,
        width=_WIDTH,
        height=_HEIGHT,
        objects=objects,
    )


def event_of(seed: int, index: int) -> Event:
    """The event that the recorder of this seed raises at ``index``."""
    return Event(
        id=f"ev-{seed}-{index}",
        standing="st-1",
        stream="cam",
        question="is there a mug?",
        at=time.time(),
        timestamp_s=index / FPS,
        frame_index=index,
        ids=[1],
        objects=[],
        reason=f"frame {index} of {seed}",
        delay_ms=1.0,
    )


def record(store: Path, seed: int) -> None:
    """Record for ever at 30 frames/s; one line per frame and per event that is stored."""
    memory = StreamMemory(store, RETENTION)
    begin = time.monotonic()
    for index in range(1_000_000):
        time.sleep(max(0.0, begin + index / FPS - time.monotonic()))
        taken = memory.append(frame_of(seed, index), time.time())
        print("frame" if taken else "dropped", index, time.monotonic(), flush=True)
        if index % 7 == 3 and memory.record_event(event_of(seed, index)):
            print("event", index, time.monotonic(), flush=True)


def trial(store: Path, seed: int, after_s: float) -> Trial:
    """Record for ``after_s`` seconds, kill, and look."""
    command = [sys.executable, str(Path(__file__)), "--store", str(store), "--record", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        lines = [recorder.stdout.readline()]  # the recorder is at work now
        time.sleep(after_s)
        recorder.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        lines += recorder.stdout.read().splitlines()
    said = [line.split() for line in lines if len(line.split()) == 3]
    if recorder.returncode != -signal.SIGKILL or not said:
        return Trial(0, 0, 0.0, 0, [f"the recorder ended by itself: {recorder.returncode}"])
    times = {int(index): float(at) for kind, index, at in said if kind == "frame"}
    acknowledged = [int(index) for kind, index, _ in said if kind == "event"]
    faults = [f"frame {index} was dropped" for kind, index, _ in said if kind == "dropped"]
    faults += [str(fault) for checked in check_twin(store) for fault in checked.faults]
    stored = _stored(store, seed, faults)
    lost = [at for index, at in times.items() if index > (stored[-1] if stored else -1)]
    lost_s = killed - min(lost) if lost else 0.0
    if lost_s > MOST_LOST_S:
        faults.append(f"{lost_s:.2f} s were lost")
    _look_at_events(store, seed, acknowledged, faults)
    return Trial(len(times), len(stored), lost_s, len(acknowledged), faults)


def _stored(store: Path, seed: int, faults: list[str]) -> list[int]:
    """Indexes of the killed recorder's frames; whatever is not as it was written is a fault."""
    with TwinStore(store) as db:
        runs = db.runs()
        frames = list(db.frames(run=runs[-1])) if runs else []
    if not frames or frames[0].source_id != f"cam{seed}":
        return []
    indexes = [frame.index for frame in frames]
    first = indexes[0] if len(runs) == 1 else 0  # the oldest frames of all may have been deleted
    if indexes != list(range(first, first + len(indexes))):
        faults.append(f"indexes with a gap: {indexes}")
    faults += [
        f"frame {f.index} is not what was written" for f in frames if f != frame_of(seed, f.index)
    ]
    return indexes


def _look_at_events(store: Path, seed: int, acknowledged: list[int], faults: list[str]) -> None:
    memory = StreamMemory(store, RETENTION)
    for index in acknowledged:
        found = memory.event(f"ev-{seed}-{index}")
        if found is None or found.reason != event_of(seed, index).reason:
            faults.append(f"event {index} was acknowledged and is {found}")
    memory.close()


def main() -> None:
    """Run the trials and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--record", type=int)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.record is not None:
        record(given.store, given.record)
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or Path(folder) / "cam" / "twin.sqlite"
        dice = random.Random(given.seed)
        begin = time.monotonic()
        trials = [trial(store, n, dice.uniform(0.05, 1.6)) for n in range(given.trials)]
        told: dict[str, Any] = {
            "trials": len(trials),
            "frames_appended": sum(t.appended for t in trials),
            "frames_stored": sum(t.stored for t in trials),
            "events_acknowledged": sum(t.events for t in trials),
            "most_lost_s": round(max(t.lost_s for t in trials), 3),
            "file_bytes": store.stat().st_size,
            "seconds": round(time.monotonic() - begin),
            "faults": [fault for t in trials for fault in t.faults],
        }
    print(json.dumps(told))
    raise SystemExit(1 if told["faults"] else 0)


if __name__ == "__main__":
    main()
