"""What a source is called: files, folders, cameras, RTSP, GStreamer pipelines, simulated worlds.

::

    clip.mp4 · picture.png · folder/        read as they are; with live=True in their own time
    rtsp://user:password@camera/stream      over TCP; rtsps:// too
    v4l2:/dev/video0?size=1280x720          a camera of this machine; /dev/video0 alone as well
    gst:v4l2src ! videoconvert              a GStreamer pipeline without its sink
    sim:cell?seed=7                         what floors above add: see ``openers``

Credentials stay inside :attr:`Address.open`: everything else is for people's eyes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...twin.errors import SourceError
from .feed import Feed, FeedOptions, FileFeed, Opener
from .records import SourceKind
from .secrets import hide, redacted, secrets_of
from .source import open_source

__all__ = ["Address", "Feed", "FeedOptions", "Opener", "parse_address", "redacted"]

_MAX_FPS = 240.0
_MAX_TEXT = 4096  # as in StreamSpec
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.I)
_KNOWN = "a file, a folder, rtsp://…, v4l2:/dev/video0 or gst:PIPELINE"


@dataclass(frozen=True)
class Address:
    """A source that can be opened, again and again.

    Attributes:
        kind: what it is.
        uri: without credentials, for people.
        live: it runs in its own time, and who is slow misses frames.
        open: makes a feed without blocking.
        scrub: takes this address's credentials out of any text.
    """

    kind: SourceKind
    uri: str
    live: bool
    open: Callable[[], Feed] = field(repr=False)
    scrub: Callable[[str], str] = field(default=redacted, repr=False)

    @property
    def lasting(self) -> bool:
        """Whether its end is a failure, to be tried again: a device, no file."""
        return self.live and self.kind in ("camera", "rtsp", "gstreamer")


def parse_address(
    text: str,
    *,
    fps: float = 10.0,
    live: bool | None = None,
    loop: bool = False,
    openers: Mapping[str, Opener] | None = None,
) -> Address:
    """Return what a text means.

    Args:
        text: see the head of this file.
        fps: the rate asked of a camera or simulation, and given to a folder of pictures.
        live: overrides the kind: True for all but files.
        loop: a file begins anew when it ends.
        openers: further schemes, such as ``sim``; their kind is ``"simulated"``.

    Raises:
        SourceError: if it is no source, or a file that cannot be read; without credentials.
    """
    text = text.strip()
    if not text or len(text) > _MAX_TEXT or any(ord(c) < 32 for c in text):
        raise SourceError(
            f"expected {_KNOWN} in one line of at most {_MAX_TEXT} characters, "
            f"got {len(text)} characters: give one source"
        )
    if not 0 < fps <= _MAX_FPS:
        raise SourceError(f"expected a rate in (0, {_MAX_FPS:g}] frames per second, got {fps}")
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    rest = text[len(scheme) + 1 :]
    options = FeedOptions(fps, live is not False, loop)
    kind: SourceKind
    if openers and scheme in openers:
        kind, make = "simulated", openers[scheme](rest, options)
    elif scheme in ("rtsp", "rtsps"):
        from .av_feed import rtsp_opener

        kind, make = "rtsp", rtsp_opener(text, options)
    elif scheme == "v4l2" or text.startswith("/dev/video"):
        from .av_feed import camera_opener

        kind, make = "camera", camera_opener(rest if scheme else text, options)
    elif scheme == "gst":
        from .gst_feed import gst_opener

        kind, make = "gstreamer", gst_opener(rest, options)
    elif "://" in text:
        raise SourceError(f"expected {_KNOWN}, got {redacted(text)}: give one of these")
    else:
        return _file(text, FeedOptions(fps, live is True, loop))
    secrets = secrets_of(text)
    return Address(kind, redacted(text), options.live, make, lambda said: hide(said, secrets))


def _file(text: str, options: FeedOptions) -> Address:
    path = Path(text).expanduser()
    kind = open_source(path, options.fps).kind
    kinds: dict[str, SourceKind] = {"video": "video", "image": "image", "folder": "folder"}
    return Address(kinds[kind], redacted(text), options.live, lambda: FileFeed(path, options))
