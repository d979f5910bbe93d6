"""Where results go: masks.json, mask pictures, overlay.mp4 and answer.json.

Each sink writes as frames come, keeps no frame, and can be closed at any moment leaving a
readable file. A full disk or a missing permission is an :class:`OutputError`; what was
written before stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.errors import OutputError
from ...twin.schema import FrameTwin
from .draw import Canvas
from .palette import encode_png, palette_index

__all__ = [
    "MaskPngSink",
    "MasksJsonSink",
    "OverlaySink",
    "index_picture",
    "make_folder",
    "write_json",
    "writing",
]

_ENCODERS = ("libx264", "h264", "libopenh264", "mpeg4")  # the first that this FFmpeg can open
_CLOCK = 90_000  # ticks per second of overlay.mp4: exact for every common rate
_MAX_GAP_S = 3600.0  # a longer one is shown as this: MP4 holds no frame for 13 hours


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into an OutputError."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"expected to write {path}, got: {reason}: free some space or give another folder "
            "with -o; what was written so far is kept"
        ) from error


def make_folder(path: Path) -> None:
    """Create a folder and check that a file can be made in it."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".edgetwin"
        probe.write_text("probe")
        probe.unlink()


def write_json(path: Path, value: object) -> None:
    """Write one JSON file whole: beside first, then in its place."""
    with writing(path):
        beside = path.with_name(path.name + ".part")
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(path)


class MasksJsonSink:
    """``masks.json``: every visible object's mask as COCO RLE, per frame and id.

    ``{"version": 1, "source", "width", "height", "frames": [{"index", "timestamp_s",
    "masks": {"<id>": {"size": [H, W], "counts": "…"}}}, …]}``
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames = 0
        with writing(path):  # unbuffered: what cannot be written is known at once
            self._file = path.open("wb", buffering=0)

    def write(self, twin: FrameTwin) -> None:
        """Append one frame."""
        masks = {
            str(o.id): {"size": list(o.mask.size), "counts": o.mask.counts}
            for o in twin.objects.values()
            if o.state == "visible" and o.mask is not None
        }
        row = {"index": twin.index, "timestamp_s": twin.timestamp_s, "masks": masks}
        with writing(self.path):
            if self._frames == 0:
                head = {
                    "version": 1,
                    "source": twin.source_id,
                    "width": twin.width,
                    "height": twin.height,
                }
                self._put(json.dumps(head)[:-1] + ', "frames": [\n')
            self._put((",\n" if self._frames else "") + json.dumps(row))
        self._frames += 1

    def close(self) -> None:
        """Complete the document and close it."""
        with writing(self.path):
            try:
                empty = '{"version": 1, "frames": ['
                self._put("\n]}\n" if self._frames else empty + "]}\n")
            finally:
                self._file.close()

    def _put(self, text: str) -> None:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[self._file.write(rest) or 0 :]


def index_picture(twin: FrameTwin, ids: set[int]) -> NDArray[np.uint8]:
    """Return the (H, W) picture whose values are palette indices of ``ids``.

    Larger masks are painted first, so a small object in front of a large one stays whole.
    """
    picture = np.zeros((twin.height, twin.width), np.uint8)
    shown = [o for o in twin.objects.values() if o.id in ids and o.state == "visible"]
    for obj in sorted(shown, key=lambda o: (-o.area, o.id)):
        if obj.mask is not None:
            picture[rle.decode(obj.mask)] = palette_index(obj.id)
    return picture


class MaskPngSink:
    """A folder of ``00000.png …``: palette pictures of chosen objects, one per frame."""

    def __init__(self, folder: Path, ids: set[int]) -> None:
        self.folder = folder
        self.ids = ids
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, twin: FrameTwin) -> None:
        """Write one frame's picture."""
        path = self.folder / f"{twin.index:05d}.png"
        with writing(path):
            path.write_bytes(encode_png(index_picture(twin, self.ids)))


class OverlaySink:
    """``overlay.mp4``: H.264 with the frames' own timestamps, drawn by a :class:`Canvas`.

    A source of one frame is shown for two seconds, a gap of more than an hour for an hour.
    """

    def __init__(self, path: Path, canvas: Canvas, fps: float) -> None:
        self.path = path
        self._canvas = canvas
        self._last = -1
        self._left_out_s = 0.0  # of gaps that were too long
        self._last_s = 0.0
        with writing(path):
            self._container = av.open(str(path), "w", format="mp4")
            self._stream = self._open_stream(Fraction(fps).limit_denominator(1001))

    def _open_stream(self, rate: Fraction) -> Any:
        for name in _ENCODERS:
            if name not in av.codecs_available:
                continue
            with suppress(av.error.FFmpegError, ValueError):
                av.Codec(name, "w")
                stream: Any = self._container.add_stream(name, rate=rate)
                stream.width, stream.height = self._canvas.size
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = Fraction(1, _CLOCK)
                if name == "libx264":
                    stream.options = {"crf": "21", "preset": "veryfast"}
                return stream
        raise OutputError(
            f"expected an H.264 or MPEG-4 encoder in PyAV, got none of {', '.join(_ENCODERS)}: "
            "pip install --force-reinstall av"
        )

    def write(self, image_hw3: NDArray[np.uint8], twin: FrameTwin) -> None:
        """Draw and encode one frame."""
        picture = av.VideoFrame.from_ndarray(self._canvas.draw(image_hw3, twin), format="rgb24")
        self._left_out_s += max(0.0, twin.timestamp_s - self._last_s - _MAX_GAP_S)
        self._last_s = twin.timestamp_s
        shown_s = twin.timestamp_s - self._left_out_s
        picture.pts = max(round(shown_s * _CLOCK), self._last + 1)
        picture.time_base = Fraction(1, _CLOCK)
        self._last = picture.pts
        with writing(self.path):
            for packet in self._stream.encode(picture):
                self._container.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        with writing(self.path):
            try:
                for packet in self._stream.encode() if self._last >= 0 else ():
                    if self._last == 0:
                        packet.duration = 2 * _CLOCK
                    self._container.mux(packet)
            finally:
                self._container.close()
