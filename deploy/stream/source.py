"""Where frames come from: a video file, one picture, or a folder of pictures.

A :class:`Source` can be iterated as often as wanted; each pass decodes anew and holds one
frame at a time, so memory does not grow with length. Pictures are upright: a video's
display rotation and a picture's EXIF orientation are applied. Timestamps are seconds since
the first frame and strictly increase, also where the file's own do not: a clock that goes back
is taken up where it was.

What was decoded is kept: when a file ends early or some packets are damaged, iteration
ends normally and ``status`` is ``"partial"`` with one line in ``reason``.

Not covered: cameras, network addresses and playlists, mirrored display matrices; non-square
pixels stay as they are stored, and a frame of another size is stretched to the first one's.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import SourceError
from ...twin.frame import Frame

__all__ = ["FolderSource", "ImageSource", "Source", "VideoSource", "open_source", "upright"]

Image = NDArray[np.uint8]
Pictures = Generator[tuple[float, Image], None, None]
Status = Literal["ok", "partial"]

MAX_PIXELS = 50_000_000  # one RGB frame of this size is 150 MB: beyond it a device would swap
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")
# Demuxers that take any text for a picture, and those that open other files than the one given.
_NOT_VIDEO = {"tty", "lrc", "srt", "webvtt", "ass", "hls", "concat", "dash", "imf"}
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]")
_RATES = (0.001, 1000.0)  # frames per second that a header may claim and be believed
_JUMP_BACK_S = 1.0  # further back than this is another clock; less is a trembling one


class Source(ABC):
    """Frames in order, re-iterable, one held at a time.

    Attributes:
        kind: ``"video"``, ``"image"`` or ``"folder"``.
        source_id: the file's or folder's name.
        fps: nominal frames per second (timestamps are the truth).
        frame_count: frames the container declares, or None when it does not say.
        status: ``"partial"`` after a pass that lost frames, else ``"ok"``.
        reason: one line saying what was lost, empty when nothing was.
        dropped: frames that the last pass read and could not use, by reason.
    """

    kind: str = "video"

    def __init__(self, path: Path, fps: float, frame_count: int | None) -> None:
        self.path = path
        name = path.resolve().name or "source"
        self.source_id = name.encode(errors="replace").decode()  # file names may be no UTF-8
        self.fps = fps
        self.frame_count = frame_count
        self.status: Status = "ok"
        self.reason = ""
        self.dropped: Counter[str] = Counter()
        self._start: float | None = None  # the file's clock at second 0, once known
        self._shape: tuple[int, ...] = ()  # of every frame

    @abstractmethod
    def _read(self, since_s: float | None = None) -> Pictures:
        """Yield (seconds on the file's own clock, RGB picture).

        With ``since_s`` it may begin late, but not after that moment of the file's clock.
        """

    def since(self, timestamp_s: float) -> Pictures:
        """Yield (timestamp_s, RGB picture) from some frame at or before a moment on.

        What lies before is not decoded if the file was read once and can be entered there.
        Timestamps are a whole pass's, except where the file's clock goes back; status stays.
        """
        kept = self.status, self.reason, Counter(self.dropped)
        start, shape = self._start, self._shape
        pictures = self._read(None if start is None else start + timestamp_s)
        try:
            with closing(pictures):
                for seconds, image in pictures:
                    start = seconds if start is None else start
                    shape = shape or image.shape
                    fits = image.shape == shape
                    yield seconds - start, image if fits else _resized(image, shape)
        finally:
            self.status, self.reason, self.dropped = kept

    def _lost(self, reason: str) -> None:
        self.status = "partial"
        self.reason = self.reason or reason

    def __iter__(self) -> Iterator[Frame]:
        """Decode from the start.

        Raises:
            SourceError: if not one frame could be decoded.
        """
        self.status, self.reason, self.dropped = "ok", "", Counter()
        start: float | None = None  # the file's clock at second 0
        last = -1.0
        index = 0
        shape: tuple[int, ...] = ()
        for seconds, image in self._read():
            start = seconds if start is None else start
            if not index:
                self._start, shape = start, image.shape
                self._shape = shape
            if image.shape != shape:
                image = _resized(image, shape)
            now = seconds - start
            if index and now <= last:
                back, now = last - now, last + 1.0 / self.fps
                if back > _JUMP_BACK_S:
                    start = seconds - now
            yield Frame(index, now, image, self.source_id)
            last, index = now, index + 1
        if index == 0:
            raise SourceError(
                f"expected a {self.kind} with at least one readable frame, got none from "
                f"{self.path}: check the file by playing it, or record it again"
            )


class VideoSource(Source):
    """A video file through PyAV (FFmpeg)."""

    def __init__(self, path: Path) -> None:
        with _open_container(path) as container:
            stream = _video_of(container)
            super().__init__(path, _rate_of(stream), stream.frames or None)
            self._expected_s = _declared_seconds(container, stream)
            _check_size(stream.width, stream.height, path)

    def _read(self, since_s: float | None = None) -> Pictures:
        tally = _Tally()
        yield from self._pass(tally, since_s)
        if since_s is None and tally.hidden and not tally.decoded:
            tally = _Tally()
            yield from self._pass(tally, None, ignore_editlist="1")
            if tally.decoded:
                self._lost("the video's edit list hides every frame: it was not followed")

    def _pass(self, tally: _Tally, since_s: float | None, **options: str) -> Pictures:
        first, clock = None, 0.0
        with _open_container(self.path, **options) as container:
            stream = _video_of(container)
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # in-band sizes too
            if since_s is not None:
                _enter(container, stream, since_s)
            try:
                for frame, image in _decode(container, stream, tally):
                    clock = clock + 1.0 / self.fps if frame.time is None else float(frame.time)
                    first = clock if first is None else first
                    yield clock, image
            except GeneratorExit:  # stopped early: only what was met counts
                self._judge_damage(tally)
                raise
        if tally.decoded and since_s is None:
            self._judge(tally, max(clock, clock - (first or 0.0)))

    def _judge(self, tally: _Tally, seconds: float) -> None:
        kept = f"kept the {tally.decoded} frames decoded"
        if self.frame_count and tally.decoded + tally.hidden < self.frame_count:
            self._lost(
                f"the video declares {self.frame_count} frames and is cut or damaged: {kept}"
            )
        elif self._expected_s and seconds + 1.5 / self.fps + 0.25 < self._expected_s:
            self._lost(f"the video declares {self._expected_s:.2f} s and ends early: {kept}")
        self._judge_damage(tally)

    def _judge_damage(self, tally: _Tally) -> None:
        if tally.damaged:
            self.dropped["damaged"] = tally.damaged
            kept = f"kept the {tally.decoded} frames decoded"
            self._lost(f"{tally.damaged} packets of the video are damaged: {kept}")


class ImageSource(Source):
    """One picture as a video of one frame at second 0."""

    kind = "image"

    def __init__(self, path: Path) -> None:
        super().__init__(path, 1.0, 1)
        _read_picture(path)

    def _read(self, since_s: float | None = None) -> Pictures:
        yield 0.0, _read_picture(self.path)


class FolderSource(Source):
    """A folder of pictures in natural order (``2.png`` before ``10.png``) at a given rate.

    Pictures that cannot be read, or whose size differs from the first, are left out and
    make the pass ``partial``.
    """

    kind = "folder"

    def __init__(self, path: Path, fps: float) -> None:
        try:
            names = [p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file()]
        except OSError as error:
            raise SourceError(
                f"expected a readable folder, got {path}: {error.strerror}"
            ) from error
        names = [p for p in names if not p.name.startswith(".")]
        if not names:
            raise SourceError(
                f"expected a folder of pictures ({' '.join(PICTURES)}), got {path} without any: "
                "give a video, a picture or a folder of frames"
            )
        super().__init__(path, fps, len(names))
        self.names = sorted(names, key=_natural)
        self._first_out = ""

    def _read(self, since_s: float | None = None) -> Pictures:
        shape: tuple[int, ...] = () if since_s is None else self._shape
        first = 0 if since_s is None else max(int(since_s * self.fps) - 1, 0)
        for place, name in enumerate(self.names[first:], first):
            try:
                image = _read_picture(name)
            except SourceError:
                self._leave_out(name, "unreadable")
                continue
            if shape and image.shape != shape:
                self._leave_out(name, "other size")
                continue
            shape = image.shape
            yield place / self.fps, image

    def _leave_out(self, name: Path, why: str) -> None:
        self.dropped[why] += 1
        self._first_out = self._first_out if self.status == "partial" else name.name
        self.status = "partial"
        self.reason = (
            f"{self.dropped.total()} of {len(self.names)} pictures left out "
            f"(unreadable or of another size), the first {self._first_out}"
        )


def open_source(path: str | Path, fps: float = 10.0) -> Source:
    """Open a video, a picture or a folder of pictures.

    Args:
        path: an existing local file or folder.
        fps: the rate given to a folder of pictures; ignored otherwise.

    Raises:
        SourceError: if it is missing, unreadable, empty, or neither video nor picture.
    """
    path = Path(path)
    if not fps > 0 or fps > 1000:
        raise SourceError(f"expected a rate in (0, 1000] frames per second, got {fps}")
    try:
        if path.is_dir():
            return FolderSource(path, fps)
        if not path.exists():
            raise SourceError(
                f"expected a video, a picture or a folder of frames, got {path}, which does not "
                "exist: check the path"
            )
        if not path.is_file():
            raise SourceError(f"expected a file or a folder, got {path}, which is neither")
        with path.open("rb") as file:
            head = file.read(256)  # an animated PNG says so before its first picture
    except OSError as error:
        raise SourceError(
            f"expected a readable file, got {path}: {error.strerror}: check its permissions"
        ) from error
    if head.startswith(_PLAYLISTS):
        raise SourceError(f"expected a video, got {path}, a playlist: give the video it names")
    return ImageSource(path) if _is_picture(head) else VideoSource(path)


def _is_picture(head: bytes) -> bool:
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith(_MAGIC) and b"acTL" not in head  # an animated PNG is a video


def _open_container(path: Path, **options: str) -> Any:
    try:
        # Absolute: FFmpeg would take "12:30.mp4" for a protocol's name. A picture named
        # "%03d.jpg" is no pattern, and a title in Latin-1 is no reason to refuse a video.
        container = av.open(
            str(path.absolute()),
            options={"protocol_whitelist": "file", "pattern_type": "none", **options},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(
            f"expected a video or a picture, got {path}, which cannot be decoded "
            f"({_short(error)}): give an H.264, HEVC, VP9, AV1, MPEG or MJPEG file"
        ) from error
    if _video_of(container) is None or container.format.name in _NOT_VIDEO:
        container.close()
        raise SourceError(
            f"expected a file with a video stream, got {path} without a readable one: "
            "give a video, a picture or a folder of frames"
        )
    return container


def _video_of(container: Any) -> Any:
    """Return the stream to read, or None; a cover picture only where there is nothing else."""
    best = container.streams.best("video")
    streams = [s for s in (best, *container.streams.video) if s is not None]
    # Without a codec context its codec is none that FFmpeg knows.
    return next((s for s in streams if s.codec_context is not None), None)


def _rate_of(stream: Any) -> float:
    """Return the first rate in the header that can be true, else 25."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and _RATES[0] <= rate <= _RATES[1]:
            return float(rate)
    return 25.0


@dataclass
class _Tally:
    """Where the packets of one pass went; ``hidden`` ones are cut away by an edit list."""

    decoded: int = 0
    damaged: int = 0
    hidden: int = 0


def _decode(container: Any, stream: Any, tally: _Tally) -> Iterator[tuple[Any, Image]]:
    """Yield whole frames and their pictures; damaged packets and frames are counted, left out."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):
            tally.damaged += 1
            return
        if packet is None:
            return
        tally.hidden += bool(packet.is_discard)
        try:
            frames = [] if packet.is_corrupt else packet.decode()
        except (av.error.FFmpegError, OSError):
            tally.damaged += 1
            continue
        tally.damaged += bool(packet.is_corrupt)
        for frame in frames:
            image = None if frame.is_corrupt else upright(frame)
            if image is None:
                tally.damaged += 1
                continue
            tally.decoded += 1
            yield frame, image


def _enter(container: Any, stream: Any, seconds: float) -> None:
    """Go to the last place before a moment from which decoding can begin, or to the start."""
    if stream.time_base:
        moment = int(seconds / stream.time_base)
        with suppress(av.error.FFmpegError, OSError):  # a file that cannot is read from the start
            container.seek(moment, stream=stream, backward=True, any_frame=False)


def _declared_seconds(container: Any, stream: Any) -> float | None:
    """Seconds the container promises, when that can only mean its video stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration:
        return float(container.duration) / av.time_base
    return None


def upright(frame: Any) -> Image | None:
    """Return a frame as RGB, turned as its metadata says, or None if it cannot be converted."""
    try:
        image = frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, ValueError):
        return None
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _read_picture(path: Path) -> Image:
    """Decode one picture upright as RGB; sizes are checked before pixels are made."""
    with _open_container(path) as container:
        stream = _video_of(container)
        _check_size(stream.width, stream.height, path)
    try:
        data = np.fromfile(path, np.uint8)
        with _quietly():
            decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise SourceError(f"expected a readable picture, got {path}: {_short(error)}") from error
    if decoded is None:
        raise SourceError(
            f"expected a picture, got {path}, which cannot be decoded: save it again as PNG or JPEG"
        )
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep OpenCV from writing to stderr: what is wrong is said in the error, once."""
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


def _check_size(width: int, height: int, path: Path | None) -> None:
    if width * height > MAX_PIXELS:
        raise SourceError(
            f"expected frames of at most {MAX_PIXELS // 1_000_000} megapixels, "
            f"got {width}x{height}{f' from {path}' if path else ''}: scale the video down first"
        )


def _resized(image: Image, shape: tuple[int, ...]) -> Image:
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA))


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p)) if p.isdigit() else (1, p) for p in parts if p]


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:120]
