"""A running source: its states, its clock, and that it can be stopped from anywhere."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.stream.live import MAX_ABANDONED, LiveSource, Retry
from edgetwin.deploy.stream.spec import parse_address
from edgetwin.deploy.stream.timeline import Timeline
from edgetwin.twin.errors import InputError, SourceError

from ..scenes import write_clip
from .feeds import QUICK, Script, Sink, reaches, scripted, source_threads, until


def test_a_file_gives_every_frame_and_ends(tmp_path: Path) -> None:
    sink = Sink()
    source = LiveSource(
        parse_address(str(write_clip(tmp_path / "clip.mp4"))), sink, stream_id="file"
    )
    assert source.status().state == "stopped"
    source.start()
    source.start()  # does nothing
    assert source.ended.wait(10)
    assert [f.index for f in sink.frames] == list(range(12))
    np.testing.assert_allclose([f.timestamp_s for f in sink.frames], np.arange(12) / 10, atol=1e-6)
    assert {f.source_id for f in sink.frames} == {"file"}
    status = source.status()
    assert (status.state, status.error, status.attempts, status.reconnects) == ("stopped", "", 1, 0)
    assert source.stop()
    assert not source_threads("file")


def test_a_looped_file_goes_on_in_time(tmp_path: Path) -> None:
    sink = Sink()
    address = parse_address(str(write_clip(tmp_path / "clip.mp4", frames=4)), loop=True)
    source = LiveSource(address, sink, stream_id="loop")
    source.start()
    assert sink.wait_for(10)
    assert source.stop()
    np.testing.assert_allclose(
        [f.timestamp_s for f in sink.frames[:10]], np.arange(10) / 10, atol=1e-6
    )


def test_a_live_file_takes_its_own_time(tmp_path: Path) -> None:
    sink = Sink()
    address = parse_address(str(write_clip(tmp_path / "clip.mp4", frames=6)), live=True)
    source = LiveSource(address, sink, stream_id="paced")
    source.start()
    assert source.ended.wait(10)
    assert 0.45 <= sink.arrived[-1] - sink.arrived[0] < 3  # 5 periods of 0.1 s, or a busy machine
    np.testing.assert_allclose([f.timestamp_s for f in sink.frames], np.arange(6) / 10, atol=1e-6)


def test_a_file_waits_for_its_sink_and_is_not_taken_for_stalled(tmp_path: Path) -> None:
    address = parse_address(str(write_clip(tmp_path / "clip.mp4", frames=3)))
    free, seen = threading.Event(), Sink()

    def slow(frame, arrived_s) -> None:  # type: ignore[no-untyped-def]
        seen(frame, arrived_s)
        free.wait(10)

    source = LiveSource(address, slow, stream_id="slow", retry=QUICK)
    source.start()
    assert seen.wait_for(1)
    time.sleep(2 * QUICK.stall_s)  # silence is what is tested
    assert (source.status().state, len(seen.frames)) == ("running", 1)
    free.set()
    assert source.ended.wait(10)
    assert len(seen.frames) == 3


def test_a_file_that_goes_away_ends_with_its_error(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    address = parse_address(str(clip))
    clip.unlink()
    source = LiveSource(address, Sink(), stream_id="gone")
    source.start()
    assert source.ended.wait(10)
    assert "does not exist" in source.status().error
    assert source.status().attempts == 1


def test_a_failing_device_is_tried_again_with_growing_pauses() -> None:
    opened: list[float] = []

    def failing() -> Script:
        opened.append(time.monotonic())
        return Script([SourceError("expected a device, got nothing")])

    retry = Retry(first_s=0.05, most_s=0.3, jitter=0.2, attempts=5)
    source = LiveSource(scripted(failing), Sink(), stream_id="failing", retry=retry)
    source.start()
    assert source.ended.wait(10)
    gaps = [b - a for a, b in pairwise(opened)]
    assert len(opened) == 5
    assert source.status().state == "stopped"
    for gap, due in zip(gaps, (0.05, 0.1, 0.2, 0.3), strict=True):
        assert gap >= 0.8 * due
    assert "got nothing" in source.status().error


@pytest.mark.parametrize("failures", [1, 3, 1000])
def test_a_delay_is_bounded_and_jittered(failures: int) -> None:
    retry = Retry(first_s=0.5, most_s=10.0)
    delays = {retry.delay_s(failures) for _ in range(50)}
    assert len(delays) > 1
    assert max(delays) <= 12.0
    assert min(delays) >= 0.4


def test_a_retry_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"first_s": 0}, {"most_s": 0.1}, {"factor": 0.5}, {"jitter": 1}, {"stall_s": 0}):
        with pytest.raises(InputError, match="expected"):
            Retry(**wrong)  # type: ignore[arg-type]


def test_a_source_comes_back_and_its_clock_goes_on() -> None:
    """Clocks that jump back, wrap or begin anew at a reconnect; sizes that change."""
    sink = Sink()
    address = scripted(
        lambda: Script([(5.0, 8), (5.04, 8), (0.0, 8), (95443.7, 8), (None, 8)]),
        lambda: Script([OSError(104, "Connection reset by peer")]),
        lambda: Script([(5.0, 16), (4.9, 16), "hang"]),
    )
    source = LiveSource(address, sink, stream_id="back", retry=QUICK)
    source.start()
    assert sink.wait_for(7)
    status = source.status()
    assert (status.state, status.attempts, status.reconnects) == ("running", 3, 1)
    assert source.stop()
    assert [f.index for f in sink.frames] == list(range(7))
    times = [f.timestamp_s for f in sink.frames]
    assert all(a < b for a, b in pairwise(times))
    assert times[-1] < 10
    assert [f.image_hw3.shape[1] for f in sink.frames] == [8] * 5 + [16] * 2


def test_a_silent_source_is_stalled_then_opened_again() -> None:
    sink = Sink()
    address = scripted(lambda: Script([(0.0, 8), "hang"]))
    source = LiveSource(address, sink, stream_id="silent", retry=QUICK)
    source.start()
    assert reaches(source, "stalled")
    assert sink.wait_for(3)
    assert source.status().reconnects >= 2
    assert source.stop()
    assert not source_threads("silent")


def test_frames_after_a_short_silence_make_it_run_again() -> None:
    address = scripted(lambda: Script([(0.0, 8), 0.3, (0.3, 8), (0.31, 8), "hang"]))
    sink = Sink()
    source = LiveSource(address, sink, stream_id="pause", retry=QUICK)
    source.start()
    assert reaches(source, "stalled")
    assert sink.wait_for(3)
    assert source.status().attempts == 1
    assert source.stop()


def test_a_source_without_a_first_picture_is_given_up_and_tried_again() -> None:
    source = LiveSource(scripted(lambda: Script(["hang"])), Sink(), stream_id="mute", retry=QUICK)
    source.start()
    assert until(lambda: source.status().attempts >= 3)
    assert "no picture" in source.status().error
    assert source.status().reconnects == 0
    assert source.stop()


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        ("opening", ["hang"]),
        ("running", [(0.0, 8), "hang"]),
        ("stalled", [(0.0, 8), "hang"]),
        ("backoff", [SourceError("expected a device")]),
        ("stopped", []),
    ],
)
def test_stop_is_legal_from_every_state(state: str, steps: list) -> None:  # type: ignore[type-arg]
    retry = Retry(first_s=5, stall_s=1.0 if state == "stalled" else 20)
    kind = "video" if state == "stopped" else "camera"
    address = scripted(lambda: Script(steps), kind=kind)  # type: ignore[arg-type]
    source = LiveSource(address, Sink(), stream_id="any", retry=retry)
    source.start()
    assert reaches(source, state)
    began = time.monotonic()
    assert source.stop()
    assert source.stop()
    assert time.monotonic() - began < 2
    assert source.status().state == "stopped"
    assert not source_threads("any")
    with pytest.raises(InputError, match="not stopped"):
        source.start()


def test_stop_before_start_is_legal() -> None:
    assert LiveSource(scripted(lambda: Script([])), Sink(), stream_id="never").stop()


def test_blocked_reads_are_abandoned_counted_and_bounded() -> None:
    """A read that ignores close() holds its thread; what it brings later is not delivered."""
    release, sink = threading.Event(), Sink()
    address = scripted(lambda: Script([(0.0, 8), "deaf", (99.0, 32)], release=release))
    retry = Retry(first_s=0.02, most_s=0.02, stall_s=0.2, open_s=0.2)
    source = LiveSource(address, sink, stream_id="deaf", retry=retry)
    source.start()
    assert until(lambda: source.abandoned == MAX_ABANDONED, 15)
    assert reaches(source, "backoff")
    time.sleep(0.2)  # ten times the retry: no further opening may come
    assert source.status().attempts == MAX_ABANDONED == len(sink.frames)
    began = time.monotonic()
    assert not source.stop()  # says that something is left behind
    assert time.monotonic() - began < 2.5
    release.set()
    assert until(lambda: not source_threads("deaf"))
    assert source.stop()
    assert {f.image_hw3.shape[1] for f in sink.frames} == {8}


def test_errors_and_threads_hold_no_credentials(tmp_path: Path) -> None:
    planted = "Hunter2!kestrel"
    address = parse_address(f"rtsp://admin:{planted}@127.0.0.1:1/x")
    source = LiveSource(address, Sink(), stream_id="secret", retry=Retry(first_s=5))
    source.start()
    assert reaches(source, "backoff")
    shown = f"{source.status()!r} {address!r} {source_threads('secret')}"
    assert source.stop()
    assert planted not in shown
    assert source.status().error


@pytest.mark.parametrize("problem", [RuntimeError("planted"), ZeroDivisionError("planted")])
def test_an_opener_that_fails_in_its_own_way_is_tried_again(problem: Exception) -> None:
    def failing() -> Script:
        raise problem

    source = LiveSource(scripted(failing), Sink(), stream_id="odd", retry=QUICK)
    source.start()
    assert until(lambda: source.status().attempts >= 3)
    assert source.status().error == f"{type(problem).__name__}: planted"
    assert source.stop()


def test_what_a_feed_says_of_its_rate_does_not_hide_a_stall() -> None:
    def slow() -> Script:
        script = Script([(0.0, 8), "hang"])
        script.fps = 0.001
        return script

    retry = Retry(first_s=0.05, stall_s=0.2)
    sink = Sink()
    source = LiveSource(scripted(slow), sink, stream_id="rate", retry=retry)
    source.start()
    assert sink.wait_for(2)
    assert sink.arrived[1] - sink.arrived[0] > 1.0  # six times stall_s
    assert source.stop()


def test_a_sink_that_fails_is_said_in_the_status(tmp_path: Path) -> None:
    def broken(frame, arrived_s) -> None:  # type: ignore[no-untyped-def]
        raise ValueError("no room")

    address = parse_address(str(write_clip(tmp_path / "clip.mp4", frames=3)))
    source = LiveSource(address, broken, stream_id="broken")
    source.start()
    assert source.ended.wait(10)
    assert source.status().error == "ValueError: no room"


def test_the_timeline_keeps_the_feeds_spacing_and_anchors_jumps() -> None:
    line = Timeline()
    got = [
        line.place(s, a, False)
        for s, a in ((7.0, 100.0), (7.1, 100.15), (7.2, 100.2), (3.0, 100.3))
    ]
    np.testing.assert_allclose(got, [0.0, 0.1, 0.2, 0.3])
    assert line.jumps == 1
    line.reopened()
    assert line.place(500.0, 104.0, False) == pytest.approx(4.0)
    assert line.place(500.0, 104.0, False) > 4.0
    assert line.place(None, 104.5, False) == pytest.approx(4.5)
