"""Frames for a second look: files decoded again, the ring of a live stream, and both bounds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgetwin.deploy.refine import RecentFrames, SourceFrames
from edgetwin.deploy.stream.source import Source, open_source
from edgetwin.twin.errors import InputError, ToolError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.window import TwinWindow

VIDEO = Path(__file__).parents[2] / "examples" / "temporal.mp4"


def window_of(source: Source) -> TwinWindow:
    return TwinWindow(
        FrameTwin(index=f.index, timestamp_s=f.timestamp_s, width=8, height=8) for f in source
    )


def picture(value: int, side: int = 8) -> Frame:
    return Frame(value, value / 10, np.full((side, side, 3), value, np.uint8))


def test_a_videos_frames_are_the_same_again_whatever_the_order() -> None:
    source = open_source(VIDEO)
    first = {frame.index: frame.image_hw3 for frame in source}
    frames = SourceFrames(source, window_of(source), max_bytes=3 * 256 * 256 * 3)
    for index in (31, 0, 17):
        again = frames.frame_at(index)
        assert again.index == index
        assert np.array_equal(again.image_hw3, first[index])
    several = list(frames.frames_at([0, 5, 6, 30]))
    assert [frame.index for frame in several] == [0, 5, 6, 30]
    assert all(np.array_equal(frame.image_hw3, first[frame.index]) for frame in several)
    assert frames.held([3, 99, 31]) == [3, 31]
    with pytest.raises(ToolError, match=r"a frame of temporal.mp4 in the window, got 99"):
        frames.frame_at(99)
    assert list(frames.frames_at([])) == []


def test_what_was_decoded_is_kept_up_to_the_bound() -> None:
    source = open_source(VIDEO)
    window = window_of(source)
    small = SourceFrames(source, window, max_bytes=2 * 256 * 256 * 3)
    for index in (3, 4, 5):
        small.frame_at(index)
    before = small.decoded
    small.frame_at(5)
    small.frame_at(4)
    assert small.decoded == before
    small.frame_at(3)  # was dropped: the third of two
    assert small.decoded > before
    with pytest.raises(InputError, match="positive number of bytes"):
        SourceFrames(source, window, max_bytes=0)


def test_a_video_is_entered_at_a_key_frame(tmp_path: Path) -> None:
    import av

    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.gop_size = "yuv420p", 5
        for value in range(40):
            image = np.full((64, 64, 3), 6 * value, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    source = open_source(path)
    once = {frame.index: frame.image_hw3 for frame in source}
    frames = SourceFrames(source, window_of(source))
    assert np.array_equal(frames.frame_at(38).image_hw3, once[38])
    assert frames.decoded <= 10
    assert (source.status, source.reason) == ("ok", "")


def test_frames_that_are_not_where_they_should_be_are_counted_out() -> None:
    source = open_source(VIDEO)
    once = list(source)
    shifted = TwinWindow(
        FrameTwin(index=f.index, timestamp_s=f.timestamp_s + 0.05, width=8, height=8) for f in once
    )
    frames = SourceFrames(source, shifted)
    found = list(frames.frames_at([2, 9]))
    assert [f.index for f in found] == [2, 9]
    assert np.array_equal(found[1].image_hw3, once[9].image_hw3)
    assert found[1].timestamp_s == shifted.frames[9].timestamp_s
    assert source.status == "ok"


def test_a_folder_is_read_where_it_is_wanted_and_stays_partial(tmp_path: Path) -> None:
    for value in range(12):
        cv2.imwrite(str(tmp_path / f"{value}.png"), np.full((8, 8, 3), 10 * value, np.uint8))
    (tmp_path / "4.png").write_bytes(b"no picture")
    source = open_source(tmp_path, fps=4)
    window = window_of(source)
    assert (source.status, source.dropped) == ("partial", {"unreadable": 1})
    frames = SourceFrames(source, window)
    assert frames.frame_at(9).image_hw3[0, 0, 0] == 100  # the tenth readable one is 10.png
    assert frames.decoded < 9
    assert frames.frame_at(3).image_hw3[0, 0, 0] == 30
    assert (source.status, source.dropped) == ("partial", {"unreadable": 1})
    assert "1 of 12 pictures" in source.reason


def test_a_picture_is_its_own_frame(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), 77, np.uint8))
    source = open_source(path)
    assert SourceFrames(source, window_of(source)).frame_at(0).image_hw3[3, 3, 1] == 77


def test_the_ring_holds_the_newest_frames_only() -> None:
    ring = RecentFrames(max_frames=3)
    with pytest.raises(ToolError, match=r"recent frames \(none yet\), got 0"):
        ring.frame_at(0)
    for value in range(10):
        ring.push(picture(value))
    assert ring.held(range(10)) == [7, 8, 9]
    assert [f.index for f in ring.frames_at([2, 7, 9])] == [7, 9]
    with pytest.raises(ToolError, match=r"recent frames \(7 to 9\), got 6, which is no longer"):
        ring.frame_at(6)
    ring.push(picture(9))
    assert ring.held(range(10)) == [7, 8, 9]


def test_the_ring_is_bounded_in_bytes_too() -> None:
    ring = RecentFrames(max_frames=100, max_bytes=2 * 8 * 8 * 3)
    for value in range(5):
        ring.push(picture(value))
    assert ring.held(range(5)) == [3, 4]
    ring.push(picture(5, side=64))  # larger than the bound alone: the newest is always there
    assert ring.held(range(6)) == [5]
    for bad in ({"max_frames": 0}, {"max_bytes": 0}):
        with pytest.raises(InputError, match="positive max_frames and max_bytes"):
            RecentFrames(**bad)
