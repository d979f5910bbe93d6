"""Cameras on the network (RTSP over TCP) and on this machine (V4L2), through PyAV (FFmpeg).

RTSP goes through a :class:`~edgetwin.deploy.stream.tether.Tether`, so that an opening or a read
that hangs ends when the feed is closed. What cannot be decoded is counted and left out; pictures
have the size that the camera sends now.

Not covered: RTSP over UDP or HTTP; certificates of ``rtsps`` are not verified; a V4L2 driver
that never returns from a read holds its thread (the source counts it as abandoned).
"""

from __future__ import annotations

import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import SourceError
from .feed import Feed, FeedOptions
from .secrets import redacted
from .source import MAX_PIXELS, upright
from .tether import Tether

__all__ = ["CameraFeed", "RtspFeed", "camera_opener", "rtsp_opener"]

Image = NDArray[np.uint8]
_OPEN_S = 10.0  # connecting, describing and the first key frame of a slow camera
_READ_S = 15.0  # above any stall_s in use: the source closes a silent feed before this
_CLOSE_S = 1.0  # for the tether's thread; it is woken, not waited for
_PORTS = {"rtsp": 554, "rtsps": 322}
_RTSP = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls",  # a server's description names no files
    "fflags": "nobuffer",  # what was read to find out what comes is not shown late
    "fpsprobesize": "0",  # else 20 frames are waited for, to guess a rate nobody needs
    "analyzeduration": "2000000",  # microseconds; enough to see a key frame
    "probesize": "2000000",  # bytes
    "timeout": str(int(_READ_S * 1e6)),  # microseconds, of the socket
    "user_agent": "edgetwin",
}
_SIZE = re.compile(r"\d{1,5}x\d{1,5}")
_DEVICE = re.compile(r"/dev/[A-Za-z0-9._/-]+")


class _AvFeed:
    """Decodes one video stream as it comes; ``_open`` says of what."""

    exact = False

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.damaged = 0
        self._closed = threading.Event()

    def _open(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """End :meth:`frames`."""
        self._closed.set()

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        """Yield pictures as they come, see :class:`~edgetwin.deploy.stream.feed.Feed`."""
        with self._open() as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise SourceError("expected a video stream, got none that can be decoded")
            context = stream.codec_context
            context.thread_type = "SLICE"  # frame threads would hold back a frame each
            context.options = {"max_pixels": str(MAX_PIXELS)}  # a size may change in-band
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate and 0.01 <= rate <= 240 else self.fps
            for packet in container.demux(stream):
                if self._closed.is_set():
                    return
                yield from self._decoded(packet)

    def _decoded(self, packet: Any) -> Iterator[tuple[float | None, Image]]:
        try:
            frames = [] if packet.is_corrupt else packet.decode()
        except (av.error.FFmpegError, OSError):
            self.damaged += 1
            return
        self.damaged += bool(packet.is_corrupt)
        for frame in frames:
            image = None if frame.is_corrupt else upright(frame)
            if image is None:
                self.damaged += 1
            elif not self._closed.is_set():
                yield None if frame.time is None else float(frame.time), image


class RtspFeed(_AvFeed):
    """One connection to an RTSP server.

    Args:
        url: checked by :func:`rtsp_opener`; may hold credentials.
        fps: until the stream says its own.
    """

    def __init__(self, url: SplitResult, fps: float) -> None:
        super().__init__(fps)
        self._url = url
        self._tether: Tether | None = None
        self._lock = threading.Lock()

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        """Yield pictures as they come, see :class:`~edgetwin.deploy.stream.feed.Feed`."""
        url = self._url
        name = f"{threading.current_thread().name}-tcp"
        with self._lock:
            if self._closed.is_set():
                return
            port = url.port or _PORTS[url.scheme.lower()]
            tether = self._tether = Tether(url.hostname or "", port, name, _OPEN_S)
        try:
            yield from super().frames()
            said = "its end"
        except (av.error.FFmpegError, OSError) as error:
            said = error.strerror or type(error).__name__
        finally:
            tether.cut()
            tether.join(_CLOSE_S)
        if not self._closed.is_set():
            # Not "from" FFmpeg's error, which holds the address with its credentials.
            said = tether.error or said
            raise SourceError(f"expected video from {url.hostname}:{port}, got: {said}")

    def close(self) -> None:
        """End :meth:`frames`, also while it opens or waits."""
        super().close()
        with self._lock:
            if self._tether is not None:
                self._tether.cut()

    def _open(self) -> Any:
        assert self._tether is not None
        user, found, _ = self._url.netloc.rpartition("@")
        netloc = f"{_quoted(user)}{found}127.0.0.1:{self._tether.port}"
        url = self._url._replace(netloc=netloc, fragment="").geturl()
        return av.open(url, options=_RTSP, timeout=(_OPEN_S, _READ_S), metadata_errors="replace")


class CameraFeed(_AvFeed):
    """A V4L2 camera.

    Args:
        device: such as ``/dev/video0``.
        options: of FFmpeg's v4l2 demuxer.
        fps: asked of the camera, which may give another rate.
    """

    def __init__(self, device: str, options: dict[str, str], fps: float) -> None:
        super().__init__(fps)
        self._device, self._options = device, options

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        """Yield pictures as they come, see :class:`~edgetwin.deploy.stream.feed.Feed`."""
        try:
            yield from super().frames()
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(
                f"expected pictures from {self._device}, got: {error.strerror}: check that it is "
                "plugged in, that no other program uses it and that you are in the group 'video'"
            ) from error

    def _open(self) -> Any:
        path = Path(self._device)
        if not path.exists():
            raise SourceError(f"expected a camera at {path}, got no such device: plug it in")
        if not stat.S_ISCHR(path.stat().st_mode):
            raise SourceError(f"expected a camera at {path}, got something that is no device")
        return av.open(
            self._device,
            format="video4linux2",
            options={"framerate": f"{self.fps:g}", **self._options},
            timeout=(_OPEN_S, _READ_S),
        )


def rtsp_opener(text: str, options: FeedOptions) -> Callable[[], Feed]:
    """Check an ``rtsp://`` address.

    Raises:
        SourceError: if it has no usable host or port; without credentials.
    """
    problem = ""
    try:
        url = urlsplit(text)
        usable = bool(url.hostname) and (url.port is None or url.port > 0) and " " not in text
        if "@" in url.path:
            problem = " (is there a / ? or # in the password? write it as %2F, %3F or %23)"
    except ValueError:
        usable = False
        problem = " (a / ? # or : in the password is written as %2F, %3F, %23, %3A)"
    if not usable:
        raise SourceError(
            "expected rtsp://[user:password@]host[:port]/path without spaces, "
            f"got {redacted(text.replace(' ', '%20'))}{problem}"
        )
    return lambda: RtspFeed(url, options.fps)


def camera_opener(text: str, options: FeedOptions) -> Callable[[], Feed]:
    """Check a device, with what is asked of it: ``/dev/video0?size=1280x720&format=mjpeg``.

    Raises:
        SourceError: if it is no device's name or something unknown is asked.
    """
    device, _, query = text.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    size, kind = asked.pop("size", None), asked.pop("format", None)
    wrong = size is not None and not _SIZE.fullmatch(size)
    wrong = wrong or (kind is not None and not re.fullmatch(r"[a-z0-9_]{1,16}", kind))
    if wrong or asked or not _DEVICE.fullmatch(device) or ".." in device:
        raise SourceError(
            "expected v4l2:/dev/videoN with ?size=WIDTHxHEIGHT and format=NAME at most, "
            f"got {redacted(text)}"
        )
    wanted = {"video_size": size, "input_format": kind}
    given = {name: value for name, value in wanted.items() if value is not None}
    return lambda: CameraFeed(device, given, options.fps)


def _quoted(userinfo: str) -> str:
    """Return ``user:password`` percent-encoded, whether it was before or not."""
    user, found, password = userinfo.partition(":")
    return f"{quote(unquote(user), safe='')}{found}{quote(unquote(password), safe='')}"
