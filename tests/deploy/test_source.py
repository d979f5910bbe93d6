"""Sources: what is decoded, when, and what happens to files that are broken."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgetwin.deploy.stream.source import open_source
from edgetwin.twin.errors import SourceError

from .scenes import RED, picture, write_clip, write_timed


def test_video_gives_every_frame_with_its_time(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "clip.mp4"))
    frames = list(source)
    assert [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.timestamp_s for f in frames], np.arange(12) / 10, atol=1e-6)
    assert (source.status, source.frame_count, source.fps) == ("ok", 12, 10.0)
    assert frames[5].source_id == "clip.mp4"
    error = np.abs(frames[3].image_hw3.astype(int) - picture(3)).mean()
    assert error < 4  # lossy, but the same picture in RGB order


def test_a_source_can_be_read_twice(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "clip.mp4"))
    first, second = list(source), list(source)
    assert len(first) == len(second) == 12
    assert np.array_equal(first[7].image_hw3, second[7].image_hw3)


def test_variable_rate_keeps_the_files_own_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.51, 2.0]
    source = open_source(write_timed(tmp_path / "vfr.mp4", times))
    got = [f.timestamp_s for f in source]
    np.testing.assert_allclose(got, times, atol=2e-3)
    assert all(a < b for a, b in pairwise(got))


def test_rotation_metadata_turns_the_frames_upright(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "portrait.mp4", frames=2)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of fields
    one = 0x10000
    assert int.from_bytes(data[at : at + 4]) == one
    turned = (0, one, 0, -one, 0, 0, 96 << 16, 0, 0x40000000)  # shown 90 degrees clockwise
    data[at : at + 36] = b"".join((v & 0xFFFFFFFF).to_bytes(4) for v in turned)
    path.write_bytes(data)
    frame = next(iter(open_source(path)))
    assert frame.image_hw3.shape == (128, 96, 3)
    upright = np.rot90(picture(0), -1)
    assert np.abs(frame.image_hw3.astype(int) - upright).mean() < 4


def test_picture_is_a_one_frame_video(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), picture()[:, :, ::-1])
    source = open_source(tmp_path / "one.png")
    (frame,) = source
    assert (source.kind, frame.index, frame.timestamp_s) == ("image", 0, 0.0)
    assert np.array_equal(frame.image_hw3, picture())


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    ok, jpeg = cv2.imencode(".jpg", picture()[:, :, ::-1])
    assert ok
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff  # orientation 6: turn 90 degrees clockwise to see it upright
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body
    data = jpeg.tobytes()
    (tmp_path / "phone.jpg").write_bytes(data[:2] + segment + data[2:])
    (frame,) = open_source(tmp_path / "phone.jpg")
    assert frame.image_hw3.shape == (128, 96, 3)
    assert frame.image_hw3[20, 96 - 30].tolist() == pytest.approx(RED, abs=30)


def test_folder_is_read_in_natural_order_at_its_rate(tmp_path: Path) -> None:
    for step, name in enumerate(("1.png", "2.png", "10.png")):
        cv2.imwrite(str(tmp_path / name), picture(step)[:, :, ::-1])
    (tmp_path / "notes.txt").write_text("no picture")
    frames = list(open_source(tmp_path, fps=4))
    assert [f.timestamp_s for f in frames] == [0.0, 0.25, 0.5]
    for step, frame in enumerate(frames):
        assert np.array_equal(frame.image_hw3, picture(step))


def test_folder_leaves_out_bad_pictures_and_says_so(tmp_path: Path) -> None:
    for step in range(3):
        cv2.imwrite(str(tmp_path / f"{step}.png"), picture(step)[:, :, ::-1])
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    cv2.imwrite(str(tmp_path / "3.png"), picture(width=64)[:, :64, ::-1][:50])
    source = open_source(tmp_path)
    assert len(list(source)) == 2
    assert source.status == "partial"
    assert source.reason.startswith("2 of 4 pictures left out")
    assert "1.png" in source.reason


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_that_ends_mid_frame_keeps_what_was_decoded(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"cut.{suffix}", frames=40, movflags="faststart")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    source = open_source(path)
    kept = len(list(source))
    assert 3 < kept < 40
    assert source.status == "partial"
    assert f"kept the {kept} frames" in source.reason
    assert "\n" not in source.reason


def test_damaged_packets_are_left_out(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "bad.mp4", frames=40, movflags="faststart")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        places = [(p.pos or 0, p.size) for p in packets]
    data = bytearray(path.read_bytes())
    where, size = places[20]
    data[where : where + size] = b"\xff" * size
    path.write_bytes(data)
    source = open_source(path)
    assert 30 < len(list(source)) < 40
    assert source.status == "partial"


def _text(path: Path) -> None:
    path.write_text("this is no video\n" * 100)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def _no_index(path: Path) -> None:
    data = write_clip(path, frames=30).read_bytes()
    path.write_bytes(data[: len(data) // 2])  # the index stands at the end: it is gone


def _sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("make", [_text, _empty, _noise, _no_index, _sound_only])
def test_what_is_no_video_is_an_error(tmp_path: Path, make: object) -> None:
    path = tmp_path / "clip.mp4"
    assert callable(make)
    make(path)
    with pytest.raises(SourceError, match=r"clip\.mp4"):
        list(open_source(path))


def test_text_is_not_drawn_as_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "readme.txt"  # FFmpeg would render it as a terminal
    _text(path)
    with pytest.raises(SourceError, match="without a readable one"):
        open_source(path)


def test_a_playlist_cannot_reach_the_network(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError):
        list(open_source(path))


def test_missing_empty_and_special_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "none.mp4")
    with pytest.raises(SourceError, match="without any"):
        open_source(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither"):
        open_source(tmp_path / "pipe")
    with pytest.raises(SourceError, match="frames per second"):
        open_source(tmp_path, fps=0)


def test_a_giant_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    (tmp_path / "bomb.png").write_bytes(bomb + chunk(b"IEND", b""))
    with pytest.raises(SourceError, match=r"megapixels|cannot be decoded"):
        open_source(tmp_path / "bomb.png")
