"""GStreamer pipelines as sources: ``gst-launch-1.0`` in a process of its own, no shell.

The pipeline is given without its sink; ``videoconvert ! y4menc ! fdsink`` is put behind it and
uncompressed pictures come through a pipe, so a pipeline that crashes or hangs harms nobody.
Pictures of another size end it with an error, so that the source opens it anew.

Not covered: sound; alpha; timestamps of the pipeline (the time of arrival is taken). A pipeline
is the operator's own word: elements other than sinks are not restricted. What a pipeline says
in its arguments can be seen in the machine's process list.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import SourceError
from .feed import Feed, FeedOptions
from .secrets import redacted
from .source import MAX_PIXELS

__all__ = ["GstFeed", "gst_opener"]

Image = NDArray[np.uint8]
_LAUNCH = "gst-launch-1.0"
_BEHIND = "! videoconvert ! video/x-raw,format=I420,colorimetry=bt601 ! y4menc ! fdsink sync=false"
_INSTALL = "install gstreamer1.0-tools and gstreamer1.0-plugins-good (Debian, Ubuntu, JetPack)"
_SINK = re.compile(r"[a-z0-9_]*sink[0-9a-z]*", re.I)
_SAID = 2000  # characters of the pipeline's errors that are kept
_MAX_LINE = 512  # bytes of a header
_PIPE_BYTES = 1 << 20  # fewer wake-ups per picture; refused where a user's quota is used up
_END_S = 0.5  # for a pipeline to end by itself when interrupted; then it is killed
_FRAME = b"FRAME"


class _Closed(Exception):
    """The feed was closed, or the pipeline ended."""


class GstFeed:
    """One run of a pipeline.

    Args:
        pipeline: its words, checked by :func:`gst_opener`.
        fps: until the pipeline says its own.
    """

    exact = False

    def __init__(self, pipeline: list[str], fps: float) -> None:
        self.fps = fps
        self.damaged = 0
        self._pipeline = pipeline
        self._wake, self._woken = socket.socketpair()
        self._closed = threading.Event()
        self._said = ""

    def close(self) -> None:
        """End :meth:`frames` and the pipeline."""
        self._closed.set()
        with contextlib.suppress(OSError):  # ended already
            self._wake.send(b"x")

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        """Yield pictures as they come, see :class:`~edgetwin.deploy.stream.feed.Feed`."""
        with self._wake, self._woken:
            if self._closed.is_set():
                return
            process, pipe = self._launch()
            try:
                yield from self._pictures(process, pipe)
                code = None if self._closed.is_set() else process.wait(_END_S)
            except subprocess.TimeoutExpired:
                code = None  # it closed its output and does not end: ended by us
            finally:
                os.close(pipe)
                _end(process)
            if code:
                said = " ".join(self._said.split()) or f"exit status {code}"
                raise SourceError(f"expected pictures from the pipeline, got: {said}")

    def _launch(self) -> tuple[subprocess.Popen[bytes], int]:
        launch = shutil.which(_LAUNCH)
        if launch is None:
            raise SourceError(f"expected {_LAUNCH} on this machine, got none: {_INSTALL}")
        ours, theirs = os.pipe()
        try:
            with contextlib.suppress(OSError):
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            os.set_blocking(ours, False)
            process = subprocess.Popen(
                [launch, "-q", *self._pipeline, *_BEHIND.split(), f"fd={theirs}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return process, ours

    def _pictures(
        self, process: subprocess.Popen[bytes], pipe: int
    ) -> Iterator[tuple[float | None, Image]]:
        with _Reader(self, process, pipe) as reader, contextlib.suppress(_Closed):
            shape = _Shape.read(reader.line())
            while True:
                if shape.fps:
                    self.fps = shape.fps
                line = reader.line()
                if not line.startswith(_FRAME):
                    shape = _Shape.read(line)  # the picture's size changed
                    continue
                data = reader.exactly(shape.packed)
                if shape.padded is None:
                    shape.padded = shape.loose != shape.packed and not reader.peek(_FRAME)
                if shape.padded:
                    data += reader.exactly(shape.loose - shape.packed)
                if not reader.fits():
                    raise SourceError("expected pictures of one size: opened anew for the other")
                yield None, shape.picture(data)

    def hear(self, said: bytes) -> None:
        """Keep the end of what the pipeline complains about."""
        self._said = (self._said + said.decode(errors="replace"))[-_SAID:]


class _Reader:
    """Bytes of the pipe, and what is said beside it; ends when the feed is closed."""

    def __init__(self, feed: GstFeed, process: subprocess.Popen[bytes], pipe: int) -> None:
        assert process.stderr is not None
        self._feed, self._pipe, self._errors = feed, pipe, process.stderr
        self._held = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)
        self._selector.register(feed._woken, selectors.EVENT_READ)
        self._selector.register(self._errors, selectors.EVENT_READ)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        os.set_blocking(self._errors.fileno(), False)
        with contextlib.suppress(OSError):
            self._feed.hear(self._errors.read() or b"")
        self._errors.close()

    def line(self) -> bytes:
        """One header line."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > _MAX_LINE:
                raise SourceError("expected YUV4MPEG2 from the pipeline, got something else")
            self._more(_MAX_LINE)
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self._held) < count:
            self._more(count - len(self._held))
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def peek(self, word: bytes) -> bool:
        """Whether a word comes next, or the end."""
        try:
            while len(self._held) < len(word):
                self._more(len(word))
        except _Closed:
            return not self._held
        return self._held.startswith(word)

    def fits(self) -> bool:
        """Whether what has already come behind a picture begins a picture or a header."""
        if len(self._held) < len(_FRAME):
            self._more(len(_FRAME), at_once=True)
        return bytes(self._held[: len(_FRAME)]) in (b"", _FRAME, b"YUV4M") or (
            len(self._held) < len(_FRAME)
        )

    def _more(self, wanted: int, at_once: bool = False) -> None:
        while True:
            ready = [key.fileobj for key, _ in self._selector.select(0 if at_once else None)]
            if at_once and self._pipe not in ready:
                return
            if self._feed._woken in ready:
                raise _Closed
            if self._errors in ready:
                said = os.read(self._errors.fileno(), 4096)
                self._feed.hear(said)
                if not said:
                    self._selector.unregister(self._errors)
            if self._pipe in ready:
                data = os.read(self._pipe, max(wanted, 65536))
                if not data and at_once:
                    return
                if not data:
                    raise _Closed
                self._held += data
                return


class _Shape:
    """What a YUV4MPEG2 header says: size, rate, and how its rows may be stored.

    Attributes:
        packed: bytes of a picture whose rows follow each other.
        loose: bytes with rows padded to 4, as some versions of ``y4menc`` write them.
        padded: which of them it is; None until the second header was seen.
    """

    def __init__(self, width: int, height: int, fps: float) -> None:
        self.width, self.height, self.fps = width, height, fps
        self._even = (width + 1) // 2 * 2, (height + 1) // 2 * 2
        self.packed = width * height + self._even[0] // 2 * (self._even[1] // 2) * 2
        self._rows = _four(width), _four(self._even[0] // 2)
        self.loose = self._rows[0] * self._even[1] + self._rows[1] * self._even[1]
        self.padded: bool | None = None

    @classmethod
    def read(cls, line: bytes) -> _Shape:
        """Read a header line.

        Raises:
            SourceError: if it is none, or too large.
        """
        found = re.match(rb"YUV4MPEG2 .*?W(\d{1,6}) H(\d{1,6})(?:.*? F(\d+):(\d+))?", line)
        width, height = (int(found[1]), int(found[2])) if found else (0, 0)
        if found is None or not 0 < width * height <= MAX_PIXELS:
            raise SourceError(
                f"expected YUV4MPEG2 of at most {MAX_PIXELS // 1_000_000} megapixels from the "
                f"pipeline, got {line[:60]!r}"
            )
        ticks, seconds = int(found[3] or 0), int(found[4] or 0)
        return cls(width, height, ticks / seconds if seconds else 0.0)

    def picture(self, data: bytes) -> Image:
        """Return the bytes of one picture as (H, W, 3) RGB."""
        width, height = self._even
        rows = self._rows if self.padded else (self.width, width // 2)
        lines = height if self.padded else self.height
        flat = np.frombuffer(data, np.uint8)
        luma = flat[: rows[0] * lines].reshape(lines, rows[0])[: self.height, : self.width]
        chroma = flat[rows[0] * lines :].reshape(height, rows[1])[:, : width // 2]
        whole = np.empty((height * 3 // 2, width), np.uint8)
        whole[: self.height, : self.width] = luma
        whole[: self.height, self.width :] = luma[:, -1:]  # odd sizes: the last one again
        whole[self.height : height] = whole[self.height - 1]
        whole[height:] = chroma.reshape(-1, width)
        image = cv2.cvtColor(whole, cv2.COLOR_YUV2RGB_I420)
        return np.ascontiguousarray(image[: self.height, : self.width], np.uint8)


def gst_opener(text: str, options: FeedOptions) -> Callable[[], Feed]:
    """Check a pipeline: words that can be read and no sink of its own.

    Raises:
        SourceError: otherwise; without credentials.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SourceError(f"expected a GStreamer pipeline, got {redacted(text)}: {error}") from None
    sinks = [word for word in words if _SINK.fullmatch(word)]
    if not words or sinks or words[0].startswith("-") or words[-1] == "!":
        raise SourceError(
            f"expected a GStreamer pipeline without its sink, got {redacted(text)!r}"
            f"{' with ' + sinks[0] if sinks else ''}: write it like gst:v4l2src ! jpegdec"
        )
    return lambda: GstFeed(words, options.fps)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the pipeline, so that it gives its devices back; kill it when it does not end."""
    for what in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, what)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)


def _four(value: int) -> int:
    return (value + 3) // 4 * 4
