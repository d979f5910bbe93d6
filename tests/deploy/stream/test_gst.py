"""GStreamer pipelines in a real process, and cameras as far as they go without one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.stream.live import LiveSource, Retry
from edgetwin.deploy.stream.spec import parse_address

from .feeds import Sink, reaches, source_threads, until

RETRY = Retry(first_s=0.2, most_s=0.5)
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed"
)


def processes(word: str) -> list[int]:
    """Running processes of this test that have a word among their arguments."""
    said = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True
    )
    return [int(line.split()[0]) for line in said.stdout.splitlines() if word in line]


def source_of(pipeline: str, sink: Sink, live: bool | None = None) -> LiveSource:
    address = parse_address(f"gst:{pipeline}", live=live)
    source = LiveSource(address, sink, stream_id="gst", retry=RETRY)
    source.start()
    return source


@needs_gstreamer
@pytest.mark.parametrize(("width", "height"), [(64, 48), (70, 50), (71, 51)])
def test_pictures_of_any_size_come_in_their_colours(width: int, height: int) -> None:
    sink = Sink()
    caps = f"video/x-raw,width={width},height={height}"
    source = source_of(
        f"videotestsrc num-buffers=3 pattern=solid-color foreground-color=0xff2060e0 ! {caps}",
        sink,
        live=False,
    )
    assert source.ended.wait(10)
    assert [f.image_hw3.shape for f in sink.frames] == [(height, width, 3)] * 3
    for pixel in (sink.frames[0].image_hw3[0, 0], sink.frames[2].image_hw3[-1, -1]):
        assert pixel.tolist() == pytest.approx([0x20, 0x60, 0xE0], abs=4)
    assert source.status().error == ""


@needs_gstreamer
def test_a_pipeline_that_ends_is_begun_anew_when_it_is_live() -> None:
    sink = Sink()
    source = source_of("videotestsrc num-buffers=2", sink)
    assert sink.wait_for(6)
    assert source.status().reconnects >= 2
    assert source.stop()
    assert not source_threads("gst")


@needs_gstreamer
def test_a_pipeline_that_changes_its_size_is_opened_anew() -> None:
    """The pipe would carry the new pictures unannounced: none may come out wrong."""
    sink = Sink()
    part = "videotestsrc num-buffers=4 is-live=true pattern={} ! video/x-raw,width={},height={}"
    small, large = part.format("red", 64, 48), part.format("blue", 128, 96)
    pipeline = f"{small} ! c. {large} ! c. concat name=c ! queue"
    source = source_of(pipeline, sink, live=False)
    assert source.ended.wait(10)
    assert "opened anew" in source.status().error
    assert len(sink.frames) >= 3
    for frame in sink.frames:
        assert frame.image_hw3.shape == (48, 64, 3)
        assert np.abs(frame.image_hw3.astype(int) - (254, 0, 0)).max() < 4


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "why"),
    [
        ("nosuchelement ! videoconvert", "nosuchelement"),
        ("videotestsrc pattern=nosuch", "nosuch"),
        ("filesrc location=/nowhere.mp4 ! decodebin", "nowhere"),
        ("v4l2src device=/dev/video99 user-pw=Hunter2kestrel", "user-pw"),
    ],
)
def test_what_a_pipeline_complains_about_is_said(pipeline: str, why: str) -> None:
    source = source_of(pipeline, Sink())
    assert until(lambda: source.status().error != "")
    assert why in source.status().error
    assert "Hunter2kestrel" not in f"{source.status()!r}"
    assert source.stop()


@needs_gstreamer
@pytest.mark.parametrize("where", ["opening", "running"])
def test_stop_leaves_no_process_behind(where: str) -> None:
    name = f"planted{time.monotonic_ns()}"
    silent = "videotestsrc is-live=true ! valve drop=true !"
    head = silent if where == "opening" else "videotestsrc is-live=true !"
    sink = Sink()
    source = source_of(f"{head} identity name={name}", sink)
    assert reaches(source, where)
    assert until(lambda: bool(processes(name)))
    began = time.monotonic()
    assert source.stop()
    assert time.monotonic() - began < 2
    assert not processes(name)
    assert not source_threads("gst")


@needs_gstreamer
def test_a_killed_pipeline_is_begun_anew() -> None:
    name = f"planted{time.monotonic_ns()}"
    sink = Sink()
    source = source_of(f"videotestsrc is-live=true ! identity name={name}", sink)
    assert sink.wait_for(3)
    (pid,) = processes(name)
    os.kill(pid, signal.SIGKILL)
    seen = len(sink.frames)
    assert sink.wait_for(seen + 3)
    assert until(lambda: source.status().reconnects == 1)
    assert source.stop()


def test_no_shell_reads_a_pipeline(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    source = source_of(f"videotestsrc ; touch {planted} ; $(touch {planted})", Sink())
    assert until(lambda: source.status().error != "")
    assert source.stop()
    assert not planted.exists()


def test_a_camera_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    for device in ("/dev/video97", "/dev/null"):
        source = LiveSource(
            parse_address(f"v4l2:{device}?size=640x480"), Sink(), stream_id="camera", retry=RETRY
        )
        source.start()
        assert until(lambda s=source: s.status().attempts >= 2)
        assert device in source.status().error
        assert source.status().kind == "camera"
        assert source.stop()
        assert not source_threads("camera")
