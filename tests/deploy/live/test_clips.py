"""Pictures and clips of events: small tapes, real H.264, a bounded folder, a bounded thread."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgetwin.deploy.live.clips import Scribe, Shelf, Tape, write_clip, write_picture
from edgetwin.deploy.stream.draw import Caption
from edgetwin.twin.errors import OutputError

from .standings import thing, twin, until

CAPTION = Caption("tell me when a mug moves", "#1 red mug: mug that moved", (1,))


def taped(seconds: float = 2.0, width: int = 100) -> Tape:
    tape = Tape(seconds, 1000)
    for k in range(60):
        image = np.full((width, width, 3), (40 + k, 90, 200), np.uint8)
        tape.add(image, twin(10 + k / 10, thing(1, 20 + k)))
    return tape


def test_a_tape_is_bounded_and_small() -> None:
    tape = taped()
    kept = tape.between(0, 100)
    assert 20 <= len(kept) <= 21
    assert [t.twin.timestamp_s for t in tape.between(15.0, 15.21)] == pytest.approx(
        [15.0, 15.1, 15.2]
    )
    assert max(abs(kept[-1].picture().mean((0, 1)) - (99, 90, 200))) < 4
    full = Tape(100.0, 5)
    for k in range(20):
        full.add(np.zeros((1080, 1920, 3), np.uint8), twin(k / 10))
    assert len(full) == 5
    assert full.between(0, 9)[-1].picture().shape == (360, 640, 3)
    tape.add(np.zeros((10, 10, 3), np.uint8), twin(1.0))  # the clock went back
    assert len(tape) == 1


def test_a_span_is_kept_however_fast_the_stream_goes_on() -> None:
    tape = Tape(1.0, 100)
    image = np.zeros((10, 10, 3), np.uint8)
    for k in range(10):
        tape.add(image, twin(k / 10))
    span = tape.follow(0.5, 1.5)
    for k in range(10, 200):  # long over before anyone asks for it
        tape.add(image, twin(k / 10))
    assert [round(10 * t.twin.timestamp_s) for t in span()] == list(range(5, 16))
    assert not tape._followed
    for _ in range(300):
        tape.follow(0.0, 1e9)
    tape.add(image, twin(0.0))  # the clock went back
    assert not tape._followed


def test_a_picture_shows_what_the_event_is_about(tmp_path: Path) -> None:
    (one,) = taped().between(15.9, 15.9)
    write_picture(tmp_path / "e.jpg", one, CAPTION)
    drawn = cv2.imread(str(tmp_path / "e.jpg"))
    assert drawn is not None
    assert drawn.shape[0] > drawn.shape[1] >= 512  # the caption stands below
    green = (drawn[..., 1] > 180) & (drawn[..., 0] < 140) & (drawn[..., 2] < 120)
    assert green.sum() > 500
    assert [p.name for p in tmp_path.iterdir()] == ["e.jpg"]


def test_a_clip_is_h264_with_its_own_clock(tmp_path: Path) -> None:
    write_clip(tmp_path / "e.mp4", taped().between(14.0, 15.9), CAPTION)
    with av.open(str(tmp_path / "e.mp4")) as clip:
        stream = clip.streams.video[0]
        times = [float(frame.time or 0) for frame in clip.decode(video=0)]
        assert stream.codec_context.name == "h264"
    assert times[0] == 0
    assert times[-1] == pytest.approx(1.9, abs=0.02)
    assert len(times) == 20
    assert [p.name for p in tmp_path.iterdir()] == ["e.mp4"]
    with pytest.raises(OutputError, match="gone already"):
        write_clip(tmp_path / "none.mp4", [], CAPTION)


def test_one_picture_is_a_clip_too(tmp_path: Path) -> None:
    write_clip(tmp_path / "e.mp4", taped().between(15.0, 15.0), CAPTION)
    with av.open(str(tmp_path / "e.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 1


def test_a_shelf_removes_the_oldest_of_its_own(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "events", max_files=3, max_bytes=250)
    other = shelf.path("notes.txt")
    other.write_text("mine")
    for k in range(5):
        path = shelf.path(f"e{k}.jpg")
        path.write_bytes(b"x" * 100)
        stamp = 1000 + k
        os.utime(path, (stamp, stamp))
        shelf.tidy()
    assert sorted(p.name for p in shelf.folder.iterdir()) == ["e3.jpg", "e4.jpg", "notes.txt"]
    assert shelf.removed == 3


def test_a_scribe_does_its_jobs_in_their_time() -> None:
    scribe, done = Scribe(), list[str]()
    now = time.monotonic()
    scribe.put(lambda: done.append("later"), now + 0.15)
    scribe.put(lambda: done.append("first"))
    scribe.put(lambda: done.append("at the end"), now + 60)
    until(lambda: done == ["first", "later"])
    assert time.monotonic() - now >= 0.15
    assert scribe.close()  # what waits is done at once
    assert done == ["first", "later", "at the end"]
    assert not scribe.put(lambda: done.append("too late"))
    assert scribe.close()


def test_a_scribe_ends_in_time_whatever_waits() -> None:
    scribe = Scribe()
    for _ in range(50):
        scribe.put(lambda: time.sleep(0.2))
    began = time.monotonic()
    assert scribe.close(2.0)
    assert time.monotonic() - began < 2.0
    assert scribe.dropped > 30
    assert not any(t.name == "edgetwin-scribe" for t in threading.enumerate())


def test_a_scribe_is_bounded_and_survives_failures() -> None:
    scribe, gate = Scribe(most=2), threading.Event()
    begun = threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait(10)

    def fail() -> None:
        raise OutputError("expected room on the disk, got none")

    def break_() -> None:
        raise ValueError("an encoder")

    assert scribe.put(hold)
    assert begun.wait(10)
    assert scribe.put(fail)
    assert scribe.put(break_)
    assert not scribe.put(fail)
    assert scribe.dropped == 1
    gate.set()
    until(lambda: scribe.failed == 2)
    assert "an encoder" in scribe.error
    ran = threading.Event()
    scribe.put(ran.set)
    assert ran.wait(10)
    assert scribe.close()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "e.jpg"
    with pytest.raises(OutputError, match="expected to write"):
        write_picture(target, taped().between(15.9, 15.9)[0], CAPTION)
    with pytest.raises(OutputError, match="expected to write"):
        write_clip(target.with_suffix(".mp4"), taped().between(15.0, 15.9), CAPTION)
