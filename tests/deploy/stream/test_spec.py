"""What a source is called, and that what is secret in it is never shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edgetwin.deploy.stream.feed import Feed, FeedOptions
from edgetwin.deploy.stream.secrets import hide, secrets_of
from edgetwin.deploy.stream.spec import parse_address, redacted
from edgetwin.twin.errors import SourceError

from ..scenes import picture, write_clip
from .feeds import Script

PLANTED = "Hunter2!kestrel"


@pytest.mark.parametrize(
    ("text", "kind", "live"),
    [
        ("rtsp://camera.lan/stream", "rtsp", True),
        ("RTSPS://camera.lan:322/stream", "rtsp", True),
        ("v4l2:/dev/video0?size=640x480&format=mjpeg", "camera", True),
        ("/dev/video3", "camera", True),
        ("gst:videotestsrc ! videoconvert", "gstreamer", True),
    ],
)
def test_devices_are_live_and_lasting(text: str, kind: str, live: bool) -> None:
    address = parse_address(text)
    assert (address.kind, address.live, address.lasting) == (kind, live, True)
    assert not parse_address(text, live=False).lasting  # its end is its end


def test_files_wait_unless_they_are_to_be_live(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    (tmp_path / "folder").mkdir()
    cv2.imwrite(str(tmp_path / "folder/1.png"), picture())
    for path, kind in (
        (clip, "video"),
        (tmp_path / "folder", "folder"),
        (tmp_path / "folder/1.png", "image"),
    ):
        address = parse_address(str(path))
        assert (address.kind, address.live, address.lasting) == (kind, False, False)
        assert parse_address(str(path), live=True).live


def test_floors_above_add_schemes() -> None:
    got: list[tuple[str, FeedOptions]] = []

    def opener(rest: str, options: FeedOptions) -> Callable[[], Feed]:
        got.append((rest, options))
        return lambda: Script([])

    address = parse_address("sim:cell?seed=7", fps=12, openers={"sim": opener})
    assert (address.kind, address.uri, address.live) == ("simulated", "sim:cell?seed=7", True)
    assert got == [("cell?seed=7", FeedOptions(12, True, False))]
    with pytest.raises(SourceError, match="sim:cell"):
        parse_address("sim:cell?seed=7")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a\nb",
        "a\0b",
        "x" * 5000,
        "http://host/video",
        "rtsp://",
        "rtsp:///path",
        "rtsp://host:99999/x",
        "rtsp://host:port/x",
        "v4l2:",
        "v4l2:/etc/passwd",
        "v4l2:/dev/video0?size=big",
        "v4l2:/dev/video0?other=1",
        "gst:",
        "gst:filesrc location=/etc/passwd ! filesink location=/tmp/x",
        "gst:videotestsrc 'unclosed",
        "/nowhere/at/all.mp4",
    ],
)
def test_what_is_no_source_is_said_so(text: str) -> None:
    with pytest.raises(SourceError, match="expected"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        f"rtsp://admin:{PLANTED}@10.0.0.4/stream",
        f"rtsp://admin:x@{PLANTED}@10.0.0.4:554/stream?channel=1",
        f"rtsp://{PLANTED}@10.0.0.4/stream",
        f"rtsp://admin:a/{PLANTED}@10.0.0.4/stream",
        f"rtsp://10.0.0.4/stream?user=admin&password={PLANTED}&channel=1",
        f"gst:rtspsrc location=rtsp://admin:{PLANTED}@10.0.0.4/s ! decodebin",
        f"gst:rtspsrc location=rtsp://10.0.0.4/s user-id=admin user-pw={PLANTED} ! decodebin",
        f'gst:souphttpsrc user-pw="{PLANTED}" location="http://10.0.0.4" ! jpegdec',
        f"rtsp://admin:it'{PLANTED}@10.0.0.4/stream",
        f'gst:rtspsrc location="rtsp://admin:a {PLANTED}@10.0.0.4/s" ! decodebin',
    ],
)
def test_credentials_are_taken_out(text: str) -> None:
    for part in (PLANTED, *PLANTED.split("!")):
        assert part not in redacted(text)
    assert "10.0.0.4" in redacted(text)
    assert PLANTED not in hide(f"could not open {text}: 401 for {PLANTED}", secrets_of(text))
    shown = []
    try:
        address = parse_address(text)
        shown += [repr(address), address.uri, address.scrub(f"wrong {PLANTED} given")]
    except SourceError as error:
        shown.append(str(error))
    assert PLANTED not in " ".join(shown)


def test_a_text_without_credentials_stays_as_it_is() -> None:
    for text in ("rtsp://10.0.0.4:554/a/b?channel=1", "/home/me/a@b.mp4", "gst:v4l2src ! x264enc"):
        assert redacted(text) == text


@pytest.mark.parametrize("word", ["x", "a://", "'", '"', "@", "pwd=", "'a://b@", "a://b@ "])
def test_redaction_takes_no_longer_for_odd_texts(word: str) -> None:
    text = word * (200_000 // len(word))
    began = time.process_time()
    redacted(text)
    secrets_of(text)
    assert time.process_time() - began < 3  # what is quadratic takes minutes
